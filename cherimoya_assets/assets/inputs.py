"""Observed inputs: the files an experiment stands on, each with data versions made of its content.

What belongs here: one observable node for each input file (or list of files). What does not: what a version is made of
(`analysis/input_versions.py`). What is read by chromosome has a version for each chromosome; the model and the motif
database are wholes. The genome and the motif database keep keys of their own, so that two experiments on one genome
meet in the lineage.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import BetaWarning

from cherimoya_assets.analysis.hashing import file_sha256
from cherimoya_assets.assets.landing import reader_errors
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import Versions
from cherimoya_assets.errors import InputError
from cherimoya_assets.reports.markdown_text import markdown_text
from cherimoya_assets.steps import Input

SHARED_GROUP = "shared_inputs"

DATA_VERSION_TAG = "dagster/data_version"
"""How an observation carries its version; `dagster.ObserveResult` knows no partitions in 1.13."""


@dataclass(frozen=True)
class Observed:
    """One observable input. `chroms` is None for a whole; `lineages` are the experiments that read it."""

    row: Input
    description: str
    chroms: tuple[str, ...] | None
    lineages: tuple[ExperimentLineage, ...]
    paths: tuple[Path, ...]


def experiment_inputs(lineage: ExperimentLineage) -> list[dg.AssetsDefinition]:
    """Peaks, negatives, exclusion lists and model of one experiment, observable together or alone."""
    own = {key: one for key, one in observed_inputs(lineage).items() if not one.row.shared}
    return [_observable(lineage.name, lineage.name, own)]


def shared_inputs(lineages: Sequence[ExperimentLineage]) -> list[dg.AssetsDefinition]:
    """Genomes and motif databases of all experiments, each once."""
    inputs: dict[dg.AssetKey, Observed] = {}
    for lineage in lineages:
        for key, one in observed_inputs(lineage).items():
            if one.row.shared:
                other = inputs.get(key, replace(one, chroms=one.chroms and (), lineages=()))
                chroms = one.chroms and tuple(dict.fromkeys((*(other.chroms or ()), *one.chroms)))
                inputs[key] = replace(one, chroms=chroms, lineages=(*other.lineages, lineage))
    return [_observable("shared", SHARED_GROUP, inputs)] if inputs else []


def observed_inputs(lineage: ExperimentLineage) -> dict[dg.AssetKey, Observed]:
    """The inputs of one experiment."""
    found = {}
    for key, row in lineage.inputs_by_key.items():
        paths = lineage.files_of(key)
        description = row.description.format(
            files=markdown_text(", ".join(path.name for path in paths)),
            folds=markdown_text(", ".join(lineage.experiment.model)),
        )
        found[key] = Observed(row, description, lineage.chroms if row.by else None, (lineage,), paths)
    return found


def _observable(name: str, group: str, inputs: Mapping[dg.AssetKey, Observed]) -> dg.AssetsDefinition:
    specs = [
        dg.AssetSpec(
            key,
            group_name=group,
            description=one.description,
            kinds={one.row.kind},
            metadata={"path": dg.MetadataValue.path(", ".join(map(str, one.paths)))},
            partitions_def=None if one.chroms is None else dg.StaticPartitionsDefinition(list(one.chroms)),
        )
        for key, one in inputs.items()
    ]

    def observed(context: dg.AssetExecutionContext) -> Iterator[dg.AssetObservation]:
        for key in sorted(context.selected_asset_keys):
            with reader_errors():
                yield from observations(key, inputs[key])

    with warnings.catch_warnings():
        # Beta in Dagster 1.13: one step that observes several files, together or alone. Accepted here, and only here.
        warnings.simplefilter("ignore", BetaWarning)
        observable = dg.multi_observable_source_asset(name=f"{name}__inputs", specs=specs, can_subset=True)
        asset: dg.AssetsDefinition = observable(observed)
        return asset


def observations(key: dg.AssetKey, one: Observed) -> Iterator[dg.AssetObservation]:
    """What there is to say of an input now: its version, or one for each chromosome.

    Raises:
        InputError, Problems: the input cannot be read.
    """
    hashes = []
    for path in one.paths:
        try:
            hashes.append(file_sha256(path, one.lineages[0].home.cache))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}). Restore it or correct the experiment file."
            ) from error
    metadata: dict[str, Any] = {
        "files": len(hashes),
        "size_bytes": sum(path.stat().st_size for path in one.paths),
        "sha256": dg.MetadataValue.json(dict(zip(map(str, one.paths), hashes, strict=True))),
    }
    versions: dict[Any, str] = {}
    if one.chroms is None:
        versions[None] = Versions(one.lineages[0]).whole(key)
    else:
        for lineage in one.lineages:
            versions |= Versions(lineage).by_chromosome(key) or {}
    for chrom in (None,) if one.chroms is None else one.chroms:
        yield dg.AssetObservation(key, partition=chrom, tags={DATA_VERSION_TAG: versions[chrom]}, metadata=metadata)

"""Observed inputs: the files an experiment stands on, each with a data version made of its content.

What belongs here: one observable node for each input file (or list of files). What does not: reading their biology.
The genome and the motif database keep keys of their own, so that two experiments on one genome meet in the lineage.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg
from dagster import BetaWarning

from cherimoya_assets.analysis.hashing import combined_sha256, file_sha256
from cherimoya_assets.assets.landing import reader_errors
from cherimoya_assets.assets.lineage import ExperimentLineage, input_key
from cherimoya_assets.errors import InputError

SHARED_GROUP = "shared_inputs"


def experiment_inputs(lineage: ExperimentLineage) -> list[dg.AssetsDefinition]:
    """Peaks, negatives, exclusion lists and model of one experiment, observable together or alone."""
    experiment = lineage.experiment
    files: dict[dg.AssetKey, Sequence[Path]] = {lineage.key("peaks"): experiment.loci}
    descriptions = {lineage.key("peaks"): "The loci to attribute: accessible regions or binding sites."}
    kinds = {lineage.key("peaks"): {"bed"}}
    if lineage.background_files:
        key = lineage.key("negatives")
        files[key], kinds[key] = lineage.background_files, {"bed"}
        descriptions[key] = "Background loci, into which marginalization inserts motifs."
    if experiment.exclusion_lists:
        key = lineage.key("exclusion_lists")
        files[key], kinds[key] = experiment.exclusion_lists, {"bed"}
        descriptions[key] = "Regions whose loci are left out (100-bp chunks, as tangermeme does it)."
    key = lineage.key("model")
    files[key], kinds[key] = [model.path for model in experiment.model.values()], {"pytorch"}
    descriptions[key] = f"Trained model, folds: {', '.join(experiment.model)}."
    return [_observable(lineage.name, lineage.name, files, descriptions, kinds, lineage.home.cache)]


def shared_inputs(lineages: Sequence[ExperimentLineage]) -> list[dg.AssetsDefinition]:
    """Genomes and motif databases of all experiments, each once."""
    files: dict[dg.AssetKey, Sequence[Path]] = {}
    descriptions: dict[dg.AssetKey, str] = {}
    kinds: dict[dg.AssetKey, set[str]] = {}
    for lineage in lineages:
        files[lineage.genome_key] = [lineage.experiment.sequences]
        descriptions[lineage.genome_key] = f"Reference genome {lineage.experiment.sequences.name}."
        kinds[lineage.genome_key] = {"fasta"}
        for path in {lineage.motif_file, lineage.marginalize_motif_file} - {None}:
            key = input_key("motif_database", path)
            files[key], kinds[key] = [path], {"meme"}
            descriptions[key] = f"Motif database {path.name}."
    if not files:
        return []
    return [_observable("shared", SHARED_GROUP, files, descriptions, kinds, lineages[0].home.cache)]


def _observable(
    name: str,
    group: str,
    files: Mapping[dg.AssetKey, Sequence[Path]],
    descriptions: Mapping[dg.AssetKey, str],
    kinds: Mapping[dg.AssetKey, set[str]],
    cache: Path,
) -> dg.AssetsDefinition:
    specs = [
        dg.AssetSpec(
            key,
            group_name=group,
            description=descriptions[key],
            kinds=kinds[key],
            metadata={"path": dg.MetadataValue.path(", ".join(map(str, paths)))},
        )
        for key, paths in files.items()
    ]

    def inputs(context: dg.AssetExecutionContext):
        for key in sorted(context.selected_asset_keys):
            with reader_errors():
                yield _observation(key, files[key], cache)

    with warnings.catch_warnings():
        # Beta in Dagster 1.13: one step that observes several files, together or alone. Accepted here, and only here.
        warnings.simplefilter("ignore", BetaWarning)
        return dg.multi_observable_source_asset(name=f"{name}__inputs", specs=specs, can_subset=True)(inputs)


def _observation(key: dg.AssetKey, paths: Sequence[Path], cache: Path) -> dg.ObserveResult:
    hashes = []
    for path in paths:
        try:
            hashes.append(file_sha256(path, cache))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}). Restore it or mend the experiment file."
            ) from error
    return dg.ObserveResult(
        asset_key=key,
        # A file that is named twice counts twice, as its loci do.
        data_version=dg.DataVersion(combined_sha256(*hashes)),
        metadata={
            "files": len(hashes),
            "size_bytes": sum(path.stat().st_size for path in paths),
            "sha256": dg.MetadataValue.json(dict(zip(map(str, paths), hashes, strict=True))),
        },
    )

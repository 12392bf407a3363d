"""What every partition of every asset is made from, and which versions of it there are now.

What belongs here: the one list of what a step reads. An asset stamps its materialization with it, automation asks
whether a stamp still holds, `drift` says why it does not, so that all three mean the same. What does not: how a version
is made of a file (`analysis/input_versions.py`) or of a stored value (`resources/storage.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import dagster as dg

from cherimoya_assets.analysis.genome import Genome
from cherimoya_assets.analysis.hashing import combined_sha256
from cherimoya_assets.analysis.input_versions import (
    LociVersions,
    contig_versions,
    contigs_version,
    loci_versions,
    region_versions,
)
from cherimoya_assets.analysis.models import SequenceModel
from cherimoya_assets.assets.lineage import ExperimentLineage, input_key
from cherimoya_assets.errors import InputError
from cherimoya_assets.resources.storage import Held, Manifest

ORDER, ELSEWHERE, CONTIGS = "order", "elsewhere", "contigs"
"""What is read of an input besides its chromosomes: the order of its rows, how many lie on chromosomes that are not
selected, the names and sizes of the contigs."""

OR = " or "
"""Between two versions of one input, where what is pooled was not all made of the same."""

BY_CHROMOSOME = frozenset(
    {"one_hot_sequences", "attributions", "seqlets", "annotated_seqlets", "marginalization_effects"}
)
"""The steps that have a partition for each chromosome."""


@dataclass(frozen=True)
class Source:
    """One thing that a partition of an asset is made from.

    Attributes:
        key: an asset of the experiment, or an observed input.
        partition: the chromosome that is read of it, None for all of it or for the `aspect`.
        aspect: ORDER, ELSEWHERE or CONTIGS where that is what is read of an input.
        observed: whether it is an input and not something that is stored.
    """

    key: dg.AssetKey
    partition: str | None = None
    aspect: str = ""
    observed: bool = False

    @property
    def name(self) -> str:
        """Its name in a stamp: `peaks[chrII]`, `counts/attributions[chrII]`, `seqlet_null`, `peaks order`."""
        path = self.key.path
        own = path[0] if self.observed and path[0] in ("genome", "motif_database") else "/".join(path[1:])
        return own + (f"[{self.partition}]" if self.partition is not None else "") + (self.aspect and f" {self.aspect}")


class Versions:
    """The inputs and the store of one experiment as they are now; what was looked at once is remembered."""

    def __init__(self, lineage: ExperimentLineage) -> None:
        self.lineage = lineage
        self._stored: dict[tuple[dg.AssetKey, str | None], Held] = {}

    def inputs(self, key: dg.AssetKey, partition: str | None) -> dict[str, str]:
        """What a partition of an asset (None: of a pooled one) would be made from now, by the names of its stamp.

        The version of what has not been stored yet is empty.

        Raises:
            InputError, Problems: an input cannot be read.
        """
        return {source.name: self.version(source) for source in sources(self.lineage, key, partition)}

    def upstream(self, key: dg.AssetKey, partition: str | None) -> dict[str, str]:
        """The versions of the observed inputs that a partition stands on, through every hop: as `inputs` for those that
        it reads itself, from the stamps of what is stored for the others. What is stored of two versions is both.
        """
        found: dict[str, dict[str, None]] = {}
        for source in sources(self.lineage, key, partition):
            stamped = {source.name: self.version(source)}
            if not source.observed:
                manifest = self.manifest(source.key, source.partition)
                stamped = {} if manifest is None else manifest.stamp.get("upstream", {})
            for name, version in stamped.items():
                found.setdefault(name, {}).update(dict.fromkeys(version.split(OR)))
        return {name: OR.join(versions) for name, versions in found.items()}

    def version(self, source: Source) -> str:
        """The version of one source, empty where nothing is stored.

        Raises:
            InputError, Problems: the input cannot be read.
        """
        if source.observed:
            return self._observed(source)
        manifest = self.manifest(source.key, source.partition)
        return "" if manifest is None else manifest.version

    def manifest(self, key: dg.AssetKey, partition: str | None) -> Manifest | None:
        """What is stored of a partition, None where nothing is, or what is there is damaged."""
        return self.held(key, partition).manifest

    def held(self, key: dg.AssetKey, partition: str | None) -> Held:
        """The same, with what is damaged."""
        cell = (key, partition)
        if cell not in self._stored:
            self._stored[cell] = self.lineage.store.look(tuple(key.path), partition)
        return self._stored[cell]

    def by_chromosome(self, key: dg.AssetKey) -> Mapping[str, str] | None:
        """The versions of an input that has one for each chromosome; None for one that is a whole."""
        lineage = self.lineage
        if key == lineage.genome_key:
            return self._contigs
        if key == lineage.key("peaks"):
            return self._peaks.chroms
        if key == lineage.key("negatives"):
            return self._negatives.chroms
        return self._exclusion if key == lineage.key("exclusion_lists") else None

    def whole(self, key: dg.AssetKey) -> str:
        """The version of an input that is a whole: the model, a motif database."""
        try:
            return self.lineage.input_version(*input_paths(self.lineage, key))
        except OSError as error:
            raise InputError(
                f"{error.filename}: cannot be read ({error.strerror}). Restore it or mend the experiment file."
            ) from error

    def _observed(self, source: Source) -> str:
        if source.partition is not None:
            return (self.by_chromosome(source.key) or {}).get(source.partition, "")
        if source.aspect == CONTIGS:
            return contigs_version(self._genome)
        if source.aspect:
            return self._negatives.order if source.aspect == ORDER else self._peaks.elsewhere
        return self.whole(source.key)

    @cached_property
    def _genome(self) -> Genome:
        return self.lineage.genome

    @cached_property
    def _contigs(self) -> Mapping[str, str]:
        return contig_versions(self._genome, self.lineage.home.cache)

    @cached_property
    def _peaks(self) -> LociVersions:
        return loci_versions(self.lineage.experiment.loci, self.lineage.chroms, self.lineage.home.cache)

    @cached_property
    def _negatives(self) -> LociVersions:
        return loci_versions(self.lineage.background_files, self.lineage.chroms, self.lineage.home.cache)

    @cached_property
    def _exclusion(self) -> Mapping[str, str]:
        return region_versions(self.lineage.experiment.exclusion_lists, self.lineage.chroms, self.lineage.home.cache)


def current_inputs(lineage: ExperimentLineage, key: dg.AssetKey, partition: str | None) -> dict[str, str]:
    """The `inputs` of a stamp as they are now: name to version. See `Versions.inputs`."""
    return Versions(lineage).inputs(key, partition)


def changed_inputs(now: Versions, key: dg.AssetKey, partition: str | None, inputs: Mapping[str, str]) -> list[str]:
    """The inputs of a partition that are not what they were, each with its files: `peaks /x/peaks.bed`.

    Args:
        now: what there is, looked at since.
        inputs: what they were, as `current_inputs` gave it.

    Raises:
        InputError, Problems: an input cannot be read.
    """
    changed = []
    for source in sources(now.lineage, key, partition):
        if now.version(source) != inputs.get(source.name):
            if source.observed:
                named = Source(source.key, observed=True).name
                changed.append(f"{named} {', '.join(map(str, input_paths(now.lineage, source.key)))}")
            else:
                changed.append(source.name)
    return list(dict.fromkeys(changed))


def loaded_version(lineage: ExperimentLineage, models: Mapping[str, SequenceModel]) -> str:
    """The version of the models that were loaded: of the very bytes, which a replaced file may no longer hold."""
    return combined_sha256(*(models[fold].fingerprint for fold in lineage.experiment.model))


def input_paths(lineage: ExperimentLineage, key: dg.AssetKey) -> tuple[Path, ...]:
    """The files of an input of the experiment, each once."""
    experiment = lineage.experiment
    if key == lineage.genome_key:
        return (experiment.sequences,)
    match key.path[-1]:
        case "peaks":
            return experiment.loci
        case "negatives":
            return lineage.background_files
        case "exclusion_lists":
            return experiment.exclusion_lists
        case "model":
            return tuple(file.path for file in experiment.model.values())
    databases = dict.fromkeys(p for p in (lineage.motif_file, lineage.marginalize_motif_file) if p is not None)
    return tuple(path for path in databases if input_key("motif_database", path) == key)


def sources(lineage: ExperimentLineage, key: dg.AssetKey, partition: str | None) -> tuple[Source, ...]:
    """What a partition of an asset is made from, one step up.

    Raises:
        ValueError: the experiment has no such asset, or it is an input.
    """
    head, here, everywhere = key.path[1], (partition,), lineage.chroms
    genome, peaks, negatives = lineage.genome_key, lineage.key("peaks"), lineage.key("negatives")

    def stored(*parts: str, on: Sequence[str | None] = (None,)) -> list[Source]:
        return [Source(lineage.key(*parts), chrom) for chrom in on]

    def observed(of: dg.AssetKey, on: Sequence[str | None] = (None,), aspect: str = "") -> list[Source]:
        return [Source(of, chrom, aspect, observed=True) for chrom in on]

    def exclusion(on: Sequence[str | None]) -> list[Source]:
        return observed(lineage.key("exclusion_lists"), on) if lineage.experiment.exclusion_lists else []

    def motifs() -> list[Source]:
        return [] if lineage.motif_file is None else observed(lineage.motifs_key)

    match key.path[-1]:
        case "one_hot_sequences":
            found = observed(genome, here) + observed(peaks, here) + exclusion(here)
        case "attributions":
            found = stored("one_hot_sequences", on=here) + observed(lineage.key("model"))
        case "seqlet_null":
            found = stored(head, "attributions", on=everywhere)
        case "seqlets":
            found = stored(head, "attributions", on=here) + stored(head, "seqlet_null") + observed(genome, here)
        case "annotated_seqlets":
            found = stored(head, "seqlets", on=here) + observed(genome, here) + motifs()
        case "modisco_patterns":
            found = stored(head, "attributions", on=everywhere) + observed(genome, everywhere)
            found += observed(peaks, everywhere)
        case "modisco_report":
            found = stored(head, "modisco_patterns") + motifs()
        case "attribution_tracks":
            named = "seqlets" if lineage.motif_file is None else "annotated_seqlets"
            found = stored(head, "attributions", on=everywhere) + stored(head, named, on=everywhere)
            found += stored(head, "modisco_patterns")
            found += observed(genome, everywhere) + observed(genome, aspect=CONTIGS)
        case "marginalization_backgrounds":
            found = observed(negatives, everywhere) + observed(genome, everywhere) + exclusion(everywhere)
            if not lineage.experiment.marginalize.shuffle:
                # The first rows of the file are taken then.
                found += observed(negatives, aspect=ORDER)
        case "marginalization_effects":
            found = stored("marginalization_backgrounds") + observed(lineage.key("model")) + observed(genome, here)
            found += observed(lineage.marginalize_motifs_key)
        case "marginalization_report":
            found = stored("marginalization_effects", on=everywhere) + observed(lineage.marginalize_motifs_key)
        case "experiment_report":
            found = []
            for shown in shown_assets(lineage):
                by_chromosome = shown.path[-1] in BY_CHROMOSOME
                found += stored(*shown.path[1:], on=everywhere if by_chromosome else (None,))
            found += observed(peaks, everywhere) + observed(peaks, aspect=ELSEWHERE) + motifs()
        case _:
            raise ValueError(f"{key.to_user_string()} is not made by a step of {lineage.name}")
    return tuple(found)


def shown_assets(lineage: ExperimentLineage) -> list[dg.AssetKey]:
    """The assets that the experiment's report shows or links to."""
    keys = [lineage.key("one_hot_sequences")]
    of_a_head = ["attributions", "seqlets", "modisco_patterns", "modisco_report", "attribution_tracks"]
    if lineage.motif_file is not None:
        of_a_head.append("annotated_seqlets")
    keys += [lineage.key(head, step) for head in lineage.heads for step in of_a_head]
    if lineage.marginalizes:
        keys += [lineage.key("marginalization_effects"), lineage.key("marginalization_report")]
    return keys

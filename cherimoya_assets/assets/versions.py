"""What every partition of every asset is made from, and which versions of it there are now.

What belongs here: what the rows of `steps.py` read, for one experiment. An asset stamps its materialization with it,
automation asks whether a stamp still holds, `drift` says why it does not, so that all three mean the same. What does
not: how a version is made of a file (`analysis/input_versions.py`) or of a stored value (`resources/storage.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from cherimoya_assets import steps
from cherimoya_assets.analysis.genome import Genome
from cherimoya_assets.analysis.hashing import combined_sha256
from cherimoya_assets.analysis.input_versions import (
    LociVersions,
    contig_versions,
    contigs_version,
    loci_versions,
    region_versions,
)
from cherimoya_assets.analysis.sequence_model import SequenceModel
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.errors import InputError
from cherimoya_assets.resources.storage import Held, Manifest

OR = " or "
"""Between two versions of one input, where what is pooled was not all made of the same."""


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
        self._loci_looked_at: dict[dg.AssetKey, LociVersions] = {}
        self._regions_looked_at: dict[dg.AssetKey, Mapping[str, str]] = {}

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
            stamped: Mapping[str, str] = {source.name: self.version(source)}
            if not source.observed:
                manifest = self.manifest(source.key, source.partition)
                stamped = {} if manifest is None else manifest.stamp.upstream
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
        place = (key, partition)
        if place not in self._stored:
            self._stored[place] = self.lineage.store.look(tuple(key.path), partition)
        return self._stored[place]

    def by_chromosome(self, key: dg.AssetKey) -> Mapping[str, str] | None:
        """The versions of an input that has one for each chromosome; None for one that is a whole.

        Raises:
            KeyError: the experiment has no such input.
        """
        match self.lineage.inputs_by_key[key].by:
            case steps.CONTIGS:
                return self._contigs
            case steps.LOCI:
                return self._loci(key).chroms
            case steps.REGIONS:
                return self._regions(key)
        return None

    def whole(self, key: dg.AssetKey) -> str:
        """The version of an input that is a whole: the model, a motif database."""
        try:
            return self.lineage.input_version(*self.lineage.files_of(key))
        except OSError as error:
            raise InputError(
                f"{error.filename}: cannot be read ({error.strerror}). Restore it or correct the experiment file."
            ) from error

    def _observed(self, source: Source) -> str:
        if source.partition is not None:
            return (self.by_chromosome(source.key) or {}).get(source.partition, "")
        match source.aspect:
            case steps.CONTIGS:
                return contigs_version(self._genome)
            case steps.ORDER:
                return self._loci(source.key).order
            case steps.ELSEWHERE:
                return self._loci(source.key).elsewhere
        return self.whole(source.key)

    @cached_property
    def _genome(self) -> Genome:
        return self.lineage.genome

    @cached_property
    def _contigs(self) -> Mapping[str, str]:
        return contig_versions(self._genome, self.lineage.home.cache)

    def _loci(self, key: dg.AssetKey) -> LociVersions:
        if key not in self._loci_looked_at:
            found = loci_versions(self.lineage.files_of(key), self.lineage.chroms, self.lineage.home.cache)
            self._loci_looked_at[key] = found
        return self._loci_looked_at[key]

    def _regions(self, key: dg.AssetKey) -> Mapping[str, str]:
        if key not in self._regions_looked_at:
            found = region_versions(self.lineage.files_of(key), self.lineage.chroms, self.lineage.home.cache)
            self._regions_looked_at[key] = found
        return self._regions_looked_at[key]


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
                changed.append(f"{named} {', '.join(map(str, now.lineage.files_of(source.key)))}")
            else:
                changed.append(source.name)
    return list(dict.fromkeys(changed))


def loaded_version(lineage: ExperimentLineage, models: Mapping[str, SequenceModel]) -> str:
    """The version of the models that were loaded: of the very bytes, which a replaced file may no longer hold."""
    return combined_sha256(*(models[fold].fingerprint for fold in lineage.experiment.model))


def sources(lineage: ExperimentLineage, key: dg.AssetKey, partition: str | None) -> tuple[Source, ...]:
    """What a partition of an asset is made from, one step up.

    Raises:
        ValueError: the experiment has no such asset, or it is an input.
    """
    found: list[Source] = []
    for one in reads_of(lineage, key):
        if one.aspect or one.of == steps.WHOLE:
            chroms: tuple[str | None, ...] = (None,)
        else:
            chroms = (partition,) if one.of == steps.HERE else lineage.chroms
        if not one.observed and not lineage.step_of(one.key).by_chromosome:
            chroms = (None,)
        found += [Source(one.key, chrom, one.aspect, one.observed) for chrom in chroms]
    return tuple(found)


@dataclass(frozen=True)
class ReadOf:
    """A row's `Read`, of this experiment: the very asset or input, and how it is given to the step's function."""

    key: dg.AssetKey
    of: str
    given: str
    aspect: str
    observed: bool


def reads_of(lineage: ExperimentLineage, key: dg.AssetKey) -> tuple[ReadOf, ...]:
    """What an asset is made from, one step up.

    Raises:
        ValueError: the experiment has no such asset, or it is an input.
    """
    row, experiment = lineage.step_of(key), lineage.experiment
    found: list[ReadOf] = []
    for one in row.reads:
        if one.when is not None and not one.when(experiment):
            continue
        if one.names == (steps.SHOWN,):
            keys = [k for shown in lineage.steps.values() if shown.shown for k in lineage.keys_of(shown)]
            found += [ReadOf(k, one.of, "", "", observed=False) for k in keys]
            continue
        name = next((name for name in one.names if name in lineage.steps or name in lineage.inputs), None)
        if name in lineage.inputs:
            found.append(ReadOf(lineage.input_key(name), one.of, one.given, one.aspect, observed=True))
        elif name is not None:
            # Of the same head; what has no heads itself reads those of all.
            keys = lineage.keys_of(lineage.steps[name])
            if row.per_head and lineage.steps[name].per_head:
                keys = [k for k in keys if k.path[1] == key.path[1]]
            found += [ReadOf(k, one.of, one.given, one.aspect, observed=False) for k in keys]
    return tuple(found)

"""Whether what is stored is what would be made now, and if not, why: in words, through every hop.

What belongs here: comparing stamps with what inputs, parameters, libraries and code are now. What does not: making
anything (`walk.py`) and printing (`cli/drift.py`).

A partition is fresh when it is there, was made by the code, parameters and libraries that would make it now, from the
inputs as they are now, and when everything that it stands on is fresh. Dagster's own staleness looks one hop up, says
nothing about pooled assets with a hundred parents, and does not mark partitioned assets in its UI.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, KeysView, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from cherimoya_assets.analysis.input_rows import remember_rows, rows_changed
from cherimoya_assets.assets.lineage import ExperimentLineage, jsonable, package_version
from cherimoya_assets.assets.versions import Source, Versions, sources
from cherimoya_assets.errors import CherimoyaAssetsError
from cherimoya_assets.resources.storage import Manifest
from cherimoya_assets.steps import CONTIGS, ELSEWHERE, LOCI, ORDER, REGIONS, Step

MISSING = "has not been made"

MOST_REASONS = 4
MOST_NAMES = 6


@dataclass(frozen=True)
class Freshness:
    """Whether a partition of an asset (None: a pooled asset) is fresh.

    Attributes:
        own: what changed that it is made from directly, a phrase each.
        through: the assets that it stands on and that are not fresh.
        roots: what changed at the beginning of every way that leads here.
    """

    key: dg.AssetKey
    partition: str | None
    own: tuple[str, ...] = ()
    through: tuple[Source, ...] = ()
    roots: tuple[str, ...] = ()

    @property
    def fresh(self) -> bool:
        return not self.own and not self.through

    @property
    def name(self) -> str:
        """`counts/seqlets[chrII]`, `experiment_report`."""
        return _name(self.key, self.partition)

    @property
    def missing(self) -> bool:
        return self.own == (MISSING,)

    @property
    def reason(self) -> str:
        """Why it is not fresh, in words; empty where it is."""
        if self.fresh or self.missing:
            return "".join(self.own)
        reasons = self.roots if self.through else self.own
        said = "; ".join(reasons[:MOST_REASONS])
        if len(reasons) > MOST_REASONS:
            said += f"; and {len(reasons) - MOST_REASONS} more reasons"
        if not self.through:
            return said
        names = list(dict.fromkeys(_grouped(self.through)))
        return f"{said}; it stands on {_listed(names)}, which {'is' if len(self.through) == 1 else 'are'} out of date"

    @property
    def sentence(self) -> str:
        """`counts/seqlets[chrII] is out of date: ...`."""
        if self.fresh:
            return f"{self.name} is fresh"
        return f"{self.name} has not been made" if self.missing else f"{self.name} is out of date: {self.reason}"


class Drift:
    """The freshness of every partition of an experiment as it is now; what was looked at once is remembered."""

    def __init__(self, lineage: ExperimentLineage) -> None:
        self.lineage = lineage
        self.versions = Versions(lineage)
        self._seen: dict[tuple[dg.AssetKey, str | None], Freshness] = {}
        self._remember_rows()

    def again(self) -> None:
        """Look at the store and the inputs anew."""
        self.versions = Versions(self.lineage)
        self._seen.clear()

    def of(self, key: dg.AssetKey, partition: str | None) -> Freshness:
        """One partition of one asset.

        Raises:
            InputError, Problems: an input cannot be read.
        """
        if (key, partition) not in self._seen:
            self._seen[key, partition] = self._look(key, partition)
        return self._seen[key, partition]

    def of_assets(self, keys: Iterable[dg.AssetKey]) -> list[Freshness]:
        """Every partition of these assets."""
        return [self.of(key, partition) for key in keys for partition in self.lineage.partitions_of(key)]

    def _look(self, key: dg.AssetKey, partition: str | None) -> Freshness:
        held, made_from = self.versions.held(key, partition), sources(self.lineage, key, partition)
        manifest = held.manifest
        through = tuple(
            source for source in made_from if not source.observed and not self.of(source.key, source.partition).fresh
        )
        if manifest is None:
            name = _name(key, partition)
            if not held.damage:
                return Freshness(key, partition, (MISSING,), through, roots=(f"{name} {MISSING}",))
            said = f"what was stored of {name} is damaged"
            return Freshness(key, partition, (f"{said} ({held.damage.rstrip('.')})",), through, roots=(said,))
        own = (*self._code_changes(key, manifest), *self._input_changes(key, partition, made_from, manifest))
        inherited = (root for source in through for root in self.of(source.key, source.partition).roots)
        return Freshness(key, partition, own, through, tuple(dict.fromkeys([*own, *inherited])))

    def _code_changes(self, key: dg.AssetKey, manifest: Manifest) -> list[str]:
        """Code, parameters and libraries, where the code version says that they are others."""
        step, stamp = self.lineage.step_of(key), manifest.stamp
        now = self.lineage.code_version(step)
        if stamp.code_version == now:
            return []
        said = []
        if stamp.step_version != step.version:
            was = stamp.step_version or "not recorded"
            said.append(f"the code of {step.name} changed (version {step.version}, was {was})")
        said += self._parameter_changes(step, stamp.parameters)
        packages = ((name, package_version(name), stamp.packages.get(name, "not recorded")) for name in step.packages)
        said += [f"{name} is {version}, was {before}" for name, version, before in packages if version != before]
        pooled = _chroms(stamp.inputs)
        if not said and step.pools_chroms and tuple(pooled) != self.lineage.chroms:
            # Which chromosomes are new or gone is said of the inputs.
            same = pooled == set(self.lineage.chroms)
            return ["the order of the chromosomes by size changed"] if same else []
        was = stamp.code_version or "not recorded"
        said = said or self._new_parameters(step, stamp.parameters)
        return said or [f"what decides the numbers of {step.name} changed (code version {now}, was {was})"]

    def _parameter_changes(self, step: Step, recorded: Mapping[str, Any]) -> list[str]:
        said = []
        for group in step.parameters:
            for name, value in group.values(self.lineage.experiment).items():
                place, now = f"{group.section}.{name}" if group.section else name, jsonable(value)
                if name in recorded and recorded[name] != now:
                    said.append(f"{place} is {_shown(now)}, was {_shown(recorded[name])}")
        return said

    def _new_parameters(self, step: Step, recorded: Mapping[str, Any]) -> list[str]:
        """Parameters that a step did not have when it was stamped, where it had others."""
        if not recorded:
            return []
        return [
            f"{group.section}{'.' * bool(group.section)}{name} is {_shown(jsonable(value))}, was not recorded"
            for group in step.parameters
            for name, value in group.values(self.lineage.experiment).items()
            if name not in recorded
        ]

    def _input_changes(
        self, key: dg.AssetKey, partition: str | None, made_from: Sequence[Source], manifest: Manifest
    ) -> list[str]:
        recorded = manifest.stamp.inputs
        changed = [source for source in made_from if recorded.get(source.name) != self.versions.version(source)]
        rows = {source.key for source in changed if source.observed and source.partition is not None}
        before = _chroms(recorded)
        new = {source.partition for source in made_from if source.partition} - before if partition is None else set()
        dropped = before - set(self.lineage.chroms) if partition is None else set()
        said = [f"{chrom} is new in the experiment" for chrom in self.lineage.chroms if chrom in new]
        said += [f"{chrom} is no longer in the experiment" for chrom in sorted(dropped)]
        stored = []
        for source in changed:
            if source.partition in new:
                continue
            if source.aspect and source.key in rows:
                # Other rows have another order; that is said already.
                continue
            if source.name not in recorded:
                said.append(f"{source.name} is new")
            elif source.observed:
                said.append(self._input_change(source, recorded[source.name], manifest))
            elif self.versions.version(source):
                stored.append(source)
        said += [f"{name} changed" for name in dict.fromkeys(_grouped(stored))]
        gone = recorded.keys() - {source.name for source in made_from}
        gone -= {name for name in gone if _chroms([name]) & dropped}
        return said + [f"{name} is no longer part of it" for name in sorted(gone)]

    def _input_change(self, source: Source, before: str, manifest: Manifest) -> str:
        """`peaks[chrII] changed on 2026-12-01 (3 rows added)`."""
        what = source.name
        if source.aspect:
            what = {
                ORDER: f"the order of the rows of {source.key.path[-1]}",
                ELSEWHERE: f"the number of {source.key.path[-1]} on chromosomes that are not selected",
                CONTIGS: "the names or the sizes of the genome's contigs",
            }[source.aspect]
        said = f"{what} changed{_day(self.lineage.files_of(source.key), manifest.stamp.made)}"
        rows = rows_changed(before, self.versions.version(source), self.lineage.home.cache)
        return said + (f" ({rows})" if rows else "")

    def _remember_rows(self) -> None:
        for key, row in self.lineage.inputs_by_key.items():
            # What cannot be read is said when a partition that stands on it is looked at.
            if row.by in (LOCI, REGIONS):
                with suppress(CherimoyaAssetsError, OSError):
                    versions = self.versions.by_chromosome(key) or {}
                    remember_rows(self.lineage.files_of(key), versions, self.lineage.home.cache)


def _chroms(names: Iterable[str]) -> KeysView[str]:
    """The chromosomes in the names of a stamp's inputs, in their order."""
    return dict.fromkeys(match[1] for name in names if (match := re.search(r"\[(.*)\]$", name))).keys()


def _grouped(found: Iterable[Source]) -> list[str]:
    """`counts/attributions[chrI, chrII]`: the sources by name, chromosomes together."""
    chroms: dict[str, list[str]] = {}
    for source in found:
        chroms.setdefault("/".join(source.key.path[1:]), []).extend([source.partition] if source.partition else [])
    return [name + (f"[{_listed(named)}]" if named else "") for name, named in chroms.items()]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def _name(key: dg.AssetKey, partition: str | None) -> str:
    return "/".join(key.path[1:]) + (f"[{partition}]" if partition is not None else "")


def _day(files: Sequence[Path], made: str) -> str:
    """When files were last written, where that was after `made`; else it says nothing about this change."""
    try:
        written = datetime.fromtimestamp(max(path.stat().st_mtime for path in files), UTC)
    except (OSError, ValueError):
        return ""
    if not made or written < datetime.fromisoformat(made):
        return ""
    return f" on {written.astimezone().date().isoformat()}"


def _shown(value: Any) -> str:
    """As an experiment file has it."""
    return str(value) if isinstance(value, (str, float)) else json.dumps(value)

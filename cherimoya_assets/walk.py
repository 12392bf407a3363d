"""Walking the stages of one experiment, one run a chromosome, in this process.

What belongs here: which assets of which chromosome can be made now, making them as ordinary Dagster runs of the stage
jobs, and what became of each. What does not: drawing (`cli/display.py`), what the assets do, and what is out of date
and why (`assets/drift.py`).

Only what is out of date is made, unless all is asked for. What stands on something that is made again is looked at
once more afterwards: where the same came out, nothing follows from it.

A chromosome that fails does not stop the others. What would stand on it is skipped, with the reason: a pooled asset
made from some of the chromosomes, or from old and new ones together, would be wrong without looking wrong.

Several walks of one home share the work: a partition belongs to one of them while it is made. The others go on with
what is free, come back, wait, and make what is still out of date then.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Protocol

import dagster as dg

from cherimoya_assets.assets.drift import Drift
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.build import Stage, assets_and_jobs, stages
from cherimoya_assets.errors import CherimoyaAssetsError, ExperimentError, InputError
from cherimoya_assets.progress import Advance, watching
from cherimoya_assets.resources.leases import TELL_EVERY_S, WAITING
from cherimoya_assets.resources.turns import turn
from cherimoya_assets.runs.run_process import process_tag

COMMAND_TAG = "cherimoya_assets/run"
"""The runs of one `cherimoya-assets run` have the same value."""

POLL_S = 0.2

INTERRUPTIONS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")


@dataclass(frozen=True)
class Failure:
    """Why assets were not made. `traceback` is empty where the message says all there is to know."""

    keys: tuple[dg.AssetKey, ...]
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Made:
    """What one run left: the assets that were stored, with the numbers of their materializations."""

    stage: Stage
    partition: str | None
    run_id: str
    seconds: float
    metadata: Mapping[dg.AssetKey, Mapping[str, Any]]
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """An asset that was not tried, why, and whether a failure is the reason (and not the user's choice)."""

    key: dg.AssetKey
    reason: str
    failed: bool


class Watcher(Protocol):
    """Who looks on while stages are walked."""

    def stage_begins(self, number: int, of: int, stage: Stage, partitions: Sequence[str | None]) -> None: ...
    def run_begins(self, stage: Stage, partition: str | None) -> None: ...
    def step_begins(self, keys: Collection[dg.AssetKey]) -> None: ...
    def waits(self, sentence: str) -> None: ...
    def advances(self, advance: Advance) -> None: ...
    def run_ends(self, made: Made) -> None: ...
    def made_elsewhere(self, partition: str | None, sentence: str) -> None: ...
    def skipped(self, skipped: Skipped) -> None: ...
    def stage_ends(self) -> None: ...


@dataclass
class Outcome:
    """What a walk made, failed to make and left out; `elsewhere` counts the partitions that another run made."""

    made: list[Made] = field(default_factory=list)
    elsewhere: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(made.failures for made in self.made) or any(skipped.failed for skipped in self.skipped)


def walk(
    lineage: ExperimentLineage,
    instance: dg.DagsterInstance,
    watcher: Watcher,
    *,
    keys: Collection[dg.AssetKey] | None = None,
    chroms: Sequence[str] | None = None,
    device: str = "",
    tags: Mapping[str, str] | None = None,
    resources: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Outcome:
    """Observe the inputs, then make what is out of date of `keys` (all) and `chroms` (all), stage by stage.

    With `force`, what is up to date is made again, too, unless another walk has made it since this one began. `device`,
    `tags` and `resources` as in `code_location.build_defs`.

    Raises:
        InputError: an input could not be observed.
        KeyboardInterrupt: the user stopped it; what was finished stays.
    """
    defs = assets_and_jobs([lineage], lineage.home.root, device=device, resources=resources)
    tags = {**(tags or {}), "experiment": lineage.name, COMMAND_TAG: uuid.uuid4().hex[:12], **process_tag()}
    walker = _Walker(lineage, defs, instance, watcher, tags, force)
    walker.observe_inputs()
    chosen = [(stage, [key for key in stage.keys if keys is None or key in keys]) for stage in stages(lineage)]
    chosen = [(stage, wanted) for stage, wanted in chosen if wanted]
    if force:
        walker.remember(
            (key, partition)
            for stage, wanted in chosen
            for key in wanted
            for partition in (tuple(chroms or lineage.chroms) if stage.partitioned else (None,))
        )
    with watching(watcher.advances):
        for place, (stage, wanted) in enumerate(chosen, start=1):
            partitions = tuple(chroms or lineage.chroms) if stage.partitioned else (None,)
            job = defs.resolve_job_def(stage.job)
            walker.stage(stage, job, wanted, partitions, (place, len(chosen)))
    return walker.outcome


def select_assets(lineage: ExperimentLineage, names: Sequence[str]) -> set[dg.AssetKey]:
    """The assets that `names` mean: `seqlets` (of every head), `counts/seqlets`, `EXPERIMENT/counts/seqlets`.

    Raises:
        ExperimentError: a name means nothing in this experiment.
    """
    by_name: dict[str, set[dg.AssetKey]] = {}
    for key in (key for stage in stages(lineage) for key in stage.keys):
        for start in range(len(key.path)):
            by_name.setdefault("/".join(key.path[start:]), set()).add(key)
    for name in names:
        if name not in by_name:
            known = sorted({key.path[-1] for keys in by_name.values() for key in keys})
            raise ExperimentError(
                f"--select {name}: {lineage.name} has no such asset; the nearest name is "
                f"{_nearest(name, by_name)}. Its assets: {', '.join(known)}."
            )
    return {key for name in names for key in by_name[name]}


def select_chroms(lineage: ExperimentLineage, names: Sequence[str]) -> tuple[str, ...]:
    """These chromosomes of the experiment, in its own order.

    Raises:
        ExperimentError: the experiment does not have one of them.
    """
    for name in names:
        if name not in lineage.chroms:
            raise ExperimentError(
                f"--chroms {name}: {lineage.name} has no such chromosome; the nearest name is "
                f"{_nearest(name, lineage.chroms)}. Its chromosomes: {', '.join(lineage.chroms)}."
            )
    return tuple(chrom for chrom in lineage.chroms if chrom in names)


@dataclass
class _Walker:
    """The state of one walk: what was not made so far, and therefore what cannot be."""

    lineage: ExperimentLineage
    defs: dg.Definitions
    instance: dg.DagsterInstance
    watcher: Watcher
    tags: Mapping[str, str]
    force: bool
    outcome: Outcome = field(default_factory=Outcome)
    unmade: dict[tuple[dg.AssetKey, str | None], bool] = field(default_factory=dict)
    """Assets that this walk wanted and did not make; True where a failure is the reason."""
    before: dict[tuple[dg.AssetKey, str | None], str] = field(default_factory=dict)
    """The folders of what was stored when a walk began that makes everything again."""

    def __post_init__(self) -> None:
        self.assets = [asset for asset in self.defs.assets or () if isinstance(asset, dg.AssetsDefinition)]
        self.parents = {key: parents for asset in self.assets for key, parents in asset.asset_deps.items()}
        self.partitioned = {key: stage.partitioned for stage in stages(self.lineage) for key in stage.keys}
        self.drift = Drift(self.lineage)

    def observe_inputs(self) -> None:
        """Record the content version of every input file."""
        inputs = [key for asset in self.assets for key in asset.keys if key not in self.partitioned]
        result = self._execute(self.defs.resolve_implicit_global_asset_job_def(), inputs, None, str(uuid.uuid4()))
        for failure in self._failures(result, inputs):
            raise InputError(failure.message)

    def remember(self, cells: Iterable[tuple[dg.AssetKey, str | None]]) -> None:
        """What is stored now is made again, what comes after it is not."""
        self.before = {cell: self._folder(*cell) for cell in cells}

    def stage(
        self,
        stage: Stage,
        job: dg.JobDefinition,
        wanted: Sequence[dg.AssetKey],
        partitions: Sequence[str | None],
        place: tuple[int, int],
    ) -> None:
        """Make what can be made of one stage, and say nothing of a stage that is up to date."""
        self.drift.again()
        stale = {
            partition: left
            for partition in partitions
            if (left := [key for key in wanted if self.force or not self.drift.of(key, partition).fresh])
        }
        if not stale:
            return
        self.watcher.stage_begins(*place, stage, list(stale))
        obstacles: dict[tuple[dg.AssetKey, _Obstacle], list[str | None]] = {}

        def make(partition: str | None) -> None:
            for key, obstacle in self._partition(stage, job, stale[partition], partition).items():
                obstacles.setdefault((key, obstacle), []).append(partition)

        # First what no other walk is at.
        for partition in [one for one in stale if self._in_turn(stage, one, make)]:
            self._wait(stage, partition, make)
        for (key, obstacle), skipped in obstacles.items():
            self._skip(key, obstacle, skipped)
        self.watcher.stage_ends()

    def _in_turn(self, stage: Stage, partition: str | None, make: Callable[[str | None], None]) -> str:
        """Make a partition, unless another walk of this home is at it; returns who that is."""
        work = f"{stage.job} {partition or ''}"
        with turn(self.lineage.home.turns, work, self.tags[COMMAND_TAG]) as other:
            if not other:
                make(partition)
        return other

    def _wait(self, stage: Stage, partition: str | None, make: Callable[[str | None], None]) -> None:
        """Make a partition as soon as the walk that is at it has ended."""
        heard = float("-inf")
        while other := self._in_turn(stage, partition, make):
            if time.monotonic() - heard >= TELL_EVERY_S:
                heard = time.monotonic()
                what = partition or stage.name.replace("_", " ")
                self.watcher.waits(f"waiting for {what}, which another run makes: {other}")
            time.sleep(POLL_S)

    def _partition(
        self, stage: Stage, job: dg.JobDefinition, left: Sequence[dg.AssetKey], partition: str | None
    ) -> dict[dg.AssetKey, _Obstacle]:
        """Make assets of one partition, in as few runs as can be; returns what cannot be made, and why not."""
        # Another walk may have made it since the stage was looked at.
        self.drift.again()
        wanted = [key for key in left if self._is_wanted(key, partition)]
        if not wanted:
            self.outcome.elsewhere += 1
            self.watcher.made_elsewhere(partition, "another run has made it")
        while True:
            now: list[dg.AssetKey] = []
            obstacles: dict[dg.AssetKey, _Obstacle] = {}
            for key in left:
                self.unmade.pop((key, partition), None)
                if not self._is_wanted(key, partition):
                    continue
                # What only stands on something that is made in this run may turn out to be fresh after it.
                waits = not self.force and not self.drift.of(key, partition).own
                obstacle = self._obstacle(key, partition, now)
                if obstacle is not None:
                    obstacles[key] = obstacle
                    self.unmade[key, partition] = obstacle.failed
                elif not waits:
                    now.append(key)
            if not now:
                return obstacles
            self._run(stage, job, now, partition)
            left = [key for key in left if key not in now]
            if self.force:
                return obstacles
            self.drift.again()

    def _obstacle(self, key: dg.AssetKey, partition: str | None, same_run: Collection[dg.AssetKey]) -> _Obstacle | None:
        """The first parent that is not there or out of date, and is not made before `key` in the same run."""
        for parent in sorted(self.parents[key] & self.partitioned.keys()):
            if parent in same_run:
                continue
            pools = self.partitioned[parent] and partition is None
            read = self.lineage.chroms if pools else (partition if self.partitioned[parent] else None,)
            missing = [one for one in read if (parent, one) in self.unmade or not self._is_stored(parent, one)]
            if missing:
                failed = any(self.unmade.get((parent, one), False) for one in missing)
                there = not failed and all(self._is_stored(parent, one) for one in missing)
                return _Obstacle(parent, tuple(filter(None, missing)) if pools else (), failed, stale=there)
            stale = [one for one in read if not self.drift.of(parent, one).fresh]
            if stale:
                return _Obstacle(parent, tuple(filter(None, stale)) if pools else (), False, stale=True)
        return None

    def _is_wanted(self, key: dg.AssetKey, partition: str | None) -> bool:
        if not self.drift.of(key, partition).fresh:
            return True
        return self.force and self._folder(key, partition) == self.before[key, partition]

    def _folder(self, key: dg.AssetKey, partition: str | None) -> str:
        """The folder of what is stored, which every materialization has anew; empty where nothing is."""
        manifest = self.lineage.store.manifest(tuple(key.path), partition)
        return manifest.folder if manifest is not None else ""

    def _is_stored(self, key: dg.AssetKey, partition: str | None) -> bool:
        return self.lineage.store.manifest(tuple(key.path), partition) is not None

    def _run(self, stage: Stage, job: dg.JobDefinition, keys: Sequence[dg.AssetKey], partition: str | None) -> None:
        run_id, began = str(uuid.uuid4()), time.perf_counter()
        self.watcher.run_begins(stage, partition)
        # Not decorated as public in Dagster 1.13.27, where it was checked; only the display depends on it.
        self.instance.add_event_listener(run_id, self._tell_step)
        result = self._execute(job, keys, partition, run_id)
        stored = {
            event.asset_key: event.step_materialization_data.materialization.metadata
            for event in result.all_events
            if event.is_step_materialization and event.asset_key is not None
        }
        unmade = [key for key in keys if key not in stored]
        self.unmade |= {(key, partition): True for key in unmade}
        warnings = tuple(
            f"{'/'.join(check.asset_key.path[1:])}, {check.check_name}: {check.description}"
            for check in result.get_asset_check_evaluations()
            if not check.passed and check.asset_key in stored
        )
        failures = tuple(self._failures(result, unmade))
        made = Made(stage, partition, run_id, time.perf_counter() - began, stored, failures, warnings)
        self.outcome.made.append(made)
        self.watcher.run_ends(made)
        for key in unmade:
            # Dagster did not try what stood on a step that failed.
            if not any(key in failure.keys for failure in failures):
                self._skip(key, self._obstacle(key, partition, stored), [partition])

    def _skip(self, key: dg.AssetKey, obstacle: _Obstacle | None, partitions: Sequence[str | None]) -> None:
        reason = obstacle.sentence(partitions) if obstacle else "a step before it failed"
        skipped = Skipped(key, reason, obstacle.failed if obstacle else True)
        self.outcome.skipped.append(skipped)
        self.watcher.skipped(skipped)

    def _execute(
        self, job: dg.JobDefinition, keys: Sequence[dg.AssetKey], partition: str | None, run_id: str
    ) -> dg.ExecuteInProcessResult:
        result = job.execute_in_process(
            instance=self.instance,
            partition_key=partition,
            asset_selection=list(keys),
            run_id=run_id,
            tags=dict(self.tags),
            raise_on_error=False,
        )
        # Dagster takes the interrupt for a failure of the run and returns as if nothing had happened.
        if any(error.cls_name in INTERRUPTIONS for error in _run_errors(result)):
            raise KeyboardInterrupt
        return result

    def _failures(self, result: dg.ExecuteInProcessResult, unmade: Collection[dg.AssetKey]) -> Iterator[Failure]:
        """Why steps failed; a run that failed outside of a step is one failure of all its assets."""
        steps = [event for event in result.all_events if event.is_step_failure]
        for event in steps:
            data = event.step_failure_data
            keys = tuple(sorted(self._keys_of_step(event.step_key) & set(unmade)))
            if data.user_failure_data is not None:
                # dagster.Failure: raised on purpose, its sentence is made for the reader.
                yield Failure(keys, data.user_failure_data.description or "failed without a reason")
            else:
                yield _failure(keys, data.error)
        if not result.success and not steps:
            yield _failure(tuple(unmade), next(iter(_run_errors(result)), None))

    def _keys_of_step(self, step: str | None) -> set[dg.AssetKey]:
        return {key for asset in self.assets if asset.op.name == step for key in asset.keys}

    def _tell_step(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is not None and event.event_type is dg.DagsterEventType.STEP_START:
            self.watcher.step_begins(self._keys_of_step(event.step_key))
        elif event is None and entry.user_message.startswith(WAITING):
            self.watcher.waits(entry.user_message)


@dataclass(frozen=True)
class _Obstacle:
    """A parent that is not there, or is `stale`; `chroms` are those that are missing where the child pools them."""

    parent: dg.AssetKey
    chroms: tuple[str, ...]
    failed: bool
    stale: bool = False

    def sentence(self, partitions: Sequence[str | None]) -> str:
        """Why these partitions of a child cannot be made."""
        name, missing = "/".join(self.parent.path[1:]), "was not made" if self.failed else "has not been made yet"
        if self.stale:
            missing = "is out of date"
        if self.chroms:
            return f"it pools every chromosome, and {name} {missing} for {_listed(self.chroms)}"
        chroms = tuple(filter(None, partitions))
        return f"{name} {missing}" + (f" ({_listed(chroms)})" if chroms else "")


def _failure(keys: tuple[dg.AssetKey, ...], error: Any) -> Failure:
    """What went wrong first; with the whole traceback, unless it is an error that is made for the reader."""
    if error is None:
        return Failure(keys, "the run failed outside of a step")
    family = {CherimoyaAssetsError.__name__, *(one.__name__ for one in CherimoyaAssetsError.__subclasses__())}
    cause = error
    while cause.cls_name not in family and cause.cause is not None:
        cause = cause.cause
    foreseen = cause.cls_name in family
    message = cause.message.strip().removeprefix(f"{CherimoyaAssetsError.__module__}.")
    return Failure(keys, message, "" if foreseen else error.to_string())


def _run_errors(result: dg.ExecuteInProcessResult) -> list[Any]:
    return [
        event.job_failure_data.error
        for event in result.all_events
        if event.is_job_failure and event.job_failure_data.error
    ]


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _nearest(name: str, names: Collection[str]) -> str:
    return get_close_matches(name, names, n=1, cutoff=0.0)[0]

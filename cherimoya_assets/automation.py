"""Declarative automation: what makes an asset ask to be recomputed, and the sensors that listen.

What belongs here: conditions and sensors. What does not: what an asset is made from (`assets/versions.py`) and which
assets there are (`build.py`).

The conditions ask the store and not Dagster's history: a partition is out of date when its stamp (input versions, code
version) is not what the stamp would be now. Dagster's own `eager()` fires on an identical recomputation, ignores code
versions, does nothing for what is there when automation begins, and pools old with new data after a chromosome failed;
its staleness looks one step up. Here a partition waits until nothing above it, however far, is out of date, and
follows only when what it is made from really changed. Everything is off until it is turned on.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
from dagster import BetaWarning

from cherimoya_assets.analysis.hashing import combined_sha256
from cherimoya_assets.assets.drift import Drift, Freshness
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.errors import CherimoyaAssetsError

SECONDS_BETWEEN_LOOKS = 5
"""Looking costs milliseconds while nothing changes. A change travels one step a look."""

OBSERVE_SENSOR = "observe_inputs"


def recompute_when_out_of_date(lineage: ExperimentLineage) -> dg.AutomationCondition[Any] | None:
    """The condition of every asset of an experiment, as its `automation` says it; None where that is `manual`.

    A partition is requested when it is out of date, nothing above it is, and nothing of it or right above it runs. A
    request is made once: what failed is tried again when something that it is made from changed, or by hand.
    """
    automation = lineage.experiment.automation
    if automation.mode == "manual":
        return None
    condition, moment = dg.AutomationCondition[Any], Moment(lineage)
    quiet = ~condition.in_progress() & ~condition.any_deps_in_progress()
    wanted = Unrequested(moment) & OutOfDate(moment) & ~Waits(moment) & quiet
    if automation.cron is None:
        return wanted.with_label("out of date")
    ticked = condition.cron_tick_passed(automation.cron, lineage.experiment.schedule_timezone)
    if not automation.force:
        # A tick opens the gate until all is settled, however many steps that takes.
        return (wanted & ticked.since(~(OutOfDate(moment) | Waits(moment)))).with_label(
            f"out of date at a tick of {ticks(lineage)}"
        )
    above = condition.any_deps_match(ticked.since(condition.newly_updated()))
    due_above = above.allow(dg.AssetSelection.groups(lineage.name).materializable())
    return (ticked.since(condition.newly_requested()) & ~due_above & quiet).with_label(
        f"every tick of {ticks(lineage)}"
    )


def ticks(lineage: ExperimentLineage) -> str:
    """When the cron schedule of an experiment ticks, in words."""
    return f"{lineage.experiment.automation.cron} ({lineage.experiment.schedule_timezone})"


class Moment:
    """What is out of date in the evaluation that is going on, looked at once for all conditions of an experiment."""

    def __init__(self, lineage: ExperimentLineage) -> None:
        self._lineage = lineage
        self._looks: WeakKeyDictionary[Any, Drift] = WeakKeyDictionary()

    def look(self, context: dg.AutomationContext[Any]) -> Drift:
        # An evaluation has one view of the graph, and every evaluation another.
        view = context.asset_graph_view
        if view not in self._looks:
            self._looks[view] = Drift(self._lineage)
        return self._looks[view]


def fingerprint(now: Drift, key: dg.AssetKey, partition: str | None) -> str:
    """One version of everything that a partition would be made from."""
    try:
        inputs = now.versions.inputs(key, partition)
    except (CherimoyaAssetsError, OSError):
        inputs = None
    return combined_sha256(now.lineage.code_version(now.lineage.step_of(key)), json.dumps(inputs, sort_keys=True))


def freshness(now: Drift, key: dg.AssetKey, partition: str | None) -> Freshness | None:
    """Of a partition; None where an input of it, or of what it stands on, cannot be read.

    The observation of that input fails with a sentence that says which file, and why.
    """
    try:
        return now.of(key, partition)
    except (CherimoyaAssetsError, OSError):
        return None


class _Judged(dg.AutomationCondition[Any]):
    """A condition that is true for the partitions of which `holds` is."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment

    def holds(self, found: Freshness | None) -> bool:
        raise NotImplementedError

    def evaluate(self, context: dg.AutomationContext[Any]) -> dg.AutomationResult[Any]:
        now = self._moment.look(context)
        candidates = _partitions(context.candidate_subset)
        chosen = {partition for partition in candidates if self.holds(freshness(now, context.key, partition))}
        return dg.AutomationResult(context, _subset(context, chosen))


class OutOfDate(_Judged):
    """What is stored is not what would be made now, or nothing is stored."""

    def holds(self, found: Freshness | None) -> bool:
        return found is None or bool(found.own)


class Waits(_Judged):
    """Something above is out of date, however far, so that what would be made now would be made again; or an input
    cannot be read."""

    def holds(self, found: Freshness | None) -> bool:
        return found is None or bool(found.through)


class Unrequested(dg.AutomationCondition[Any]):
    """What a partition would be made from now is not what it was requested for last.

    A request that was fulfilled is forgotten. One that failed is remembered, so that it is not repeated at every look.
    """

    def __init__(self, moment: Moment) -> None:
        self._moment = moment

    def evaluate(self, context: dg.AutomationContext[Any]) -> dg.AutomationResult[Any]:
        now, key = self._moment.look(context), context.key
        before = json.loads(context.cursor) if context.cursor else {"seen": {}, "requested": {}}
        requested_last = context.get_previous_requested_subset(key)
        repeated = set() if requested_last is None else _partitions(requested_last)
        seen, requested = {}, {}
        # All of them, whichever are asked for: what is not looked at now is forgotten.
        for partition in _partitions(context.asset_graph_view.get_full_subset(key=key)):
            name = partition or ""  # JSON has no key None
            seen[name] = fingerprint(now, key, partition)
            if (found := freshness(now, key, partition)) is None or found.own:
                requested[name] = before["seen" if partition in repeated else "requested"].get(name)
        new = {one for one in _partitions(context.candidate_subset) if requested.get(one or "") != seen[one or ""]}
        cursor = json.dumps({"seen": seen, "requested": requested})
        return dg.AutomationResult(context, _subset(context, new), cursor=cursor)


def _partitions(subset: Any) -> set[str | None]:
    """The partitions of a subset; {None} for an asset without partitions."""
    if subset.is_empty:
        return set()
    return set(subset.expensively_compute_partition_keys()) if subset.is_partitioned else {None}


def _subset(context: dg.AutomationContext[Any], partitions: set[str | None]) -> Any:
    if not context.candidate_subset.is_partitioned:
        return context.candidate_subset if partitions else context.get_empty_subset()
    chosen = {partition for partition in partitions if partition is not None}
    return context.candidate_subset.compute_intersection_with_partition_keys(chosen)


def automation_sensors(
    lineages: Sequence[ExperimentLineage], *, running: bool, tags: Mapping[str, str]
) -> list[dg.SensorDefinition]:
    """One sensor that observes inputs, and one for each experiment that is not `manual`.

    They are stopped until somebody starts them, unless `running`. `tags` are those of the runs that they request.
    """
    status = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED
    sensors: list[dg.SensorDefinition] = []
    for lineage in lineages:
        if lineage.experiment.automation.mode == "manual":
            continue
        with warnings.catch_warnings():
            # Beta in Dagster 1.13: conditions of one's own. Accepted here, and only here.
            warnings.simplefilter("ignore", BetaWarning)
            sensors.append(
                dg.AutomationConditionSensorDefinition(
                    f"{lineage.name}__automation",
                    target=dg.AssetSelection.groups(lineage.name).materializable(),
                    description=_description(lineage),
                    run_tags={**tags, "experiment": lineage.name},
                    default_status=status,
                    minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
                    # A run is a chromosome; a backfill would only be another queue in front of the queue.
                    emit_backfills=False,
                    use_user_code_server=True,
                )
            )
    if lineages:
        sensors.append(observe_inputs_sensor(lineages, status, tags))
    return sensors


def _description(lineage: ExperimentLineage) -> str:
    automation = lineage.experiment.automation
    when = "at once" if automation.cron is None else f"at ticks of {ticks(lineage)}"
    return f"Requests {'everything' if automation.force else 'what is out of date'}, {when}."


def observe_inputs_sensor(
    lineages: Sequence[ExperimentLineage], status: dg.DefaultSensorStatus, tags: Mapping[str, str]
) -> dg.SensorDefinition:
    """Looks at path, size and time of every input file, and has observed what is not as it was at the last look."""
    files = {key: lineage.files_of(key) for lineage in lineages for key in lineage.inputs_by_key}

    @dg.sensor(
        name=OBSERVE_SENSOR,
        asset_selection=dg.AssetSelection.assets(*files),
        default_status=status,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        description="Observes input files when they change, so that the UI shows their versions and when they changed.",
    )
    def observe_inputs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        before = json.loads(context.cursor) if context.cursor else {}
        now = {key.to_user_string(): [_state(path) for path in paths] for key, paths in files.items()}
        changed = [key for key in files if now[key.to_user_string()] != before.get(key.to_user_string())]
        if not changed:
            return dg.SkipReason("no input file changed")
        request = dg.RunRequest(asset_selection=changed, tags=dict(tags))
        return dg.SensorResult(run_requests=[request], cursor=json.dumps(now))

    return observe_inputs


def _state(path: Path) -> list[Any]:
    try:
        stat = path.stat()
    except OSError as error:
        return [str(path), error.strerror]
    return [str(path), stat.st_size, stat.st_mtime_ns]

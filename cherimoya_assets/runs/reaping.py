"""Ending what a crash left behind: runs without a process, places in pools, leases of devices, half-written folders.

What belongs here: what counts as left behind in an instance, and ending it. What does not: whether a process lives
(`run_process.py`).

Nothing that lives is touched, nothing of another machine, and no queued run.
"""

from __future__ import annotations

import time

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from cherimoya_assets.runs.run_process import PROCESS_TAG, Life, life_of

UNFINISHED = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def end_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """End the runs of this machine whose process is gone, and free their pool slots; returns their ids.

    A run that was killed can say nothing any more: Dagster shows it as running, and its slot in the pool `gpu`
    would block the next run for ever. It ends as failed, so that Dagster may retry it, or as cancelled where that is
    what somebody had asked for.
    """
    ended = []
    for run in instance.get_runs(RunsFilter(statuses=UNFINISHED)):
        life = life_of(instance, run)
        if life != Life.GONE and not (life == Life.STARTING and _never_began(instance, run.run_id)):
            continue
        current = instance.get_run_by_id(run.run_id)
        if current is None or current.status != run.status:
            continue  # it has moved since the list was made
        why = f"The process that executed this run is gone ({run.tags[PROCESS_TAG]})."
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, why)
        else:
            instance.report_run_failed(run, why)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run.run_id)
    return ended


def free_slots(instance: dg.DagsterInstance) -> list[str]:
    """Free the pool slots of runs that have ended or were deleted; returns the ids of these runs."""
    freed = []
    for run_id in sorted(instance.event_log_storage.get_concurrency_run_ids()):
        run = instance.get_run_by_id(run_id)
        # A run that was declared dead may live in truth: by force, or by a timeout.
        if run is not None and not (run.is_finished and life_of(instance, run) != Life.ALIVE):
            continue
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
        freed.append(run_id)
    return freed


def _never_began(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run was launched longer ago than a start may take, as Dagster's run monitoring sees it."""
    launched = instance.get_run_stats(run_id).launch_time
    return launched is not None and time.time() - launched > instance.run_monitoring_start_timeout_seconds

"""The Dagster instance inside a home: made on first use, opened by every command, freed of what a crash left behind.

What belongs here: `dagster.yaml`, opening the instance, ending runs whose process is gone. What does not: what is run.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from cherimoya_assets.errors import StorageError
from cherimoya_assets.home import Home

PROCESS_TAG = "cherimoya_assets/process"
"""Which process executes a run: `host:pid:start`. A run whose process is gone can be ended by anybody on that host."""

DAGSTER_YAML = """\
# Written by cherimoya-assets on first use. Yours to change: it is never overwritten.

# Runs and events live in SQLite files beside this one. That carries one machine; several machines want PostgreSQL.
telemetry: {enabled: false}
nux: {enabled: false}

concurrency:
  # Steps that compute with the model are in the pool `gpu`. Its limit is how many devices there are.
  pools: {default_limit: 1, granularity: op}
  runs: {max_concurrent_runs: 4}

run_monitoring:
  enabled: true
  poll_interval_seconds: 60
  # Without this, a run that was cancelled or killed keeps its place in the pool for ever.
  free_slots_after_run_end_seconds: 60

# A crashed process is tried again. A step that failed is not: its cause has to be mended first.
run_retries: {enabled: true, max_retries: 2, retry_on_asset_or_op_failure: false}

retention:
  sensor: {purge_after_days: {skipped: 7, success: 30, failure: 90}}
  auto_materialize: {purge_after_days: {skipped: 3, success: 30, failure: 90}}

code_servers: {local_startup_timeout: 180}
python_logs: {managed_python_loggers: [cherimoya_assets], python_log_level: INFO}
"""


def prepare_instance(home: Home) -> Path:
    """Make the instance's folder and its `dagster.yaml` unless they are there; returns the folder (DAGSTER_HOME).

    Raises:
        StorageError: the folder cannot be made or written.
    """
    folder = home.dagster.resolve()
    config = folder / "dagster.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not config.exists():
            temporary = folder / f".dagster.yaml.{uuid.uuid4().hex}"
            temporary.write_text(DAGSTER_YAML)
            os.replace(temporary, config)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written ({error.strerror}). Name a folder that can with --home."
        ) from error
    return folder


@contextmanager
def open_instance(home: Home) -> Iterator[dg.DagsterInstance]:
    """The instance of a home, with runs that a crash left behind ended."""
    with dg.DagsterInstance.from_config(str(prepare_instance(home))) as instance:
        end_abandoned_runs(instance)
        yield instance


def end_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs of this machine whose process is gone, and free their pool slots; returns their ids.

    A run that was killed can say nothing any more: Dagster shows it as running, and its slot in the pool `gpu`
    would block the next run for ever.
    """
    unfinished = RunsFilter(statuses=[DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
    ended = []
    for run in instance.get_runs(unfinished):
        process = run.tags.get(PROCESS_TAG)
        if process is None or process == _process_name(_pid(process)) or not _is_of_this_host(process):
            continue
        instance.report_run_failed(run, f"The process that executed this run is gone ({process}).")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run.run_id)
    return ended


def process_tag() -> dict[str, str]:
    """The tag that says that this very process executes a run."""
    return {PROCESS_TAG: _process_name(os.getpid())}


def _process_name(pid: int) -> str:
    """`host:pid:start`; the start time tells a process from a later one with its number."""
    return f"{socket.gethostname()}:{pid}:{_start_of(pid)}"


def _is_of_this_host(process: str) -> bool:
    return process.rsplit(":", 2)[0] == socket.gethostname()


def _pid(process: str) -> int:
    return int(process.rsplit(":", 2)[1])


def _start_of(pid: int) -> str:
    """When a process started (clock ticks since boot), `gone` where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _start_without_proc(pid)
    # The name in parentheses may hold spaces; field 22 is the 20th after it.
    return stat.rpartition(")")[2].split()[19]


def _start_without_proc(pid: int) -> str:
    # No /proc (macOS): whether a process has the number is all there is to know.
    if Path("/proc/self/stat").exists():
        return "gone"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "alive"

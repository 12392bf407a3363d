"""The Dagster instance inside a home: made on first use, opened by every command, freed of what a crash left behind.

What belongs here: `dagster.yaml` and opening the instance. What does not: what is run, and what is freed
(`reaping.py`).
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from cherimoya_assets.errors import StorageError
from cherimoya_assets.home import Home
from cherimoya_assets.runs.reaping import end_abandoned_runs, free_slots

DAGSTER_YAML = """\
# Written by cherimoya-assets on first use. Yours to change: it is never overwritten.

# Runs and events live in SQLite files beside this one. That carries one machine; several machines want PostgreSQL.
telemetry: {enabled: false}
nux: {enabled: false}

concurrency:
  # Steps that compute with the model are in the pool `gpu`, one at a time. With N devices, and this folder as
  # DAGSTER_HOME: `dagster instance concurrency set gpu N`. Each step then has a device of its own.
  pools: {default_limit: 1, granularity: op}
  runs: {max_concurrent_runs: 4}

# Runs are forked from a process that has everything imported, and it is known whether the process of a run still lives.
run_launcher: {module: cherimoya_assets.runs.warm_launcher, class: WarmRunLauncher}
run_coordinator: {module: dagster, class: QueuedRunCoordinator, config: {dequeue_interval_seconds: 1}}

run_monitoring:
  enabled: true
  # How often the daemon looks for runs whose process is gone. It ends them, and run_retries below makes them again.
  poll_interval_seconds: 30
  # A launched run that does not begin, a cancelled one that does not end. There is no max_runtime_seconds: a
  # chromosome may honestly take days on a CPU.
  start_timeout_seconds: 300
  cancel_timeout_seconds: 180
  # Without this, a run that was cancelled or killed keeps its place in the pool for ever.
  free_slots_after_run_end_seconds: 60

# A crashed process is tried again. A step that failed is not: its cause has to be fixed first.
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
            f"{folder}: cannot be written ({error.strerror}). Name a writable folder with --home."
        ) from error
    return folder


@contextmanager
def open_instance(home: Home) -> Iterator[dg.DagsterInstance]:
    """The instance of a home, with runs that a crash left behind ended.

    Raises:
        StorageError: the disk refuses what Dagster writes, now or before the block ends.
    """
    folder = prepare_instance(home)
    try:
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            end_abandoned_runs(instance)
            free_slots(instance)
            yield instance
    except Exception as error:
        if (refusal := _refusal(error)) is None:
            raise
        raise StorageError(
            f"{folder}: Dagster's files cannot be written ({refusal}): the disk is full, read-only or damaged. What "
            "was stored stays. Free some space and run it again."
        ) from error


def _refusal(error: BaseException) -> sqlite3.OperationalError | None:
    """SQLite's own error where the disk did not let it write."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.OperationalError):
        cause = cause.__cause__
    return cause if cause is not None and (cause.sqlite_errorcode & PRIMARY) in DISK_REFUSES else None


PRIMARY = 0xFF
"""SQLite's codes carry the kind of error in their lowest byte."""

DISK_REFUSES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})

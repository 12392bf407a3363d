"""Launches runs as Dagster does by default, and knows whether their processes live.

What belongs here: that. What does not: starting them faster (`warm_launcher.py`, which `dagster.yaml` of a new home
names) and how a dead run is distinguished from a living one (`run_process.py`).

Dagster's default launcher cannot say what became of a run worker once its code server is gone: after a crash of
everything such a run stays STARTED for ever. With this one Dagster's own run monitoring ends it, and run retries make
it again. Checked with 1.13.27.
"""

from __future__ import annotations

import os
import signal

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, WorkerStatus

from cherimoya_assets.runs.run_process import Life, launch_tag, life_of, process_tag, run_worker


class LocalRunLauncher(DefaultRunLauncher):
    """Runs in processes of their own on this machine, started by the code server."""

    def launch_run(self, context: LaunchRunContext) -> None:
        run_id = context.dagster_run.run_id
        # First of all: a retried run has inherited the tag of the process that crashed.
        self._instance.add_run_tags(run_id, launch_tag())
        super().launch_run(context)
        worker = run_worker(self._instance, run_id)
        if worker is not None:
            self._instance.add_run_tags(run_id, process_tag(worker))

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        try:
            stopped: bool = super().terminate(run_id)  # type: ignore[no-untyped-call]
            return stopped
        except Exception:
            # The code server that started the run is gone. The run goes on without it and can be interrupted itself.
            if run is None or life_of(self._instance, run) != Life.ALIVE:
                raise
        worker = run_worker(self._instance, run_id)
        assert worker is not None
        os.kill(worker, signal.SIGINT)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        # The run comes from a list that the monitor fetched before; its tag may have been written since.
        run = self._instance.get_run_by_id(run.run_id) or run
        if life_of(self._instance, run) == Life.GONE:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the process that executed the run is gone")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

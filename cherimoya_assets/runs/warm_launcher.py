"""Launches runs by forking them from a process that has everything imported already.

What belongs here: a `LocalRunLauncher` that needs no code server to start a run. What does not: the processes
(`run_workers.py`), and how a dead run is distinguished from a living one (`run_process.py`).

Dagster starts a new Python for every run, which imports PyTorch and the rest for five seconds of a core's time before
the first base is read. With hundreds of short runs (12 experiments of 24 chromosomes) that is most of what a machine
does. `dagster.yaml` of a new home names this launcher. Checked with Dagster 1.13.27:
a worker gets the words that Dagster's launchers for containers give to theirs.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from dagster._core.launcher import LaunchRunContext
from dagster._grpc.types import ExecuteRunArgs

from cherimoya_assets.errors import CherimoyaAssetsError
from cherimoya_assets.runs.launcher import LocalRunLauncher
from cherimoya_assets.runs.run_process import Life, launch_tag, life_of, process_tag, run_worker
from cherimoya_assets.runs.run_workers import RunWorkers

FORKS = sys.platform == "linux"


class WarmRunLauncher(LocalRunLauncher):
    """Runs in processes of their own on this machine, forked for each run.

    Elsewhere than on Linux runs start as those of `LocalRunLauncher` do: macOS ends a forked process that uses some of
    its frameworks, which PyTorch and NumPy do.
    """

    def __init__(self, inst_data: Any = None) -> None:
        super().__init__(inst_data)
        self._workers = RunWorkers()

    def launch_run(self, context: LaunchRunContext) -> None:
        """Fork a worker for a run.

        Raises:
            CherimoyaAssetsError: no process could be started. Dagster then fails the run, and says this.
        """
        if not FORKS:
            super().launch_run(context)
            return
        run = context.dagster_run
        if run.job_code_origin is None:
            raise CherimoyaAssetsError(f"run {run.run_id} does not say which code it executes")
        # First of all: a retried run has inherited the tag of the process that crashed.
        self._instance.add_run_tags(run.run_id, launch_tag())
        words = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref()).get_command_args()
        pid = self._workers.start(words[words.index("api") :], lambda code: self._ended(run.run_id, code))
        self._instance.add_run_tags(run.run_id, process_tag(pid))

    def terminate(self, run_id: str) -> bool:
        """Interrupt the worker of a run, which ends its step and records that the run was cancelled."""
        if not FORKS:
            return super().terminate(run_id)
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        worker = run_worker(self._instance, run_id)
        if worker is None or life_of(self._instance, run) != Life.ALIVE:
            return False
        os.kill(worker, signal.SIGINT)
        return True

    def _ended(self, run_id: str, code: int) -> None:
        """Fail a run whose worker ended without a word, because it was killed. Run retries may make it again."""
        if not self.has_instance:
            return
        run = self._instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self._instance.report_run_failed(run, f"The process that executed this run {how}.")

"""A step in a process of its own, under Dagster's real multiprocess executor, does not outlive its run worker."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

pytestmark = pytest.mark.slow

PATIENCE_S = 120

JOB = """
import os, sys, time
import dagster as dg
from cherimoya_assets.resources.storage import StoreIOManager

@dg.op(out=dg.Out(io_manager_key="store"))
def holds_on():
    held = os.open("alive", os.O_WRONLY)
    print("step", os.getpid(), flush=True)
    time.sleep(600)

@dg.job(executor_def=dg.multiprocess_executor, resource_defs={"store": StoreIOManager(root="store")})
def guarded():
    holds_on()

if __name__ == "__main__":
    with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
        dg.execute_job(dg.reconstructable(guarded), instance=instance)
"""
"""A run worker with one step, which holds the named pipe `alive` open as long as it lives."""


def test_a_step_dies_with_its_run_worker(tmp_path):
    (tmp_path / "guarded_job.py").write_text(JOB)
    os.mkfifo(tmp_path / "alive")
    alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    (tmp_path / "instance").mkdir()
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "guarded_job.py", str(tmp_path / "instance")],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as worker,
    ):
        assert worker.stdout is not None
        said = worker.stdout.readline()
        assert said.startswith("step "), (tmp_path / "log").read_text()[-3000:]
        try:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            # The pipe ends when nobody holds it any more.
            assert select.select([alive], [], [], PATIENCE_S)[0], "the step outlived its run worker"
            assert os.read(alive, 1) == b""
        finally:
            os.close(alive)
            with suppress(ProcessLookupError):
                os.kill(int(said.split()[1]), signal.SIGKILL)

"""A step in a process of its own ends when the run worker that started it dies.

What belongs here: that guard. What does not: processes that a step starts (`analysis/child_process.py`), and which
process executes a run (`run_process.py`).

Our jobs execute their steps in the run worker itself. Under another executor (`multiprocess_executor`, in a deployment
that has its own) a step would go on after the run worker was killed: measured with Dagster 1.13.27, it writes on while
its run is FAILURE and is perhaps made again. A run worker, in contrast, goes on without the code server that started
it: its run loses nothing, and is finished as any other.

Python's own pipe between a process and its parent is watched, which the kernel closes when the parent dies. It works
for each way to start a process (a forkserver stands between the two) and on each system; Linux' PR_SET_PDEATHSIG
looks at the thread that forked, which may end long before the process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

import dagster as dg

from cherimoya_assets.runs.run_process import run_worker


def end_with_run_worker(context: dg.InitResourceContext) -> None:
    """Called in each process that executes a step: if the run worker is our parent, die with it."""
    parent, instance, run = multiprocessing.parent_process(), context.instance, context.run
    if parent is None or instance is None or run is None or run_worker(instance, run.run_id) != parent.pid:
        return
    threading.Thread(target=_end_with, args=(parent.sentinel,), name="end with the run worker", daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)

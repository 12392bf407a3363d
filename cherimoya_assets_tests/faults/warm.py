"""The process that everything is forked from which is killed here: it has imported all that is needed, in one thread.

    python -m cherimoya_assets_tests.faults.warm

It is the process of `cherimoya_assets.runs.run_workers`. Its children know one command more than `dagster` does:
`call MODULE:FUNCTION ARGUMENTS`, with the arguments by name as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import dagster._cli as dagster_cli
import pytest

from cherimoya_assets.runs import run_workers

PATIENCE_S = 300.0
"""Whatever is forked here takes seconds."""


@dataclass(frozen=True)
class Forked:
    """A child that was forked: its number, and how it ends (an exit code, negative for a signal)."""

    pid: int
    code: Future[int]

    def end(self) -> int:
        """Wait for its end."""
        return self.code.result(PATIENCE_S)

    def kill(self) -> None:
        """What `kill -9` does; it has to live still."""
        assert not self.code.done()
        os.kill(self.pid, signal.SIGKILL)
        assert self.end() == -signal.SIGKILL


class Warm(run_workers.RunWorkers):
    """The client of the process."""

    def call(self, function: Callable[..., None], **arguments: object) -> Forked:
        """Call a function of a module in a child."""
        code: Future[int] = Future()
        name = f"{function.__module__}:{function.__qualname__}"
        return Forked(self.start(["call", name, json.dumps(arguments)], code.set_result), code)

    def do(self, function: Callable[..., None], **arguments: object) -> None:
        """Call a function in a child that has to come to its end."""
        assert self.call(function, **arguments).end() == 0

    def is_killed(self, function: Callable[..., None], **arguments: object) -> None:
        """Call a function in a child that has to be killed by SIGKILL."""
        assert self.call(function, **arguments).end() == -signal.SIGKILL

    @cached_property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


@contextmanager
def warm_process() -> Iterator[Warm]:
    """The process, until the block ends."""
    warm = Warm()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_workers, "FORKING_PROCESS", (sys.executable, "-W", "ignore", "-m", __name__))
        warm.do(nothing)
    try:
        yield warm
    finally:
        assert warm._process is not None
        warm._process.stdin.close()
        warm._process.wait(PATIENCE_S)


def nothing() -> None:
    """The first child: when it has ended, all is imported."""


def serve() -> None:
    """Fork a child for every line of standard input."""
    original = dagster_cli.main

    def command() -> None:
        if sys.argv[1] != "call":
            original()
            return
        module, _, name = sys.argv[2].partition(":")
        import torch

        # OpenMP's threads do not come along in a fork.
        torch.set_num_threads(1)
        getattr(importlib.import_module(module), name)(**json.loads(sys.argv[3]))

    dagster_cli.main = command
    run_workers.IMPORTED = (*run_workers.IMPORTED, *TOO)
    run_workers.serve()


TOO = (
    "dagster._core.workspace.context",
    "dagster._daemon.cli",
    "dagster._grpc.server",
    "dagster._grpc.__generated__",
    "cherimoya_assets.runs.warm_launcher",
    "cherimoya_assets_tests.faults.daemons",
    "cherimoya_assets_tests.faults.deeds",
)
"""What the children here need beside what a run worker needs."""

if __name__ == "__main__":
    # Under its own name, under which the children find it, too.
    importlib.import_module("cherimoya_assets_tests.faults.warm").serve()

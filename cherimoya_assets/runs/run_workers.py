"""Run workers forked from one process that has everything imported: a run starts in a fifth of a second, not in five.

What belongs here: that process, and the client that asks it for workers. What does not: Dagster's side of a launch
(`warm_launcher.py`).

`python -m cherimoya_assets.runs.run_workers` imports the heavy packages, then reads one JSON list of words a line, as
`["api", "execute_run", ...]`. For each it forks a child that does what `dagster` would do with these words. It answers
`{"started": pid}` at once and `{"ended": pid, "code": exit code}` when the child is gone. The packages are shared with
the children, and so are their versions: a changed installation wants a new daemon. The experiment files are read by
each child anew, as by any other run worker.

The forking process has one thread and never touches a GPU: a child of a process that did could not use it. It ends with
its client. Its children do not: they finish their run and record it, as those of Dagster's own code server do.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from cherimoya_assets.errors import CherimoyaAssetsError

IMPORTED = (
    "alembic.command",
    "dagster._cli",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.sqlite_storage",
    "dagster._daemon.auto_run_reexecution.event_log_consumer",
    "cherimoya_assets.code_location",
    # pandas asks for them when it reads a table.
    "pyarrow.dataset",
    "pyarrow.parquet",
    # What a model without weights of its own (device "meta") imports when it is made, SymPy with it: half a second.
    "torch.fx.experimental.symbolic_shapes",
)
"""What no source file of ours says. Not `cherimoya_assets.definitions`: that reads the experiments."""

LOG = logging.getLogger("cherimoya_assets")

FORKING_PROCESS = (sys.executable, "-W", "ignore", "-m", "cherimoya_assets.runs.run_workers")


class RunWorkers:
    """The client: starts the forking process with the first worker, and again where it is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._pending: list[tuple[Future[int], Callable[[int], None]]] = []

    def start(self, words: Sequence[str], ended: Callable[[int], None]) -> int:
        """Fork a worker that executes a command; returns its process id.

        `ended` is called with the exit code, negative for a signal, from a thread of ours when the worker is gone. It
        is not called when the forking process itself dies before.

        Raises:
            CherimoyaAssetsError: there is no forking process, and none could be started.
        """
        started: Future[int] = Future()
        with self._lock:
            if self._process is None:
                self._process = self._begin()
            assert self._process.stdin is not None
            self._pending.append((started, ended))
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(list(words)) + "\n")
                self._process.stdin.flush()
        return started.result()

    def _begin(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(FORKING_PROCESS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, args=(process,), name="run-workers", daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Hand on what the forking process answers, in the order of the requests."""
        running: dict[int, Callable[[int], None]] = {}
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            if "started" in answer:
                future, ended = self._pending.pop(0)
                running[answer["started"]] = ended
                future.set_result(answer["started"])
            else:
                try:
                    running.pop(answer["ended"])(answer["code"])
                except Exception:
                    # Whoever hears of one worker must not keep the others from starting.
                    LOG.exception("the end of a run worker could not be recorded")
        code = process.wait()
        with self._lock:
            self._process, unanswered = None, self._pending
            self._pending = []
        for future, _ in unanswered:
            future.set_exception(
                CherimoyaAssetsError(f"the process that forks run workers ended (exit code {code}); its log says why")
            )


def serve() -> None:
    """Fork a worker for every line of standard input and say what becomes of each; ends with standard input."""
    # Ctrl-C reaches the whole group. This process ends with its client, a child decides for itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_beforehand()
    # What is imported stays: without this, every child's garbage collection would copy its pages.
    gc.collect()
    gc.freeze()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    requests = b""
    while True:
        ready, _, _ = select.select([sys.stdin.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 1024)
            for pid, code in _ended():
                _say({"ended": pid, "code": code})
        if sys.stdin.fileno() in ready:
            received = os.read(sys.stdin.fileno(), 1 << 16)
            if not received:
                # Without the farewells of the packages, some of which complain that Python still holds their objects.
                os._exit(0)
            *lines, requests = (requests + received).split(b"\n")
            for line in lines:
                words = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    os.close(woken)
                    os.close(wake)
                    _work(words)
                _say({"started": pid})


def import_beforehand() -> None:
    """Import whatever a run imports before it computes, also what functions import when they are called."""
    from cherimoya_assets.steps import STEPS

    named = (place.partition(":")[0] for row in STEPS for place in (row.made_by, row.stored))
    for name in (*IMPORTED, *named):
        importlib.import_module(name)
    seen: set[str] = set()
    while new := {name for name in sys.modules if name.startswith("cherimoya_assets.")} - seen:
        seen |= new
        for name in sorted(new):
            for node in ast.walk(ast.parse(Path(str(sys.modules[name].__file__)).read_text())):
                # What is not installed here (an extra) is imported by no run.
                with contextlib.suppress(ImportError):
                    if isinstance(node, ast.ImportFrom):
                        __import__(str(node.module), fromlist=[alias.name for alias in node.names])
                    elif isinstance(node, ast.Import):
                        for alias in node.names:
                            __import__(alias.name)


def _ended() -> list[tuple[int, int]]:
    """Process ids and exit codes of the children that are gone."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append((found[0], os.waitstatus_to_exitcode(found[1])))
    return ended


def _say(answer: dict[str, int]) -> None:
    # A client that is gone is seen at standard input.
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), json.dumps(answer).encode() + b"\n")


def _work(words: Sequence[str]) -> None:
    """Be the program that `words` name; never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Standard input and output are the client's; what a run prints belongs beside what the daemon prints.
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, sys.stdin.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        from dagster._cli import main

        sys.argv = ["dagster", *words]
        main()  # type: ignore[no-untyped-call]
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: the handlers that the forking process registered are its own.
        os._exit(code)


if __name__ == "__main__":
    serve()

"""A deployment that starts in a second: the real daemon, code server and run workers, each forked.

What belongs here: starting them in a child, killing some or all of them. What does not: what has to be true afterwards.

Programs, loops and launcher are Dagster's and ours. What differs from `make ui`: who forks them, and how often the
daemon looks (each second, not each 30).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import yaml

from cherimoya_assets.home import Home
from cherimoya_assets.instance import prepare_instance
from cherimoya_assets_tests.faults.points import Points
from cherimoya_assets_tests.faults.scene import Scene
from cherimoya_assets_tests.faults.warm import PATIENCE_S, Forked, Warm

PR_SET_PDEATHSIG = 1


def prepare_daemon(home: Home) -> None:
    """Write the home's `dagster.yaml`."""
    config = prepare_instance(home) / "dagster.yaml"
    written = yaml.safe_load(config.read_text())
    written["run_monitoring"] |= {"poll_interval_seconds": 1, "free_slots_after_run_end_seconds": 1}
    # What a run may take from its launch to its start. Dagster looks at nothing else as long as it starts.
    written["run_monitoring"]["start_timeout_seconds"] = 8
    # The dice may hit the same run more often than the two times that it is tried again.
    written["run_retries"]["max_retries"] = 20
    config.write_text(yaml.safe_dump(written))


@dataclass
class Deployment:
    """A daemon that is running, its code server, and its run workers."""

    daemon: Forked
    code_server: int

    @classmethod
    def start(cls, warm: Warm, scene: Scene, points: Sequence[str] = ()) -> Deployment:
        """`points` are those at which the first run workers die, in their attributions, one each."""
        said = scene.home.root / "deployment.json"
        said.unlink(missing_ok=True)
        daemon = warm.call(be_a_deployment, **scene.names, said=str(said), points=points)
        until = time.monotonic() + PATIENCE_S
        while not said.exists():
            assert not daemon.code.done(), "the deployment did not start"
            assert time.monotonic() < until
            time.sleep(0.02)
        return cls(daemon, json.loads(said.read_text())["code_server"])

    def kill_daemon(self) -> None:
        """The daemon and its code server, not the runs."""
        self.daemon.kill()
        os.kill(self.code_server, signal.SIGKILL)

    def kill_everything(self) -> None:
        """All that the deployment has started, at once."""
        assert not self.daemon.code.done()
        os.killpg(self.daemon.pid, signal.SIGKILL)
        assert self.daemon.end() == -signal.SIGKILL

    def stop(self) -> None:
        """As somebody does who is done with it."""
        with suppress(ProcessLookupError):
            os.killpg(self.daemon.pid, signal.SIGKILL)
        self.daemon.end()


def be_a_deployment(file: str, home: str, said: str, points: Sequence[str]) -> None:
    """In a child: fork the code server and the process that forks run workers, and be the daemon."""
    from dagster._cli import main as dagster
    from dagster._daemon import controller
    from dagster._daemon.cli import main as dagster_daemon

    os.setsid()
    _die_with_parent()
    log = os.open(Path(home) / "deployment.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    environment(file, home)
    # One name whenever it starts, since it is the name of the code location; and a short one, as sockets have.
    place = str(Path(tempfile.gettempdir()) / f"code-{zlib.crc32(home.encode()):08x}")
    Path(place).unlink(missing_ok=True)
    code_server = _fork(
        dagster,
        "dagster",
        "api",
        "grpc",
        "--socket",
        place,
        "-m",
        "cherimoya_assets.definitions",
        "--log-level",
        "error",
    )
    _fork_run_workers_beforehand(Path(said), points)
    _wait_for(place)
    Path(f"{said}.new").write_text(json.dumps({"code_server": code_server}))
    os.replace(f"{said}.new", said)
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
    sys.argv = ["dagster-daemon", "run", "--grpc-socket", place]
    dagster_daemon()


def environment(file: str, home: str) -> None:
    """What a deployment of this experiment has in its environment."""
    os.environ |= {
        "DAGSTER_HOME": str(Home(Path(home)).dagster),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "CHERIMOYA_ASSETS_EXPERIMENTS": file,
        "CHERIMOYA_ASSETS_HOME": home,
    }


def _die_with_parent() -> None:
    """A test that is interrupted leaves nobody behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _fork(program: Callable[[], object], *words: str) -> int:
    pid = os.fork()
    if pid == 0:
        _die_with_parent()
        sys.argv = list(words)
        try:
            program()
        finally:
            os._exit(1)
    return pid


class _Forking:
    """As much of a `Popen` as the client of the run workers needs."""

    def __init__(self, pid: int, stdin: TextIO, stdout: TextIO) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _fork_run_workers_beforehand(said: Path, points: Sequence[str]) -> None:
    """The process that forks run workers is there before the daemon has a thread; the launcher finds it."""
    from cherimoya_assets.runs import run_workers

    requests, ask = os.pipe()
    answers, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(requests, 0)
        os.dup2(say, 1)
        os.closerange(3, 1024)
        work = run_workers._work

        def mortal(words: Sequence[str]) -> None:
            for number, point in enumerate(points):
                with suppress(FileExistsError):
                    # Whoever makes the folder has the number.
                    said.with_suffix(f".worker{number}").mkdir()
                    Points(point, "tiny__attributions")
                    break
            work(words)

        run_workers._work = mortal
        run_workers.serve()
    os.close(requests)
    os.close(say)
    forking = _Forking(pid, os.fdopen(ask, "w"), os.fdopen(answers))

    def begin(workers: run_workers.RunWorkers) -> _Forking:
        threading.Thread(target=workers._listen, args=(forking,), daemon=True).start()
        return forking

    run_workers.RunWorkers._begin = begin


def _wait_for(place: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(place)
                return
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.02)

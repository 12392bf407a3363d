"""Run another program as a child that streams its output and never outlives us.

What belongs here: starting, listening, ending. What does not: what the program does.

A library that prints, forks, sets global options or eats all cores (TF-MoDISco does all of it) gets a process of its
own. Between it and us stands a small supervisor, this file run as a script: it waits for the program, and when the pipe
from us closes, because we ended it or because we died in whatever way, it kills its whole process group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TAIL_LINES = 12
KILLED = 128  # exit codes above it are 128 + the signal that ended the program, as in a shell


class ChildError(RuntimeError):
    """The program ended with an exit code other than 0; `tail` holds the last lines that it printed."""

    def __init__(self, code: int, tail: Sequence[str]) -> None:
        self.code, self.tail = code, tuple(tail)
        super().__init__(f"exit code {code}")

    def describe(self) -> str:
        """How it ended, for a sentence: the signal or the exit code, then the last lines."""
        if self.code == KILLED + 9:
            ended = "was killed (signal 9; the machine may have run out of memory)"
        elif self.code > KILLED:
            ended = f"was ended by signal {self.code - KILLED}"
        else:
            ended = f"stopped with exit code {self.code}"
        return f"{ended}; its last lines:\n" + "\n".join(f"  {line}" for line in self.tail)


def run_child(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    log: Callable[[str], None] | None = None,
) -> None:
    """Run `command` in `folder` until it ends; each line that it prints, on either stream, goes to `log`.

    `environment` is set on top of our own. The program and all that it starts are killed when this call is interrupted
    and when this process dies.

    Raises:
        ChildError: it ended with an exit code other than 0.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).resolve()), *command],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        encoding="utf-8",
        errors="replace",
    ) as supervisor:
        assert supervisor.stdin is not None and supervisor.stdout is not None
        try:
            for line in supervisor.stdout:
                text = line.rstrip()
                if text:
                    tail.append(text)
                    if log is not None:
                        log(text)
            code = supervisor.wait()
        finally:
            supervisor.stdin.close()
    if code:
        raise ChildError(code, tail)


def available_cpus() -> int:
    """CPUs that this process may use: its affinity, within the quota of its control group where there is one."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cpus, int(quota) // int(period)))
    except (OSError, ValueError):  # no control groups of version 2, or "max": no quota
        return cpus


def _supervise(command: Sequence[str]) -> int:
    """Run `command` in our process group, which ends with our standard input."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end_with_parent() -> None:
        os.read(0, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=end_with_parent, daemon=True).start()
    code = program.wait()
    # What the program left behind would hold our output open.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    return KILLED - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(_supervise(sys.argv[1:]))

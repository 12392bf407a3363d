"""Child processes that are killed with SIGKILL at a chosen point. Forked, since the test process has all imports done.

A point is the n-th time that the child touches something below a folder: opens, renames, removes, makes. Between two
of them nothing durable happens, so that killing at each is killing anywhere.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

TOUCHES = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate"})


@dataclass(frozen=True)
class Ended:
    """How a child ended: killed or not, how often it touched the folder, and what the work told on its way."""

    killed: bool
    touches: int
    told: tuple[Any, ...]


def in_child(work: Callable[[Callable[[Any], None]], None], folder: Path, kill_at: int | None = None) -> Ended:
    """Call `work(tell)` in a forked child that kills itself at the touch `kill_at` of something below `folder`.

    `tell` hands something JSON can hold to the parent at once, so that it survives the kill.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn of every fork of a process with threads; the child begins none of the parent's.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(work, str(folder), kill_at, writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        lines = [json.loads(line) for line in pipe]
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    errors = [line["error"] for line in lines if "error" in line]
    assert not errors, errors[0]
    assert killed or status == 0, status
    told = tuple(line["told"] for line in lines if "told" in line)
    touches = next((line["touches"] for line in lines if "touches" in line), 0)
    return Ended(killed, touches, told)


def die() -> NoReturn:
    """What `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def _child(work: Callable[[Callable[[Any], None]], None], folder: str, kill_at: int | None, writer: int) -> NoReturn:
    import torch

    # OpenMP's threads do not come along in a fork.
    torch.set_num_threads(1)
    touches = 0

    def say(**line: Any) -> None:
        os.write(writer, (json.dumps(line) + "\n").encode())

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal touches
        if event in TOUCHES and any(str(a).startswith(folder) for a in arguments if isinstance(a, (str, os.PathLike))):
            touches += 1
            if touches == kill_at:
                die()

    try:
        sys.addaudithook(hook)
        work(lambda told: say(told=told))
        say(touches=touches)
    except BaseException:
        say(error=traceback.format_exc())
    os._exit(0)

"""Which process executes a run, and whether it still lives.

What belongs here: the tag that names the process, and reading it. What does not: what is done about a dead one
(`reaping.py`, `launcher.py`).

A process is named `host:pid:start@boot`. The start (clock ticks since the machine booted) tells it from a later process
with its number, and the boot from one before; neither depends on a clock that can be set. Who executes a run itself
tags it with its own name. Who launches it into another process tags it with `host:0:launched@boot` first and with the
name of that process as soon as it is known; should the launcher die in between, the first line that the run worker
wrote into the run's own log still says its number.

Whatever is not known to be dead counts as alive: a run of another machine, a run without a tag.
"""

from __future__ import annotations

import os
import socket
from enum import Enum
from functools import cache
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType, DagsterRun

PROCESS_TAG = "cherimoya_assets/process"
"""Which process executes a run. A run whose process is gone can be ended by anybody on that machine."""

LAUNCHED = "launched"
GONE = "gone"


class Life(Enum):
    """What is known of the process of a run."""

    ALIVE = "alive"
    GONE = "gone"
    STARTING = "starting"
    """Launched on this machine, and its process has not yet said that it is there."""
    UNKNOWN = "unknown"
    """Of another machine, or without a tag."""


def process_tag(pid: int | None = None) -> dict[str, str]:
    """The tag that says that this very process, or the one with a number, executes a run."""
    pid = os.getpid() if pid is None else pid
    return {PROCESS_TAG: f"{socket.gethostname()}:{pid}:{_start_of(pid)}"}


def launch_tag() -> dict[str, str]:
    """The tag of a run that is launched into a process of this machine which is not there yet."""
    return {PROCESS_TAG: f"{socket.gethostname()}:0:{LAUNCHED}@{_boot()}"}


def life_of(instance: dg.DagsterInstance, run: DagsterRun) -> Life:
    """What is known of the process that executes a run."""
    name = run.tags.get(PROCESS_TAG)
    if name is None:
        return Life.UNKNOWN
    host, pid, start = name.rsplit(":", 2)
    if host != socket.gethostname():
        return Life.UNKNOWN
    started, _, boot = start.partition("@")
    if boot and boot != _boot():
        return Life.GONE
    if started != LAUNCHED:
        return Life.ALIVE if _start_of(int(pid)).partition("@")[0] == started else Life.GONE
    worker = run_worker(instance, run.run_id)
    if worker is None:
        return Life.STARTING
    return Life.GONE if _start_of(worker) == GONE else Life.ALIVE


def run_worker(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The number of the process that executes a run, by the run's log; None where it has not begun.

    Whoever executes a run says first of all so, with its number: the run worker of a code server, or the executor.
    Steps with processes of their own come later.
    """
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event is not None else None
        if pid is not None:
            return int(str(pid.value))
    return None


def _start_of(pid: int) -> str:
    """When a process started (clock ticks since boot, and the boot), `gone` where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _start_without_proc(pid)
    # The name in parentheses may hold spaces; the fields from the third on follow it.
    state, *fields = stat.rpartition(")")[2].split()
    # A zombie has ended, and nobody asked how: the first process of a container often does not.
    return GONE if state in "ZX" else f"{fields[18]}@{_boot()}"


def _start_without_proc(pid: int) -> str:
    # No /proc (macOS): whether a process has the number is all there is to know.
    if Path("/proc/self/stat").exists():
        return GONE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return GONE
    except PermissionError:
        pass
    return "alive"


@cache
def _boot() -> str:
    """The first letters of the random name that this boot of the machine has; empty where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""

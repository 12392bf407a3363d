"""Turns of partitions: one process at a time, gone with it, and who has it is said."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import time

from cherimoya_assets.resources.turns import turn

HOLD = """\
import sys, time
from pathlib import Path
from cherimoya_assets.resources.turns import turn
with turn(Path(sys.argv[1]), "stage chrA", "their run") as other:
    print(other, flush=True)
    time.sleep(60)
"""


def test_who_comes_second_hears_who_is_at_work_and_has_the_turn_when_that_process_is_killed(tmp_path):
    first = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "\n"
    with turn(tmp_path, "stage chrA", "ours") as other:
        assert other.startswith(f"pid {first.pid} on {socket.gethostname()}, run their run, since 20")
    with turn(tmp_path, "stage chrB", "ours") as other:
        assert not other
    first.kill()
    first.wait()
    with turn(tmp_path, "stage chrA", "ours") as other:
        assert not other


def test_a_turn_is_free_after_its_block_and_after_an_error_in_it(tmp_path):
    for _ in range(2):
        try:
            with turn(tmp_path, "work", "") as other:
                assert not other
                with turn(tmp_path, "work", "") as second:
                    assert second.startswith(f"pid {os.getpid()} ")
                raise ValueError
        except ValueError:
            pass


def test_a_forked_child_does_not_keep_the_turn(tmp_path):
    reading, writing = os.pipe()
    with turn(tmp_path, "work", ""):
        child = os.fork()
        if child == 0:
            os.write(writing, b"alive")
            time.sleep(20)
            os._exit(0)
        assert os.read(reading, 5) == b"alive"
    try:
        with turn(tmp_path, "work", "") as other:
            assert not other
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_without_locks_of_the_file_system_everybody_works(tmp_path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with turn(tmp_path, "work", "") as other:
        assert not other

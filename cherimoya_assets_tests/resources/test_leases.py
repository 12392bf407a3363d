"""Leases of devices among real processes: no overlap, no starvation, nothing left by the dead, safe in /tmp."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from cherimoya_assets.errors import DeviceError
from cherimoya_assets.resources import leases
from cherimoya_assets.resources.leases import clear_leases, lease, leases_folder

DEVICES = ("GPU-a", "GPU-b", "GPU-c")

WORK = """
import json, sys, time
from cherimoya_assets.resources import leases
leases.POLL_S = 0.01
folder, wanted, turns, work = json.loads(sys.argv[1])
sys.stdin.readline()
for _ in range(turns):
    with leases.lease(wanted, "a run", lambda _: None, folder) as index:
        begun = time.monotonic()
        time.sleep(work)
        print(json.dumps([wanted[index], begun, time.monotonic()]), flush=True)
"""
"""Takes turns on devices when it is told to begin, and prints each: device, begin, end."""

HOLD = """
import json, sys, time
from functools import partial
from cherimoya_assets.resources import leases
say = partial(print, flush=True)
folder, wanted = json.loads(sys.argv[1])
with leases.lease(wanted, "run of the holder", say, folder) as index:
    say(wanted[index])
    time.sleep(600)
"""


def start(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds one of the devices, and returns it with the device; all end with the test."""
    begun = []

    def hold(*wanted):
        process = start(HOLD, str(tmp_path / "leases"), wanted)
        begun.append(process)
        return process, process.stdout.readline().strip()

    yield hold
    for process in begun:
        process.kill()
        process.communicate()


def test_many_processes_share_three_devices_without_overlap_and_each_gets_its_turns(tmp_path):
    processes, turns = 12, 5
    workers = [start(WORK, str(tmp_path / "leases"), DEVICES, turns, 0.02) for _ in range(processes)]
    for worker in workers:
        worker.stdin.write("begin\n")
        worker.stdin.flush()
    taken = [[json.loads(line) for line in worker.communicate()[0].splitlines()] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * processes
    assert [len(own) for own in taken] == [turns] * processes
    for device in DEVICES:
        spans = sorted((begun, ended) for own in taken for name, begun, ended in own if name == device)
        assert spans
        assert all(ended <= begun for (_, ended), (begun, _) in pairwise(spans))
    assert clear_leases(str(tmp_path / "leases")) == []


def test_who_came_first_is_served_first(tmp_path, monkeypatch):
    """Each waits before the next comes; all want the same, which is taken."""
    monkeypatch.setattr(leases, "POLL_S", 0.01)
    folder, served, waiting = str(tmp_path / "leases"), [], []
    threads = []

    def take(number):
        with lease(["GPU-a"], "", lambda _: waiting.append(number), folder):
            served.append(number)

    with lease(["GPU-a"], "", print, folder):
        for number in range(8):
            thread = threading.Thread(target=take, args=(number,))
            thread.start()
            threads.append(thread)
            while number not in waiting:
                threads[-1].join(0.001)
        assert served == []
    for thread in threads:
        thread.join()
    assert served == list(range(8))


def test_who_waits_for_one_device_keeps_nobody_from_the_others(tmp_path, holder):
    _, held = holder("GPU-a")
    assert held == "GPU-a"
    waiting = start(HOLD, str(tmp_path / "leases"), ["GPU-a"])
    try:
        assert waiting.stdout.readline().startswith("waiting for a device since 0 s: GPU-a is held by pid")
        assert holder("GPU-a", "GPU-b")[1] == "GPU-b"
    finally:
        waiting.kill()
        waiting.communicate()


def test_a_killed_holder_leaves_its_device_to_who_waits(tmp_path, holder):
    first, _ = holder("GPU-a")
    second = start(HOLD, str(tmp_path / "leases"), ["GPU-a"])
    try:
        said = second.stdout.readline()
        assert f"GPU-a is held by pid {first.pid}, run run of the holder, since " in said
        first.send_signal(signal.SIGKILL)
        assert second.stdout.readline().startswith("waited ")
        assert second.stdout.readline() == "GPU-a\n"
    finally:
        second.kill()
        second.communicate()


def test_a_killed_waiter_keeps_nobody_waiting(tmp_path, holder):
    first, _ = holder("GPU-a")
    dead = start(HOLD, str(tmp_path / "leases"), ["GPU-a"])
    assert dead.stdout.readline().startswith("waiting")
    dead.kill()
    dead.communicate()
    first.kill()
    assert holder("GPU-a")[1] == "GPU-a"
    assert not list((tmp_path / "leases").glob("*.ticket"))


def test_an_interrupted_waiter_leaves_its_place(tmp_path, holder):
    holder("GPU-a")

    def interrupt(said):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), lease(["GPU-a"], "", interrupt, str(tmp_path / "leases")):
        pytest.fail("it was taken")
    assert not list((tmp_path / "leases").glob("*.ticket"))


def test_a_forked_child_does_not_hold_the_lease_beyond_the_death_of_its_parent(tmp_path):
    """The child lives on, as one that a library forked and forgot."""
    program = f"""
import os, signal, time
from cherimoya_assets.resources.leases import lease
with lease(["GPU-a"], "", print, {str(tmp_path / "leases")!r}):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"alive")
        time.sleep(600)
    # A child has let go when its first line is executed.
    os.read(reading, 5)
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert process.wait() == -signal.SIGKILL
        with lease(["GPU-a"], "", pytest.fail, str(tmp_path / "leases")):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_what_the_dead_left_is_cleared_and_the_living_keep_theirs(tmp_path, holder):
    dead, _ = holder("GPU-a")
    holder("GPU-b")
    dead.kill()
    dead.wait()
    (sentence,) = clear_leases(str(tmp_path / "leases"))
    assert sentence.startswith(f"device GPU-a: its lease died with pid {dead.pid}, run run of the holder, since ")
    assert clear_leases(str(tmp_path / "leases")) == []
    assert "GPU-b is held by" in start_waiting(tmp_path, "GPU-b")


def start_waiting(tmp_path, device):
    process = start(HOLD, str(tmp_path / "leases"), [device])
    said = process.stdout.readline()
    process.kill()
    process.communicate()
    return said


def test_all_homes_of_a_user_share_one_folder_that_nobody_else_may_enter(monkeypatch, tmp_path):
    monkeypatch.setattr(leases.tempfile, "tempdir", str(tmp_path))
    with lease(["GPU-a"], "", print):
        pass
    assert Path(leases_folder()).parent == tmp_path
    assert Path(leases_folder()).name.endswith(f"-{os.geteuid()}")
    assert os.stat(leases_folder()).st_mode & 0o777 == 0o700


def link_to_a_folder(place, elsewhere):
    place.symlink_to(elsewhere)


def open_to_all(place, elsewhere):
    place.mkdir()
    place.chmod(0o777)


def a_file(place, elsewhere):
    place.touch()


@pytest.mark.parametrize("prepare", [link_to_a_folder, open_to_all, a_file])
def test_a_folder_that_others_may_have_prepared_is_refused(tmp_path, prepare):
    elsewhere, place = tmp_path / "elsewhere", tmp_path / "leases"
    elsewhere.mkdir(0o700)
    prepare(place, elsewhere)
    with pytest.raises(DeviceError, match="set TMPDIR"), lease(["GPU-a"], "", print, str(place)):
        pytest.fail("it was used")
    assert not list(elsewhere.iterdir())


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(DeviceError, match="is owned by another user"), lease(["a"], "", print, str(tmp_path / "l")):
        pytest.fail("it was used")


def test_a_link_in_place_of_a_lease_is_not_followed(tmp_path):
    place, victim = tmp_path / "leases", tmp_path / "victim"
    place.mkdir(0o700)
    victim.write_text("precious")
    (place / "GPU-a.lease").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), lease(["GPU-a"], "", print, str(place)):
        pytest.fail("it was used")
    assert victim.read_text() == "precious"


def test_the_name_of_a_device_cannot_leave_the_folder(tmp_path):
    with lease(["../outside"], "", print, str(tmp_path / "leases")):
        pass
    assert not (tmp_path / "outside.lease").exists()

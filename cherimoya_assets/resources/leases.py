"""Leases of devices: each device is used by one process of a user at a time, in whatever home or run.

What belongs here: taking one of several devices, waiting in turn, giving back. What does not: which devices there are
and what they are called (`gpu.py`). A device is any name that all processes agree on.

A lease is a lock (`flock`) on a file of the device's name. The kernel gives it back when its process dies, in whatever
way, so nothing has to be cleaned up before the next one can take it. What the file says about its holder is for people
only.

Who finds all wanted devices taken draws a ticket: a locked file whose name sorts by the time. A free device is left to
the oldest living ticket that wants it. So nobody waits for ever, and who waits for one certain device keeps nobody from
the others.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

from cherimoya_assets.errors import DeviceError

POLL_S = 0.1
TELL_EVERY_S = 60.0

WAITING = "waiting for a device"
"""How every sentence begins that says what is waited for."""

LEASE, TICKET = ".lease", ".ticket"

_held: set[int] = set()
"""Descriptors of our locks. A forked child that kept one open would hold the lock beyond our death."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as its file says; `host` where others than this machine's may ask."""

    pid: int
    run: str
    since: float
    host: str = ""

    def __str__(self) -> str:
        host, run = f" on {self.host}" if self.host else "", f", run {self.run}" if self.run else ""
        return f"pid {self.pid}{host}{run}, since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.since))}"


@contextmanager
def lease(devices: Sequence[str], run: str, log: Callable[[str], None], folder: str | None = None) -> Iterator[int]:
    """One of the devices, ours alone until the block ends; yields its place in `devices`.

    Waits in turn for the first that becomes free. `run` is for those who wait for us; `log` hears who holds what we
    wait for, and how long it took. `folder` is `leases_folder()` unless given.

    Raises:
        DeviceError: the folder of the leases cannot be used safely.
    """
    with _opened(folder) as place:
        index, lock = _wait(place, devices, log)
        try:
            holder = {"pid": os.getpid(), "run": run, "since": time.time()}
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps(holder).encode(), 0)
            yield index
        finally:
            let_go(lock, forget=True)


def clear_leases(folder: str | None = None) -> list[str]:
    """Forget what dead processes left in the folder of the leases; says what, a sentence each."""
    cleared = []
    with _opened(folder) as place:
        for name in sorted(os.listdir(place)):
            if not name.endswith((LEASE, TICKET)) or (lock := try_lock(place, name)) is None:
                continue
            try:
                if name.endswith(TICKET):
                    os.unlink(name, dir_fd=place)
                elif (holder := read_holder(place, name)) is not None:
                    os.ftruncate(lock, 0)
                    cleared.append(f"device {name.removesuffix(LEASE)}: its lease died with {holder}")
            finally:
                let_go(lock)
    return cleared


def leases_folder() -> str:
    """Where the leases of this user lie, for all homes on this machine: in the folder for temporary files."""
    return os.path.join(tempfile.gettempdir(), f"cherimoya_assets-{os.geteuid()}")


def _wait(place: int, devices: Sequence[str], log: Callable[[str], None]) -> tuple[int, int]:
    """The first wanted device that is free and not an older ticket's, and the lock on it."""
    names = [quote(device, safe="") + LEASE for device in devices]
    began, heard = time.monotonic(), float("-inf")
    with _ticket(place, names) as ticket:
        while True:
            claimed = _wanted_before(place, ticket)
            for index, name in enumerate(names):
                if name not in claimed and (lock := try_lock(place, name)) is not None:
                    waited = time.monotonic() - began
                    if heard >= 0:
                        log(f"waited {waited:.0f} s for device {devices[index]}")
                    return index, lock
            if time.monotonic() - heard >= TELL_EVERY_S:
                heard = time.monotonic()
                held = [
                    f"{device} is held by {read_holder(place, name) or 'nobody, and others wait for it'}"
                    for device, name in zip(devices, names, strict=True)
                ]
                log(f"{WAITING} since {heard - began:.0f} s: {'; '.join(held)}")
            time.sleep(POLL_S)


@contextmanager
def _ticket(place: int, names: Sequence[str]) -> Iterator[str]:
    """A locked file that says since when its living owner wants which devices; yields its name."""
    # One clock for all processes, which no one can set.
    name = f"{time.monotonic_ns():020d}-{uuid.uuid4().hex}{TICKET}"
    lock = try_lock(place, f".{name}")
    assert lock is not None
    try:
        os.write(lock, json.dumps(list(names)).encode())
        # Nobody sees it before it is locked: an unlocked ticket is a dead one.
        os.rename(f".{name}", name, src_dir_fd=place, dst_dir_fd=place)
        yield name
    finally:
        if lock in _held:
            for left in (f".{name}", name):
                _unlink(place, left)
        let_go(lock)


def _wanted_before(place: int, ticket: str) -> set[str]:
    """The devices that living owners of older tickets want. Tickets of the dead are removed on the way."""
    wanted: set[str] = set()
    for name in sorted(name for name in os.listdir(place) if name.endswith(TICKET) and not name.startswith(".")):
        if name >= ticket:
            break
        try:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=place)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            _unlink(place, name)
        except BlockingIOError:
            wanted |= set(json.loads(os.read(handle, 2**20)))
        finally:
            os.close(handle)
    return wanted


def try_lock(place: int, name: str, mode: int = 0o600) -> int | None:
    """A lock on a file in the open folder `place`, made if need be; None where somebody else has it.

    A child that this process forks does not have it.

    Raises:
        OSError: the file cannot be opened, or the file system has no locks.
    """
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, mode, dir_fd=place)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            return None
        raise
    _held.add(handle)
    return handle


def let_go(lock: int, *, forget: bool = False) -> None:
    """Close a lock of ours; `forget` empties its file first. In a forked child it is closed already."""
    if lock in _held:
        if forget:
            os.ftruncate(lock, 0)
        _held.remove(lock)
        os.close(lock)


def _let_go_in_child() -> None:
    for lock in _held:
        os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def _unlink(place: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=place)


def read_holder(place: int, name: str) -> Holder | None:
    """Who holds the lock on a file in the open folder `place`, if the file says so."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=place)
    except FileNotFoundError:
        return None
    with os.fdopen(handle) as file:
        try:
            return Holder(**json.load(file))
        except (ValueError, TypeError):  # it is being written, or has no holder
            return None


@contextmanager
def _opened(folder: str | None) -> Iterator[int]:
    """The folder of the leases, made if need be, and certainly ours: /tmp belongs to everybody.

    Raises:
        DeviceError: it is somebody else's, or others may write in it, or it cannot be made.
    """
    folder = leases_folder() if folder is None else folder
    try:
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        _held.add(place)
    except OSError as error:
        raise DeviceError(
            f"{folder}: cannot keep the leases of devices ({error.strerror}). Remove it, or set TMPDIR to a folder "
            "of yours for every process."
        ) from error
    try:
        found = os.fstat(place)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise DeviceError(
                f"{folder}: is owned by another user or writable by others, so leases of devices are not safe there. "
                "Remove it, or set TMPDIR to a folder of your own, the same for every process."
            )
        # Cleaners of temporary files leave a folder alone that is locked.
        fcntl.flock(place, fcntl.LOCK_SH)
        yield place
    finally:
        let_go(place)

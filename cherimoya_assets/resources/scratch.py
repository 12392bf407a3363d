"""Folders that belong to a living process: what it writes before that is stored, what it reads after it was fetched.

What belongs here: making such a folder, and removing those whose process has died. What does not: what is in them.

A folder is locked for as long as its process holds it, with a lock that dies with the process, however it dies. So a
folder that can be locked by somebody else on the same machine was left behind. The name of the machine is a part of the
folder's name; of another machine's folders only their age can be known.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import finalize

from cherimoya_assets.resources.layout import path_part

PREFIX = "cherimoya_assets.scratch."
"""What our folders among the temporary files of the machine begin with."""


class Scratch:
    """A new, empty folder that lives until it is removed or its process ends and somebody sweeps.

    Args:
        parent: the folder to make it in; None for the machine's temporary files.
    """

    def __init__(self, parent: Path | None) -> None:
        while True:
            self.folder = _new_folder(parent)
            handle = os.open(self.folder, os.O_RDONLY)
            lock(handle, wait=True)
            if _is_still(self.folder, handle):
                break
            # Swept before we had locked it.
            os.close(handle)
        self._release = finalize(self, os.close, handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove()

    def release(self) -> None:
        """Let go of the folder, which has become something else."""
        self._release()

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._release()


def sweep_scratch(parent: Path | None, older_than: timedelta) -> list[Path]:
    """Remove folders whose process has died: of this machine at once, of others when they are old. Returns them."""
    if parent is None:
        found = sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))
        found = [folder for folder in found if folder.lstat().st_uid == os.getuid()]
    else:
        found = sorted(parent.iterdir()) if parent.is_dir() else []
    removed = []
    for folder in found:
        if folder.is_symlink() or not folder.is_dir():
            continue
        with locked(folder, wait=False) as ours:
            here = folder.name.endswith(f".{_host()}")
            if ours and (here or is_older(folder, older_than)):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return removed


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a folder that is there; False where it is gone, or where another process holds it.

    The lock lies on the folder itself and leaves nothing behind. A file system without locks gives it to everybody.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        held = lock(handle, wait=wait)
        # Whoever held it before may have removed the folder, and another may have been made under its name.
        yield held and _is_still(folder, handle)
    finally:
        os.close(handle)


def lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file or folder until it is closed; False where another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # No locks on this file system (some network disks). Commits do not depend on them, see `local_disk.py`.
        return True
    return True


def is_older(path: Path, age: timedelta) -> bool:
    """Whether nothing was written into a folder, and it was not moved, for so long."""
    newest = 0.0
    for place in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):
            stat = place.lstat()
            newest = max(newest, stat.st_mtime, stat.st_ctime)
    return time.time() - newest >= age.total_seconds()


def _new_folder(parent: Path | None) -> Path:
    if parent is None:
        # Readable by nobody else, whatever the folder of temporary files is.
        return Path(tempfile.mkdtemp(prefix=PREFIX, suffix=f".{_host()}"))
    folder = parent / f"{uuid.uuid4().hex}.{_host()}"
    folder.mkdir(parents=True)
    return folder


def _is_still(folder: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(folder), os.fstat(handle))
    except FileNotFoundError:
        return False


def _host() -> str:
    return path_part(socket.gethostname())

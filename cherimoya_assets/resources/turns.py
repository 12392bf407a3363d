"""Turns of partitions: what two commands of one home both want to make is made by one of them.

What belongs here: taking a turn, giving it back, saying who has it. What does not: what is done with it (`walk.py`).

A turn is a lock (`flock`) on a file in the home, so that it holds for all users and machines of the home, and ends with
its process. The files are empty while nobody is at work, and stay: to remove one that another process has just opened
would give it to two.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from cherimoya_assets.resources.leases import Holder, let_go, read_holder, try_lock

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that has no locks, as Lustre that is mounted without `flock`."""


@contextmanager
def turn(folder: Path, name: str, run: str) -> Iterator[str]:
    """Ours alone until the block ends, if nobody has it; yields who has it, which is empty where we do.

    `name` is that of the work, `run` says to others who we are. Where the file system has no locks everybody has the
    turn: work may then be done twice, and each partition is stored whole all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    file = f"{sha256(name.encode()).hexdigest()[:32]}.turn"
    try:
        try:
            lock = try_lock(place, file, mode=0o666)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            yield ""
            return
        if lock is None:
            yield str(read_holder(place, file) or "another process")
            return
        try:
            holder = Holder(os.getpid(), run, time.time(), socket.gethostname())
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps(vars(holder)).encode(), 0)
            yield ""
        finally:
            let_go(lock, forget=True)
    finally:
        os.close(place)

"""Content hashes of input files, cached so that a 3 GB genome is read once and not at every look.

What belongs here: hashing bytes on disk, and remembering what was found in files. What does not: deciding what a hash
means (an asset's data version, say).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


def file_sha256(path: Path, cache: Path | None = None) -> str:
    """The sha256 of a file's bytes as 64 hexadecimal digits.

    With `cache` (a folder), the hash is remembered by resolved path, size and modification time in nanoseconds; a file
    with the same three is not read again.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    if cache is None:
        return _digest(path)
    return str(remembered([path], cache, "sha256", lambda: _digest(path)))


def remembered(paths: Sequence[Path], cache: Path, what: str, compute: Callable[[], Any]) -> Any:
    """What `compute` finds in files, computed once as long as path, size and modification time of each are the same.

    Args:
        paths: the files, in an order that matters.
        cache: the folder to remember it in.
        what: names the question; two questions about the same files have two names.
        compute: gives what JSON can hold.

    Raises:
        OSError: a file cannot be read.
    """
    state = [what, *([str(path), stat.st_size, stat.st_mtime_ns] for path, stat in _stats(paths))]
    name = combined_sha256(what, *(str(path.resolve()) for path in paths))
    entry = cache / "hashes" / f"{name[:32]}.json"
    try:
        remembered = json.loads(entry.read_text())
        if remembered["state"] == state:
            return remembered["value"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    value = compute()
    entry.parent.mkdir(parents=True, exist_ok=True)
    temporary = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
    temporary.write_text(json.dumps({"state": state, "value": value}))
    os.replace(temporary, entry)
    return value


def combined_sha256(*parts: str) -> str:
    """One hash over an ordered list of texts; ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def file_state(path: Path) -> tuple[str, int, int, int] | None:
    """What a file is remembered by in a process: resolved path, size, modification time in nanoseconds, inode.

    None where there is none.
    """
    try:
        return next((str(resolved), stat.st_size, stat.st_mtime_ns, stat.st_ino) for resolved, stat in _stats([path]))
    except OSError:
        return None


def _stats(paths: Sequence[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for path in paths:
        resolved = path.resolve()
        yield resolved, resolved.stat()


def _digest(path: Path) -> str:
    if path.exists() and not path.is_file():
        # A pipe or /dev/zero would be read for ever.
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

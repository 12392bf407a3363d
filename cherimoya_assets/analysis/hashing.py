"""Content hashes of input files, cached so that a 3 GB genome is read once and not at every look.

What belongs here: hashing bytes on disk. What does not: deciding what a hash means (an asset's data version, say).
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path


def file_sha256(path: Path, cache: Path | None = None) -> str:
    """The sha256 of a file's bytes as 64 hexadecimal digits.

    With `cache` (a folder), the hash is remembered by resolved path, size and modification time in nanoseconds; a file
    with the same three is not read again.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    stat = path.stat()
    state = [str(path), stat.st_size, stat.st_mtime_ns]
    if cache is None:
        return _digest(path)
    entry = cache / "hashes" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"
    try:
        remembered = json.loads(entry.read_text())
        if remembered["state"] == state:
            return str(remembered["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    sha256 = _digest(path)
    entry.parent.mkdir(parents=True, exist_ok=True)
    temporary = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
    temporary.write_text(json.dumps({"state": state, "sha256": sha256}))
    os.replace(temporary, entry)
    return sha256


def combined_sha256(*parts: str) -> str:
    """One hash over an ordered list of texts; ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

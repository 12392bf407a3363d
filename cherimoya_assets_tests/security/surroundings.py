"""What must not happen around an attack: a file elsewhere, a hang, memory without bound."""

from __future__ import annotations

import hashlib
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 60
"""For what takes less than a second; the machine may be busy."""

MOST_MEMORY_MB = 600


@contextmanager
def nothing_happens_around(folder: Path, *, but: tuple[Path, ...] = ()) -> Iterator[None]:
    """Everything below `folder` is afterwards as before, but for what is below the paths in `but`."""
    before = _snapshot(folder, but)
    with _bounded():
        yield
    assert _snapshot(folder, but) == before
    assert not list(folder.rglob("EXECUTED*")), "code was executed"


def _snapshot(folder: Path, but: tuple[Path, ...]) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if any(path == allowed or allowed in path.parents for allowed in but):
            continue
        kind = stat.S_IFMT(path.lstat().st_mode)
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(kind) else ""
        found[path.relative_to(folder).as_posix()] = (
            f"{kind:o} {content} {path.readlink() if path.is_symlink() else ''}"
        )
    return found


@contextmanager
def _bounded() -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise TimeoutError(f"not done after {PATIENCE_S} s")

    previous = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(PATIENCE_S)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    assert grown < MOST_MEMORY_MB, f"{grown:.0f} MB"

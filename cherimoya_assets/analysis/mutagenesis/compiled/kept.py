"""Compiled functions that are kept between processes.

numba keeps what it compiled, and compiles anew when the file of that function changed. A function here is made of
several files: products and loops over vectors become part of the sweeps that call them. What is kept is therefore good
for the sources of all of mutagenesis as they are, or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

SOURCES = Path(__file__).parents[1]


def compiled(fastmath: frozenset[str] = frozenset()) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called, without the GIL; `fastmath` are LLVM's flags of that name."""

    def decorate(function: Callable[..., Any]) -> Any:
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath) or False}
        try:
            dispatcher = numba.njit(cache=True, **options)(function)
        except RuntimeError:
            # Neither this folder nor a home can be written to, as in some containers: each process compiles.
            return numba.njit(**options)(function)
        index = dispatcher._cache._cache_file
        index._source_stamp = (index._source_stamp, fingerprint(SOURCES))
        return dispatcher

    return decorate


@cache
def fingerprint(folder: Path) -> str:
    """SHA-256 of the Python sources in a folder and below."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()

"""The terminal, kept for the display while Dagster, progress bars and child processes write to stdout and stderr.

What belongs here: file descriptors. What does not: what is drawn (`display.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def own_terminal() -> Iterator[TextIO]:
    """A stream to stdout that is ours alone: what anything else writes to stdout and stderr meanwhile is dropped.

    Nothing is lost: Dagster captures both streams of every run, and its UI shows them.
    """
    try:
        ours = sys.stdout.fileno()
        # 1 and 2 as well: child processes write there, wherever Python's own objects lead.
        descriptors = sorted({1, 2, ours, sys.stderr.fileno()})
    except (OSError, ValueError, AttributeError):
        with _other_objects() as stream:
            yield stream
        return
    _flush()
    stream = os.fdopen(os.dup(ours), "w", buffering=1, encoding=sys.stdout.encoding, errors="replace")
    kept = [os.dup(descriptor) for descriptor in descriptors]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in descriptors:
            os.dup2(nowhere, descriptor)
        yield stream
    finally:
        _flush()
        for descriptor, copy in zip(descriptors, kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)
        stream.close()


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


@contextmanager
def _other_objects() -> Iterator[TextIO]:
    """The same where stdout is no file (a notebook): the objects are replaced, child processes are not silenced."""
    stdout, stderr = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            yield stdout
        finally:
            sys.stdout, sys.stderr = stdout, stderr

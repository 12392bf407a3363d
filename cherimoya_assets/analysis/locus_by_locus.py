"""Scores of many loci, handed over one by one while they are computed.

What lives here: what every method of attribution gives, and taking it all together. What must not: a method, and
keeping what is done (`attribution_chunks.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ScoredLocus:
    """What one model says of one locus.

    Attributes:
        row: which of the sequences it is.
        scores: head to float32 (4, end - start), hypothetical.
        check: how it was verified, for JSON; None where the method has nothing to verify.
    """

    row: int
    scores: Mapping[str, NDArray[np.float32]]
    check: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class LocusByLocus:
    """A computation that is under way.

    Attributes:
        facts: what is known of it before it begins (engine, batch size), plain numbers and words.
        loci: the loci as they are done, each once, in any order. The work is done as they are taken, and ends when this
            is closed.
        summary: what the checks of all loci, by their rows, say together.
    """

    facts: Mapping[str, Any]
    loci: Generator[ScoredLocus, None, None]
    summary: Callable[[Mapping[int, Mapping[str, Any]]], Mapping[str, Any]] = lambda checks: {}


def collect(
    work: LocusByLocus,
    shape: tuple[int, int, int],
    outputs: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """All loci of a computation: head to float32 of the shape (n, 4, end - start), and what is to be said of it."""
    scores = {head: np.zeros(shape, dtype=np.float32) for head in outputs}
    checks: dict[int, Mapping[str, Any]] = {}
    began = time.perf_counter()
    with closing(work.loci) as loci:
        for done, locus in enumerate(loci, start=1):
            for head in outputs:
                scores[head][locus.row] = locus.scores[head]
            if locus.check is not None:
                checks[locus.row] = locus.check
            if progress is not None:
                progress(done, shape[0])
    return scores, {**work.facts, **pace(shape[0], time.perf_counter() - began), **work.summary(checks)}


def pace(loci: int, seconds: float) -> dict[str, float]:
    """How long it took and how fast it was, as a report has it."""
    return {"seconds": seconds, "loci_per_second": loci / seconds if seconds else 0.0}

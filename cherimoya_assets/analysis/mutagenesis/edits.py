"""Local edits of a sequence: substitutions, motifs put into a background, variants.

What lives here: what an edit is, and what is predicted then. What must not: how it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BASES = np.eye(4, dtype=np.int8)


@dataclass(frozen=True)
class LocalEdit:
    """Bases that replace what is at `[start, start + width)` of a sequence: int8 (4, width), one-hot."""

    start: int
    bases: NDArray[np.int8]


@dataclass(frozen=True)
class EditedPredictions:
    """What a model predicts for a sequence and for each edit of it.

    Attributes:
        logits: float64 (1 + E, channels, output length); row 0 is the unedited sequence.
        log_counts: float64 (1 + E, groups), likewise.
        report: how it was computed, plain numbers and words.
    """

    logits: NDArray[np.float64]
    log_counts: NDArray[np.float64]
    report: dict[str, Any]

    @classmethod
    def of_changes(
        cls,
        logits: NDArray[Any],
        log_counts: NDArray[Any],
        logit_changes: NDArray[Any] | None,
        log_count_changes: NDArray[Any] | None,
        report: dict[str, Any],
    ) -> EditedPredictions:
        """Of the unedited sequence's predictions, and of what edits change of both heads."""
        assert logit_changes is not None and log_count_changes is not None
        first, second = logits.astype(np.float64)[None], log_counts.astype(np.float64)[None]
        return cls(
            np.concatenate([first, first + logit_changes]), np.concatenate([second, second + log_count_changes]), report
        )


class Substitutions:
    """Every other base at every position of `[start, end)` of a sequence.

    Attributes:
        edits: position by position, in the order A, C, G, T; three for each position that has a base, four for one
            without.
    """

    def __init__(self, X: NDArray[np.int8], start: int, end: int) -> None:
        self._bases, self._positions = np.nonzero(X[:, start:end].T == 0)[::-1]
        self._width = end - start
        pairs = zip(self._bases, self._positions, strict=True)
        self.edits = [LocalEdit(start + int(p), BASES[:, b : b + 1]) for b, p in pairs]

    def hypothetical(self, effects: NDArray[np.float64]) -> NDArray[np.float64]:
        """Effects of the edits, 0 for the base that is there, less their mean over the alphabet: (4, width)."""
        table = np.zeros((4, self._width))
        table[self._bases, self._positions] = effects
        centred: NDArray[np.float64] = table - table.mean(axis=0)
        return centred

    def scores(self, effects: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float32]]:
        """`hypothetical` of every head."""
        return {head: self.hypothetical(values).astype(np.float32) for head, values in effects.items()}


def edited(X: NDArray[np.int8], edits: Sequence[LocalEdit]) -> NDArray[np.int8]:
    """The sequence, then the sequence with each edit made: int8 (1 + E, 4, L)."""
    sequences = np.repeat(X[None], len(edits) + 1, axis=0)
    for sequence, edit in zip(sequences[1:], edits, strict=True):
        sequence[:, edit.start : edit.start + edit.bases.shape[1]] = edit.bases
    return sequences

"""From changes of logits to the profile score: what the field's wrapper of that head would have changed by.

What lives here: cherimoya's ProfileWrapper as a difference. What must not: predictions.

The score is sum(y softmax(y)), y the logits less their mean, over the outputs and positions of a signal group, or of
all. With p the reference's softmax, q the changed one and d the change of y, the difference is sum(q d) + sum((q - p)
y), in which q - p = p (expm1(d) - m) / (1 + m), m = sum(p expm1(d)), is not a difference of nearly equal numbers. A
constant may be added to d; with sum(p d) = 0, m is not negative, and 1 + m not a difference either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.mutagenesis.compiled.vectors import padded


class PackedScore(NamedTuple):
    """A `ProfileScore` for compiled code: softmax and score in float32, padded with zeros."""

    softmax: NDArray[np.float32]
    score: NDArray[np.float32]
    first: int
    last: int


@dataclass(frozen=True)
class ProfileScore:
    """The profile score of the unedited sequence, over the logits [first, last) of (outputs, length), flat.

    Attributes:
        softmax: float64 (last - first,), of these logits. score: the logits less their mean with the softmax's weights.
        slope: the derivative of the profile score with respect to each.
    """

    first: int
    last: int
    softmax: NDArray[np.float64]
    score: NDArray[np.float64]

    @property
    def slope(self) -> NDArray[np.float64]:
        derivative: NDArray[np.float64] = self.softmax * (1 + self.score) - 1 / (self.last - self.first)
        return derivative

    @property
    def packed(self) -> PackedScore:
        """See `PackedScore`."""
        rows = []
        for values in (self.softmax, self.score):
            row = np.zeros(padded(len(values)), dtype=np.float32)
            row[: len(values)] = values
            rows.append(row)
        return PackedScore(rows[0], rows[1], self.first, self.last)


def profile_score(logits: NDArray[np.float32], signal_groups: Sequence[int], group: int | None) -> ProfileScore:
    """Of logits (outputs, length), of one signal group or of all outputs."""
    length = logits.shape[1]
    first = 0 if group is None else sum(signal_groups[:group]) * length
    last = logits.size if group is None else first + signal_groups[group] * length
    y = logits.reshape(-1)[first:last].astype(np.float64)
    y = y - y.mean()
    grown = np.exp(y - y.max())
    softmax = grown / grown.sum()
    return ProfileScore(first, last, softmax, y - (softmax * y).sum())

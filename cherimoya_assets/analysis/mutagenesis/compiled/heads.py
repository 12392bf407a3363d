"""The two heads of BPNet's family, of changes of a state: compiled.

What lives here: the profile's wide convolution, sums over positions for the counts, and the profile score. Rows are of
positions and edits, `edits` rows a position; addresses are in bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.mutagenesis.compiled.kept import compiled
from cherimoya_assets.analysis.mutagenesis.compiled.products import multiply
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import Vector, address, padded, vector_loop
from cherimoya_assets.analysis.mutagenesis.profile_score import PackedScore

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

ROWS = 48
"""Rows that go through the profile head at a time."""

FLUSH = 32
"""Rows that are added up in float32 before the sum goes on in float64."""


class ProfileHead(NamedTuple):
    """A convolution of an odd number of taps to few outputs.

    Attributes:
        weights: (channels, outputs * padded taps), each row of taps reversed. bias: (outputs,).
        taps: how many. margin: what logits have on either side of a profile, see `add_profile`.
    """

    weights: Floats
    bias: Floats
    taps: int
    margin: int


def profile_head(weights: Doubles, bias: Doubles) -> ProfileHead:
    """Of weights (outputs, channels, taps)."""
    outputs, channels, taps = weights.shape
    packed = np.zeros((channels, outputs, padded(taps)), dtype=np.float32)
    packed[:, :, :taps] = weights[:, :, ::-1].transpose(1, 0, 2)
    return ProfileHead(packed.reshape(channels, -1), bias.astype(np.float32), taps, padded(taps))


@vector_loop(reads=2, writes=1)
def total(x: Vector, y: Vector) -> Any:
    return (x + y,), ()


@vector_loop(reads=2, writes=0, sums=1)
def _product(x: Vector, y: Vector) -> Any:
    return (), (x * y,)


@vector_loop(reads=3, writes=0, scalars=1, sums=3)
def _score_terms(change: Vector, softmax: Vector, score: Vector, mean: Vector) -> Any:
    """Sums of p g, of p g (y + d), and of p d; see `profile_score.py`."""
    d = change - mean
    growth, _ = d.exponential()
    grown = softmax * growth
    return (), (grown, grown * (score + d), softmax * d)


@compiled()
def add_profile(
    head: ProfileHead, x: int, stride: int, rows: int, edits: int, first: int, logits: int, length: int, parts: Floats
) -> None:
    """Add the profile head of rows of a state to logits.

    A product and a sum over diagonals: a convolution to few outputs has no large product.

    Args:
        x: `stride` floats lie between its rows; row r is of edit r % edits and the output position first + r // edits,
            at most taps // 2 positions beyond the profile.
        logits: (edits, outputs, margin + length + margin), each profile with room on either side for what is beyond it.
        parts: (ROWS, columns of the head's weights), scratch.
    """
    channels, columns = head.weights.shape
    outputs, line = len(head.bias), 4 * (length + 2 * head.margin)
    for row in range(0, rows, ROWS):
        count = min(ROWS, rows - row)
        multiply(
            count, channels, columns, x + 4 * stride * row, stride, address(head.weights), columns, address(parts),
            columns, False,
        )  # fmt: skip
        for r in range(count):
            edit, shift = (row + r) % edits, first + (row + r) // edits - head.taps // 2 + head.margin
            for output in range(outputs):
                place = logits + line * (edit * outputs + output) + 4 * shift
                total(place, address(parts) + 4 * (r * columns + output * head.margin), place, 0, head.margin)


@compiled()
def take_logits(head: ProfileHead, logits: Floats, edit: int, length: int, row: Floats) -> None:
    """One edit's logits without their margins, outputs one after another, into a row that is zero behind them."""
    outputs, line = len(head.bias), length + 2 * head.margin
    row[:] = 0
    for output in range(outputs):
        begin = (edit * outputs + output) * line + head.margin
        for j in range(length):
            row[output * length + j] = logits[begin + j]


@compiled()
def score_change(row: Floats, score: PackedScore, own: Floats, sums: Doubles) -> float:
    """How the profile score changes, of the changes of all logits; see `profile_score.py`.

    own: (padded count of the score's logits,) and sums: (4,), scratch.
    """
    width, total_change = len(score.softmax), 0.0
    own[:width] = 0
    for j in range(score.last - score.first):
        own[j] = row[score.first + j]
        total_change += own[j]
    changes = address(own)
    sums[:4] = 0
    _product(changes, address(score.softmax), address(sums), width)
    mean = np.float32(sums[0])
    average = total_change / (score.last - score.first) - mean
    _score_terms(changes, address(score.softmax), address(score.score), mean, address(sums) + 8, width)
    grown, product, rest = sums[1], sums[2], sums[3]
    effect: float = (product - grown * rest) / (1 + grown) + rest - average
    return effect


@compiled()
def add_counts(x: int, rows: int, edits: int, width: int, weights: Doubles, sums: Floats, counts: Doubles) -> None:
    """Add to counts (edits, groups) rows of `width` floats times weights (units, groups). sums: (edits, width),
    scratch."""
    wide = 4 * sums.shape[1]
    for begin in range(0, rows, FLUSH * edits):
        sums[:edits] = 0
        for row in range(begin, min(begin + FLUSH * edits, rows)):
            place = address(sums) + wide * (row % edits)
            total(x + 4 * width * row, place, place, 0, width)
        for e in range(edits):
            for group in range(weights.shape[1]):
                found = 0.0
                for k in range(len(weights)):
                    found += sums[e, k] * weights[k, group]
                counts[e, group] += found

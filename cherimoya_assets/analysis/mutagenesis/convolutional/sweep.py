"""A BPNet's unedited sequence, and edits of it, compiled: what an edit changes of each layer, on its window.

What lives here: the loops. The edits of a group share a window, laid out (positions, edits, channels); a layer is three
products, one a tap, of rows that lie one behind the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cherimoya_assets.analysis.mutagenesis.compiled import heads
from cherimoya_assets.analysis.mutagenesis.compiled.kept import compiled
from cherimoya_assets.analysis.mutagenesis.compiled.products import multiply
from cherimoya_assets.analysis.mutagenesis.compiled.stem import add_stem_changes, stem_window
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import Vector, address, vector_loop
from cherimoya_assets.analysis.mutagenesis.convolutional.weights import FLANK, Doubles, Floats, Passed, Weights
from cherimoya_assets.analysis.mutagenesis.edit_table import EditTable, Rows
from cherimoya_assets.analysis.mutagenesis.profile_score import PackedScore


class Scratch(NamedTuple):
    """Memory for one thread.

    Attributes:
        state, change: windows of (positions, edits, C), flat. parts, logits, sums: see `heads.py`.
        row: (2, outputs * length padded), all logits of an edit, and those of the score.
    """

    state: Floats
    change: Floats
    parts: Floats
    logits: Floats
    row: Floats
    sums: Floats


@vector_loop(reads=3, writes=1)
def _rectified_change(x: Vector, change: Vector, before: Vector) -> Any:
    """x and what a rectifier makes of a change of what was before it."""
    return (x + ((before + change).at_least(0.0) - before.at_least(0.0)),), ()


@compiled()
def pass_through(weights: Weights, X: Floats, passed: Passed) -> None:
    """Fill in `passed` for a sequence (4, L)."""
    length, width = passed.state.shape
    taps = len(weights.stem)
    for p in range(length):
        row = passed.stem[p]
        for k in range(width):
            row[k] = weights.stem_bias[k]
        for tap in range(taps):
            # A base at q moves the positions from q - taps // 2 on.
            q = p + taps // 2 - tap
            if 0 <= q < length:
                for base in range(4):
                    if X[base, q] != 0:
                        for k in range(width):
                            row[k] += X[base, q] * weights.stem[tap, base, k]
        for k in range(width):
            passed.state[p, k] = max(row[k], np.float32(0))
    x = address(passed.state)
    for i in range(len(weights.dilations)):
        before = passed.layers[i]
        for p in range(length):
            for k in range(width):
                before[p, k] = weights.biases[i, k]
        _convolve(weights, i, x, address(before), 0, length, 0, length, 1)
        for p in range(length):
            row, state = before[p], passed.state[p]
            for k in range(width):
                state[k] += max(row[k], np.float32(0))


@compiled()
def _convolve(
    weights: Weights, i: int, x: int, out: int, low: int, high: int, first: int, last: int, edits: int
) -> None:
    """Add layer i of what stands at [low, high) in x, zero elsewhere, to `out` at [first, last); addresses of place
    0."""
    _, _, channels, columns = weights.layers.shape
    width = weights.biases.shape[1]
    step = 4 * width * edits
    for tap in range(3):
        reach = (tap - 1) * weights.dilations[i]
        start, end = max(first, low - reach), min(last, high - reach)
        if start < end:
            multiply(
                (end - start) * edits, channels, width, x + step * (start + reach), width,
                address(weights.layers) + 4 * channels * columns * (3 * i + tap), columns, out + step * start, width,
                True,
            )  # fmt: skip


@compiled()
def sweep_group(
    weights: Weights, passed: Passed, table: EditTable, members: Rows, start: int, end: int, scratch: Scratch,
    counts: Doubles, logits: Floats,
) -> None:  # fmt: skip
    """What edits that share a window change.

    Args:
        start, end: positions of the profile that is wanted; it may be shorter than the network's own.
        counts: (edits of the table, 1) or (0, 1), to write the changes of the log counts to.
        logits: (edits of the group, outputs, margin + end - start + margin) or nothing, flat, to add to.
    """
    length, width = passed.state.shape
    n, edits, line = len(weights.dilations), len(members), 4 * width
    profile = len(logits) > 0
    reach = weights.profile.taps // 2
    of_counts = max(weights.trimming - FLANK, 0), min(length - weights.trimming + FLANK, length)
    wanted_low, wanted_high = length, 0
    if len(counts):
        wanted_low, wanted_high = of_counts
    if profile:
        wanted_low, wanted_high = min(wanted_low, max(start - reach, 0)), max(wanted_high, min(end + reach, length))
    low, high = stem_window(len(weights.stem), table, members, length)
    grown = weights.dilations.sum()
    base, top = max(low - grown, 0), min(high + grown, length)
    scratch.state[: (top - base) * edits * width] = 0
    x, change = address(scratch.state) - line * edits * base, address(scratch.change) - line * edits * base
    _stem_changes(weights, passed, table, members, low, high, base, scratch)
    ahead = grown
    for i in range(n):
        d = weights.dilations[i]
        ahead -= d
        # Positions from which nothing that is wanted can be reached any more are left out.
        first = min(max(low - d, wanted_low - ahead, 0), high + d)
        last = max(min(high + d, wanted_high + ahead, length), first)
        scratch.change[(first - base) * edits * width : (last - base) * edits * width] = 0
        _convolve(weights, i, x, change, low, high, first, last, edits)
        before = address(passed.layers) + line * length * i
        for p in range(first, last):
            for e in range(edits):
                place = line * (p * edits + e)
                _rectified_change(x + place, change + place, before + line * p, x + place, 0, width)
        low, high = first, last
    if len(counts):
        first, last = min(max(of_counts[0], low), high), min(max(of_counts[1], low), high)
        found = np.zeros((edits, 1))
        rows = (last - first) * edits
        heads.add_counts(x + line * edits * first, rows, edits, width, weights.counts, scratch.sums[:edits], found)
        for e in range(edits):
            counts[members[e], 0] = found[e, 0] / (of_counts[1] - of_counts[0])
    if profile:
        first, last = min(max(start - reach, low), high), min(max(end + reach, low), high)
        heads.add_profile(
            weights.profile, x + line * edits * first, width, (last - first) * edits, edits, first - start,
            address(logits), end - start, scratch.parts,
        )  # fmt: skip


@compiled()
def _stem_changes(
    weights: Weights, passed: Passed, table: EditTable, members: Rows, low: int, high: int, base: int, scratch: Scratch
) -> None:
    """The window behind the stem, into the state, which is zero there."""
    edits, width = len(members), weights.stem.shape[2]
    first, last = (low - base) * edits * width, (high - base) * edits * width
    change = scratch.change[first:last].reshape((high - low) * edits, width)
    change[:] = 0
    add_stem_changes(weights.stem, table, members, low, high, change)
    x, before = address(scratch.state) + 4 * first, address(passed.stem)
    for p in range(low, high):
        for e in range(edits):
            place = 4 * width * ((p - low) * edits + e)
            _rectified_change(x + place, address(change) + place, before + 4 * width * p, x + place, 0, width)


@compiled()
def read_out(
    head: heads.ProfileHead, members: Rows, logits: Floats, length: int, score: PackedScore, scratch: Scratch,
    scores: Doubles, kept: Floats,
) -> None:  # fmt: skip
    """Profile scores of a group of edits from the changes of its logits, which are kept where there is room for
    them."""
    sums = np.zeros(4)
    for e in range(len(members)):
        row = scratch.row[0]
        heads.take_logits(head, logits, e, length, row)
        scores[members[e]] = heads.score_change(row, score, scratch.row[1], sums)
        if len(kept):
            for j in range(kept.shape[1]):
                kept[members[e], j] = row[j]

"""Edits through the network, compiled: exact on a window, the model of the outside beyond it.

What lives here: `general/sweep.py` again, for groups of edits one after another in one call. A group shares one
window, laid out (positions, edits, channels), so that a halo is a block of memory before or after it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cherimoya_assets.analysis.mutagenesis.compiled import heads
from cherimoya_assets.analysis.mutagenesis.compiled.kept import compiled
from cherimoya_assets.analysis.mutagenesis.compiled.products import multiply
from cherimoya_assets.analysis.mutagenesis.compiled.stem import add_stem_changes, stem_window
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import address
from cherimoya_assets.analysis.mutagenesis.edit_table import EditTable
from cherimoya_assets.analysis.mutagenesis.profile_score import PackedScore
from cherimoya_assets.analysis.mutagenesis.windowed.cpu import elements, rows
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.rows import Scratch
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.sequence import level_start
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.weights import (
    Doubles,
    Floats,
    Integers,
    Outside,
    Passed,
    Weights,
)


class Found(NamedTuple):
    """Where a sweep writes what edits did, a row for each edit of the table.

    Attributes:
        shifts: (n, 2 blocks). log_counts: (n, groups) or (0, 0). profile: (n,) or (0,), change of the profile score.
        logits: (n, outputs * length) or (0, 0), change of the logits.
    """

    shifts: Doubles
    log_counts: Doubles
    profile: Doubles
    logits: Floats


@compiled()
def sweep_groups(
    weights: Weights, passed: Passed, outside: Outside, nodes: int, dense: bool, table: EditTable, order: Integers,
    groups: Integers, score: PackedScore, scratch: Scratch, found: Found,
) -> None:  # fmt: skip
    """Compute groups of edits: group g is the rows order[groups[g]] to order[groups[g + 1] - 1] of the table.

    Args:
        nodes: residual fields to use, from the first on. dense: let the window be the whole sequence, without a model.
    """
    for group in range(len(groups) - 1):
        members = order[groups[group] : groups[group + 1]]
        _sweep_group(weights, passed, outside, nodes, dense, table, members, score, scratch, found)


@compiled()
def _sweep_group(
    weights: Weights, passed: Passed, outside: Outside, nodes: int, dense: bool, table: EditTable, members: Integers,
    score: PackedScore, scratch: Scratch, found: Found,
) -> None:  # fmt: skip
    length, width = passed.centred.shape[1:]
    n, channels, _ = weights.expand.shape
    edits, line = len(members), 4 * width
    low, high = stem_window(len(weights.stem), table, members, length)
    base, end = 0, length
    if not dense:
        # A halo is twice as wide as what the window keeps of it.
        grown = weights.dilations.sum() + weights.dilations[n - 1]
        base, end = max(low - grown, 0), min(high + grown, length)
    x = address(scratch.state) - line * edits * base
    h = address(scratch.convolved) - line * edits * base
    scratch.state[: (end - base) * edits * width] = 0
    _stem_changes(weights, passed, table, members, low, high, base, scratch)
    shifts, factors, totals = np.zeros((edits, 2 * n)), np.empty((3, edits), dtype=np.float32), np.empty((2, edits))
    exact, rounded = np.empty((edits, 2 * n + nodes)), np.empty((edits, 2 * n + nodes), dtype=np.float32)
    for i in range(n):
        m = 2 * i + nodes if i else 0
        reach = length if dense else weights.dilations[i]
        start, stop = max(low - 2 * reach, 0), min(high + 2 * reach, length)
        if m and not dense:
            coefficients(outside, i, nodes, shifts, exact, rounded)
            _fill(outside, i, m, start, low, edits, rounded, x, length, width, False)
            _fill(outside, i, m, high, stop, edits, rounded, x, length, width, False)
        low, high = max(low - reach, 0), min(high + reach, length)
        _convolve(weights, passed, i, x, h, low, high, start, stop, edits, scratch, totals)
        if m and not dense:
            _add_outside(outside, i, m, low, high, exact, shifts, totals)
        for e in range(edits):
            mean = totals[0, e] / (length * channels)
            variance = totals[1, e] / (length * channels) - mean * mean
            stretch = np.expm1(-0.5 * np.log1p(variance * passed.rstd[i] * passed.rstd[i]))
            scale = (1 + stretch) * passed.rstd[i]
            shifts[e, 2 * i], shifts[e, 2 * i + 1] = mean, stretch
            factors[0, e], factors[1, e], factors[2, e] = stretch, scale, scale * mean
        if i < n - 1:
            rows.mix(weights, passed, i, h, x, low, high, edits, factors, scratch)
    for e in range(edits):
        for j in range(2 * n):
            found.shifts[members[e], j] = shifts[e, j]
    if not len(found.log_counts) and not len(found.profile):
        return
    if not dense:
        coefficients(outside, n, nodes, shifts, exact, rounded)
    _last_block(weights, passed, x, h, low, high, edits, factors, scratch, found, members)
    if len(found.log_counts) and not dense:
        _counts_outside(weights, outside, nodes, low, high, length, exact, members, found.log_counts)
    if len(found.profile):
        _profile(weights, outside, nodes, dense, x, low, high, length, edits, rounded, score, scratch, found, members)


@compiled()
def _stem_changes(
    weights: Weights, passed: Passed, table: EditTable, members: Integers, low: int, high: int, base: int,
    scratch: Scratch,
) -> None:  # fmt: skip
    """The window behind the stem, into the state, which is zero there."""
    edits, width = len(members), weights.stem.shape[2]
    first, last = (low - base) * edits, (high - base) * edits
    x = scratch.state[first * width : last * width].reshape(last - first, width)
    add_stem_changes(weights.stem, table, members, low, high, x)
    factors = np.zeros((3, edits), dtype=np.float32)
    factors[1] = 1
    before = scratch.convolved[: (last - first) * width].reshape(last - first, width)
    for row in range(last - first):
        for c in range(width):
            before[row, c] = x[row, c]
    rows.difference(high - low, edits, low, before, x, passed.stem, factors, scratch.zero, scratch.totals)


@compiled()
def coefficients(outside: Outside, i: int, nodes: int, shifts: Doubles, exact: Doubles, rounded: Floats) -> None:
    """Of each field after block i, in float64 and in float32, for the first 2 i entries of shift vectors."""
    m = 2 * i
    known, weights, values = outside.nodes[i], outside.interpolation[i], np.empty(nodes)
    for e in range(len(shifts)):
        for j in range(m):
            exact[e, j] = shifts[e, j]
        for node in range(nodes):
            g = 0.0
            for j in range(m):
                g += shifts[e, j] * known[node, j]
            values[node] = g * g * (1 + g)
            exact[e, m + node] = 0.0
        for node in range(nodes):
            for k in range(nodes):
                exact[e, m + k] += values[node] * weights[node, k]
        for f in range(m + nodes):
            rounded[e, f] = exact[e, f]


@compiled()
def _fill(
    outside: Outside, i: int, m: int, start: int, end: int, edits: int, factors: Floats, x: int, length: int, width:
    int,
    add: bool,
) -> None:  # fmt: skip
    """What the model says after block i at the positions [start, end), into the state x or added to it."""
    line = 4 * width
    fields = address(outside.fields) + 4 * level_start(i, length, width, outside.room)
    stride = line * (2 * i + outside.room)
    for p in range(start, end):
        multiply(
            edits, m, width, address(factors), factors.shape[1], fields + stride * p, width, x + line * edits * p,
            width, add,
        )  # fmt: skip


@compiled()
def _convolve(
    weights: Weights, passed: Passed, i: int, x: int, h: int, low: int, high: int, start: int, stop: int, edits: int,
    scratch: Scratch, totals: Doubles,
) -> None:  # fmt: skip
    """The taps of block i at [low, high), from changes at [start, stop), zero beyond; sums of h and h (2 centred +
    h)."""
    width = weights.stem.shape[2]
    line, step, apart = 4 * width, 4 * width * edits, 4 * width * edits * weights.dilations[i]
    taps, zero = address(weights.taps) + 3 * line * i, address(scratch.zero)
    ones, twos = scratch.sums[0], scratch.sums[1]
    of_one, of_two, wide = address(ones), address(twos), 4 * ones.shape[1]
    centred = address(passed.centred) + line * len(passed.centred[i]) * i
    totals[:] = 0
    ones[:edits], twos[:edits] = 0, 0
    for p in range(low, high):
        left, right = p - weights.dilations[i] >= start, p + weights.dilations[i] < stop
        here, out = x + step * p, h + step * p
        for e in range(edits):
            a = here - apart if left else zero
            c = here + apart if right else zero
            one, two = of_one + wide * e, of_two + wide * e
            elements.convolved_and_summed(
                a, here, c, taps, taps + line, taps + 2 * line, centred + line * p, one, two, out, one, two, 0, width
            )
            here, out = here + line, out + line
        if (p - low) % heads.FLUSH == heads.FLUSH - 1 or p == high - 1:
            for e in range(edits):
                totals[0, e] += elements.sum_of(ones[e, :width])
                totals[1, e] += elements.sum_of(twos[e, :width])
            ones[:edits], twos[:edits] = 0, 0


@compiled()
def _add_outside(
    outside: Outside, i: int, m: int, low: int, high: int, exact: Doubles, shifts: Doubles, totals: Doubles
) -> None:
    """What the model says of the positions not in [low, high) of the two sums."""
    first, cross, gram = outside.first[i], outside.cross[i], outside.gram[i]
    last, edits = len(first) - 1, len(shifts)
    for f in range(m):
        one = first[last, f] - first[high, f] + first[low, f]
        two = cross[last, f] - cross[high, f] + cross[low, f]
        for e in range(edits):
            totals[0, e] += exact[e, f] * one
            totals[1, e] += exact[e, f] * two
    for f in range(2 * i):
        for g in range(2 * i):
            both = gram[last, f, g] - gram[high, f, g] + gram[low, f, g]
            for e in range(edits):
                totals[1, e] += shifts[e, f] * both * shifts[e, g]


@compiled()
def _last_block(
    weights: Weights, passed: Passed, x: int, h: int, low: int, high: int, edits: int, factors: Floats,
    scratch: Scratch, found: Found, members: Integers,
) -> None:  # fmt: skip
    """The last block at the positions that the heads read, and the counts head of the window.

    For the counts the block's second product is never made: its weights meet the head's first. The profile needs it,
    and a flank on either side. What is computed for one head does not depend on the other.
    """
    n, hidden = weights.expand_sum.shape
    width, length, i = weights.stem.shape[2], passed.centred.shape[1], n - 1
    step, at_once, changes = 4 * width * edits, len(scratch.hidden) // edits, address(scratch.changes)
    start, end = weights.trimming, length - weights.trimming
    first, last = min(max(start, low), high), min(max(end, low), high)
    if len(found.log_counts):
        groups = weights.counts.shape[1]
        counts = np.zeros((edits, groups))
        heads.add_counts(
            x + step * first, (last - first) * edits, edits, width, weights.counts, scratch.sums[0], counts
        )
        for p in range(first, last, at_once):
            positions = min(at_once, last - p)
            rows.hidden_changes(weights, passed, i, h + step * p, positions, edits, p, factors, scratch)
            heads.add_counts(changes, positions * edits, edits, hidden, weights.through, scratch.sums[0], counts)
            if len(found.profile):
                rows.contract(weights, i, positions * edits, changes, x + step * p)
        for e in range(edits):
            for group in range(groups):
                found.log_counts[members[e], group] = counts[e, group] / (end - start)
    if len(found.profile):
        before = min(max(start - weights.profile.taps // 2, low), high)
        after = min(max(end + weights.profile.taps // 2, low), high)
        if not len(found.log_counts):
            rows.mix(weights, passed, i, h, x, first, last, edits, factors, scratch)
        rows.mix(weights, passed, i, h, x, before, first, edits, factors, scratch)
        rows.mix(weights, passed, i, h, x, last, after, edits, factors, scratch)


@compiled()
def _counts_outside(
    weights: Weights, outside: Outside, nodes: int, low: int, high: int, length: int, exact: Doubles, members: Integers,
    log_counts: Doubles,
) -> None:  # fmt: skip
    """Add what the model says of the counts head beyond the window."""
    start, end = weights.trimming, length - weights.trimming
    low, high = min(max(start, low), high), min(max(end, low), high)
    m, below = 2 * len(weights.dilations) + nodes, outside.counts
    for group in range(log_counts.shape[1]):
        for f in range(m):
            beyond = below[end, f, group] - below[start, f, group] - (below[high, f, group] - below[low, f, group])
            for e in range(len(members)):
                log_counts[members[e], group] += exact[e, f] * beyond / (end - start)


@compiled()
def _profile(
    weights: Weights, outside: Outside, nodes: int, dense: bool, x: int, low: int, high: int, length: int, edits: int,
    rounded: Floats, score: PackedScore, scratch: Scratch, found: Found, members: Integers,
) -> None:  # fmt: skip
    """Changes of the logits and of the profile score: the model gives all, the window what it holds beyond the
    model."""
    n, width, head = len(weights.dilations), weights.stem.shape[2], weights.profile
    start, end, flank = weights.trimming, length - weights.trimming, head.taps // 2
    low, high = min(max(start - flank, low), high), min(max(end + flank, low), high)
    m, columns, profile = 2 * n + nodes, outside.logits.shape[1], end - start
    used = len(head.bias) * profile
    scratch.logits[: edits * len(head.bias) * (profile + 2 * head.margin)] = 0
    if not dense:
        for e in range(edits):
            for f in range(m):
                scratch.known[e, f] = -rounded[e, f]
        _fill(outside, n, m, low, high, edits, scratch.known, x, length, width, True)
        multiply(
            edits, m, columns, address(rounded), rounded.shape[1], address(outside.logits), columns,
            address(scratch.outside), columns, False,
        )  # fmt: skip
    first, logits = x + 4 * width * edits * low, address(scratch.logits)
    heads.add_profile(head, first, width, (high - low) * edits, edits, low - start, logits, profile, scratch.parts)
    row = scratch.row
    for e in range(edits):
        heads.take_logits(head, scratch.logits, e, profile, row)
        if not dense:
            for j in range(used):
                row[j] += scratch.outside[e * columns + j]
        if len(found.logits):
            for j in range(used):
                found.logits[members[e], j] = row[j]
        found.profile[members[e]] = heads.score_change(row, score, scratch.own, scratch.totals)

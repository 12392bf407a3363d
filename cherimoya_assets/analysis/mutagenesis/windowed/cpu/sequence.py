"""One unedited sequence, compiled: the pass through it, and the fields of the model of the outside.

What lives here: `general/reference.py` and `general/outside.py` again. Pieces that threads can share take a span of
positions, of nodes or of fields; each row is computed by itself, so that its bits do not depend on the spans.
"""

from __future__ import annotations

import numpy as np

from cherimoya_assets.analysis.mutagenesis.compiled import heads
from cherimoya_assets.analysis.mutagenesis.compiled.kept import compiled
from cherimoya_assets.analysis.mutagenesis.compiled.products import multiply
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import address
from cherimoya_assets.analysis.mutagenesis.windowed.cpu import elements, rows
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.rows import Scratch
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.weights import Doubles, Floats, Outside, Passed, Weights


@compiled()
def pass_through(weights: Weights, X: Floats, passed: Passed, scratch: Scratch) -> None:
    """Fill in `passed` for a sequence (4, L)."""
    n, channels, _ = weights.expand.shape
    hidden, (length, width) = weights.expand_sum.shape[1], passed.state.shape
    line = 4 * width
    h = scratch.convolved[: length * width].reshape(length, width)
    _stem(weights, X, passed.stem)
    x = passed.state
    stem = address(passed.stem)
    for p in range(length):
        u = stem + 3 * line * p
        elements.product(u, u + line, address(x) + line * p, 0, width)
    for i in range(n):
        for p in range(length):
            rows.convolve(
                address(x), line, length, p, weights.dilations[i], weights.taps[i], scratch.zero,
                address(h) + line * p,
            )  # fmt: skip
        passed.rstd[i] = _centred(h, channels, weights.epsilon, passed.centred[i])
        table = passed.hidden[i]
        rows.expand(weights, i, length, address(passed.centred[i]), address(table), 3 * hidden)
        for p in range(length):
            for k in range(hidden):
                table[p, 0, k] *= passed.rstd[i]
        rows.activate(table)
        active = address(scratch.changes)
        for start in range(0, length, len(scratch.changes)):
            count = min(len(scratch.changes), length - start)
            for k in range(count):
                u = address(table) + 12 * hidden * (start + k)
                elements.product(u, u + 4 * hidden, active + 4 * hidden * k, 0, hidden)
            rows.contract(weights, i, count, active, address(x) + line * start)


@compiled()
def _stem(weights: Weights, X: Floats, table: Floats) -> None:
    length, taps = X.shape[1], len(weights.stem)
    for p in range(length):
        row = table[p, 0]
        for k in range(len(row)):
            row[k] = weights.stem_bias[k]
        for tap in range(taps):
            # A base at q moves the positions from q - 10 on.
            q = p + taps // 2 - tap
            if 0 <= q < length:
                for base in range(4):
                    if X[base, q] != 0:
                        for k in range(len(row)):
                            row[k] += X[base, q] * weights.stem[tap, base, k]
    rows.activate(table)


@compiled()
def _centred(h: Floats, channels: int, epsilon: float, centred: Floats) -> float:
    """h less its mean over positions and channels, and the reciprocal of its standard deviation."""
    length = len(h)
    total = 0.0
    for p in range(length):
        for k in range(channels):
            total += h[p, k]
    mean = total / (length * channels)
    square = 0.0
    for p in range(length):
        for k in range(channels):
            apart = h[p, k] - mean
            centred[p, k] = apart
            square += apart * apart
    rstd: float = 1 / np.sqrt(square / (length * channels) + epsilon)
    return rstd


@compiled()
def level_start(i: int, length: int, channels: int, room: int) -> int:
    """Where the fields after block i, at least 1, begin in `Outside.fields`."""
    return length * channels * (i - 1) * (i + room)


@compiled()
def propagate(
    weights: Weights, passed: Passed, outside: Outside, i: int, start: int, end: int, scratch: Scratch
) -> None:
    """First-order fields through block i, and its own two behind them, at the positions [start, end).

    Of the fields before block i >= 1 behind its convolution, the sums over channels go into `first`, `cross` and `gram`
    at row p + 1, not yet added up over positions.
    """
    hidden, (length, width) = weights.expand_sum.shape[1], passed.centred.shape[1:]
    m, line = 2 * i, 4 * width
    before, after = line * (m + outside.room), line * (m + 2 + outside.room)
    source = address(outside.fields) + 4 * level_start(i, length, width, outside.room)
    target = address(outside.fields) + 4 * level_start(i + 1, length, width, outside.room)
    h, middle, slope = scratch.rows, scratch.middle, scratch.slope
    rstd = np.float32(passed.rstd[i])
    for p in range(start, end):
        u = address(passed.hidden[i]) + 12 * hidden * p
        if m:
            for f in range(m):
                place = source + line * f
                out = address(h) + line * f
                rows.convolve(place, before, length, p, weights.dilations[i], weights.taps[i], scratch.zero, out)
            _sums_of_linear(
                h, m, passed.centred[i, p], outside.first[i, p + 1], outside.cross[i, p + 1], outside.gram[i, p + 1]
            )
            rows.expand(weights, i, m, address(h), address(middle), hidden)
            elements.gelu_slope(u, u + 4 * hidden, u + 8 * hidden, address(slope), rstd, 0, hidden)
            for f in range(m):
                row = address(middle) + 4 * hidden * f
                elements.product(row, address(slope), row, 0, hidden)
        own = address(middle) + 4 * hidden * m
        elements.gelu_slope(u, u + 4 * hidden, u + 8 * hidden, address(slope), -rstd, 0, hidden)
        elements.product(address(slope), address(weights.expand_sum[i]), own, 0, hidden)
        elements.gelu_slope(u, u + 4 * hidden, u + 8 * hidden, address(slope), np.float32(1), 0, hidden)
        elements.product(address(slope), u, own + 4 * hidden, 0, hidden)
        new = target + after * p
        for f in range(m):
            row = new + line * f
            heads.total(source + before * p + line * f, address(scratch.zero), row, 0, width)
        for f in range(m, m + 2):
            row = new + line * f
            heads.total(address(scratch.zero), address(scratch.zero), row, 0, width)
        rows.contract(weights, i, m + 2, address(middle), new)


@compiled()
def _sums_of_linear(h: Floats, m: int, centred: Floats, first: Doubles, cross: Doubles, gram: Doubles) -> None:
    for f in range(m):
        first[f] = elements.sum_of(h[f])
        cross[f] = 2 * elements.dot(h[f], centred)
        for g in range(f + 1):
            gram[f, g] = gram[g, f] = elements.dot(h[f], h[g])


@compiled()
def last_gram(outside: Outside, length: int, width: int, blocks: int, gram: Doubles) -> None:
    """Products of the first-order fields of the last level, summed over positions and channels: (2 n, 2 n)."""
    m = 2 * blocks
    base, stride = level_start(blocks, length, width, outside.room), (m + outside.room) * width
    for p in range(length):
        fields = outside.fields[base + p * stride : base + p * stride + m * width].reshape(m, width)
        for f in range(m):
            for g in range(f + 1):
                gram[f, g] += elements.dot(fields[f], fields[g])
    for f in range(m):
        for g in range(f):
            gram[g, f] = gram[f, g]


@compiled()
def impose(weights: Weights, passed: Passed, outside: Outside, shifts: Doubles, node: int, scratch: Scratch) -> None:
    """Residual fields `node` and following: what first-order fields leave at the shift vectors (k, 2 n), on every
    level.

    The pass is that of the unedited sequence, with statistics that are shifted.
    """
    length, width = passed.centred.shape[1:]
    n, k, line = len(weights.dilations), len(shifts), 4 * width
    rows_at_work = length * k
    change = address(scratch.state)
    scratch.state[: rows_at_work * width] = 0
    scratch.convolved[: rows_at_work * width] = 0
    factors = np.empty((3, k), dtype=np.float32)
    known = scratch.known
    for i in range(n):
        if i:
            for p in range(length):
                for e in range(k):
                    out = address(scratch.convolved) + line * (p * k + e)
                    rows.convolve(
                        change + line * e, line * k, length, p, weights.dilations[i], weights.taps[i], scratch.zero, out
                    )
        for e in range(k):
            mean, stretch = shifts[e, 2 * i], shifts[e, 2 * i + 1]
            scale = (1 + stretch) * passed.rstd[i]
            factors[0, e], factors[1, e], factors[2, e] = stretch, scale, scale * mean
            known[e, 2 * i], known[e, 2 * i + 1] = -mean, -stretch
        rows.mix(weights, passed, i, address(scratch.convolved), change, 0, length, k, factors, scratch)
        m = 2 * i + 2
        stride = line * (m + outside.room)
        level = address(outside.fields) + 4 * level_start(i + 1, length, width, outside.room)
        for p in range(length):
            linear = level + stride * p
            out = linear + line * (m + node)
            for e in range(k):
                heads.total(change + line * (p * k + e), address(scratch.zero), out + line * e, 0, width)
            multiply(k, m, width, address(known), known.shape[1], linear, width, out, width, True)


@compiled()
def sums_of_residuals(
    weights: Weights, passed: Passed, outside: Outside, i: int, shifts: Doubles, node: int, start: int, end: int,
    scratch: Scratch,
) -> None:  # fmt: skip
    """`first` and `cross` of the residual fields `node` and following before block i >= 1, at row p + 1.

    `cross` gets all that a node's change does to the sum of squares and first-order fields do not: so the model is
    exact at the nodes in the statistics too.
    """
    length, width = passed.centred.shape[1:]
    m, k, line = 2 * i, len(shifts), 4 * width
    stride = line * (m + outside.room)
    source = address(outside.fields) + 4 * level_start(i, length, width, outside.room)
    h, twice, known = scratch.rows, scratch.sums[0], scratch.known
    for e in range(k):
        for j in range(m):
            known[e, j] = 2 * shifts[e, j]
    for p in range(start, end):
        for f in range(m + k):
            field = source + line * (f if f < m else f + node)
            out = address(h) + line * f
            rows.convolve(field, stride, length, p, weights.dilations[i], weights.taps[i], scratch.zero, out)
        multiply(k, m, width, address(known), known.shape[1], address(h), width, address(twice), twice.shape[1], False)
        for e in range(k):
            row = h[m + e]
            products = elements.dot(row, twice[e, :width]) + elements.dot(row, row)
            outside.first[i, p + 1, m + node + e] = elements.sum_of(row)
            outside.cross[i, p + 1, m + node + e] = 2 * elements.dot(row, passed.centred[i, p]) + products


@compiled()
def read_out(weights: Weights, outside: Outside, length: int, field: int, scratch: Scratch) -> None:
    """What a field of the last level does to the logits and, summed over the positions below, to the counts head."""
    width, blocks = weights.stem.shape[2], len(weights.dilations)
    stride = width * (2 * blocks + outside.room)
    base = level_start(blocks, length, width, outside.room) + field * width
    state, used = address(outside.fields) + 4 * base, len(weights.profile.bias) * (length - 2 * weights.trimming)
    _profile(weights, state, stride, length, outside.logits[field, :used], scratch)
    channels, groups = weights.counts.shape
    for p in range(length):
        for group in range(groups):
            found = 0.0
            for k in range(channels):
                found += outside.fields[base + stride * p + k] * weights.counts[k, group]
            outside.counts[p + 1, field, group] = outside.counts[p, field, group] + found


@compiled()
def profile(weights: Weights, state: Floats, length: int, scratch: Scratch) -> Floats:
    """The profile head of a state (L, C), without its bias: (outputs * output length,)."""
    logits = np.empty(len(weights.profile.bias) * (length - 2 * weights.trimming), dtype=np.float32)
    _profile(weights, address(state), state.shape[1], length, logits, scratch)
    return logits


@compiled()
def _profile(weights: Weights, state: int, stride: int, length: int, logits: Floats, scratch: Scratch) -> None:
    head, trimming = weights.profile, weights.trimming
    inner, flank = length - 2 * trimming, min(trimming, head.taps // 2)
    wide = scratch.logits[: len(head.bias) * (inner + 2 * head.margin)]
    wide[:] = 0
    first = state + 4 * stride * (trimming - flank)
    heads.add_profile(head, first, stride, inner + 2 * flank, 1, -flank, address(wide), inner, scratch.parts)
    for output in range(len(head.bias)):
        begin = output * (inner + 2 * head.margin) + head.margin
        for k in range(inner):
            logits[output * inner + k] = wide[begin + k]

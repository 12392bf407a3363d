"""What rows of channels go through, several at a time: convolution, and the two layers of a block.

What lives here: steps that the unedited sequence, its fields and edits have in common. Rows are addresses in bytes:
memory that compiled code makes itself is gone with its last mention, so whatever has an address here is an argument,
which outlives the call.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cherimoya_assets.analysis.mutagenesis.compiled import heads
from cherimoya_assets.analysis.mutagenesis.compiled.kept import compiled
from cherimoya_assets.analysis.mutagenesis.compiled.products import multiply
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import address, padded
from cherimoya_assets.analysis.mutagenesis.windowed.cpu import elements
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.weights import Doubles, Floats, Passed, Weights
from cherimoya_assets.analysis.mutagenesis.windowed.gelu import FAR

TILE_BYTES = 96 << 10
"""Of hidden activations at a time, before and behind their activation: what stays in a core's second cache."""


class Scratch(NamedTuple):
    """Memory for one thread.

    Attributes:
        state, convolved: flat, for a window of edits. hidden, changes: (tile, H), before and behind an activation.
        parts: (heads.ROWS, columns of the profile's weights). zero: (C,), zeros.
        sums: (2, most edits, the wider of C and H). rows: (2 n + room, C). middle: (2 n + 2, H). slope: (H,).
        known: (most edits, 2 n + room). logits: flat, of a window of edits, as in `heads.add_profile`; outside:
            likewise, (edits, outputs * length padded). row, own: (outputs * length padded,). totals: (8,).
    """

    state: Floats
    convolved: Floats
    hidden: Floats
    changes: Floats
    parts: Floats
    zero: Floats
    sums: Floats
    rows: Floats
    middle: Floats
    slope: Floats
    known: Floats
    logits: Floats
    outside: Floats
    row: Floats
    own: Floats
    totals: Doubles


def scratch_for(weights: Weights, length: int, cells: int, edits: int, room: int) -> Scratch:
    """Memory for windows of up to `edits` edits, `cells` of them times positions."""
    n, hidden = weights.expand_sum.shape
    width, outputs, profile = weights.stem.shape[2], len(weights.profile.bias), length - 2 * weights.trimming
    most = max(edits, room)
    tile = max(TILE_BYTES // (4 * hidden), most)

    def floats(*shape: int) -> Floats:
        return np.zeros(shape, dtype=np.float32)

    return Scratch(
        state=floats(cells * width),
        convolved=floats(cells * width),
        hidden=floats(tile, hidden),
        changes=floats(tile, hidden),
        parts=floats(heads.ROWS, weights.profile.weights.shape[1]),
        zero=floats(width),
        sums=floats(2, most, max(width, hidden)),
        rows=floats(2 * n + room, width),
        middle=floats(2 * n + 2, hidden),
        slope=floats(hidden),
        known=floats(most, 2 * n + room),
        logits=floats(edits * outputs * (profile + 2 * weights.profile.margin)),
        outside=floats(edits * padded(outputs * profile)),
        row=floats(padded(outputs * profile)),
        own=floats(padded(outputs * profile)),
        totals=np.zeros(8),
    )


@compiled()
def activate(table: Floats) -> None:
    """Fill in the gates of (L, 3, W), whose first rows are pre-activations."""
    line = 4 * table.shape[2]
    for p in range(len(table)):
        u = address(table) + 3 * line * p
        elements.gates(u, u + line, u + 2 * line, 0, table.shape[2])


@compiled()
def convolve(x: int, stride: int, length: int, p: int, dilation: int, taps: Floats, zero: Floats, out: int) -> None:
    """The three taps at position p of the rows x, `stride` bytes from one position to the next; zero beyond both
    ends."""
    line = 4 * taps.shape[1]
    a = x + stride * (p - dilation) if p >= dilation else address(zero)
    c = x + stride * (p + dilation) if p + dilation < length else address(zero)
    w = address(taps)
    elements.convolved(a, x + stride * p, c, w, w + line, w + 2 * line, out, 0, taps.shape[1])


@compiled()
def expand(weights: Weights, i: int, rows: int, h: int, out: int, stride: int) -> None:
    """Rows of a hidden layer of block i, before its activation, from rows h; `stride` floats between those of `out`."""
    _, channels, columns = weights.expand.shape
    hidden, width = weights.expand_sum.shape[1], weights.stem.shape[2]
    multiply(rows, channels, hidden, h, width, address(weights.expand[i]), columns, out, stride, False)


@compiled()
def contract(weights: Weights, i: int, rows: int, hidden: int, x: int) -> None:
    """Add to rows x what the second layer of block i makes of rows of its hidden layer."""
    _, units, columns = weights.contract.shape
    stride, width = weights.expand_sum.shape[1], weights.stem.shape[2]
    multiply(rows, units, width, hidden, stride, address(weights.contract[i]), columns, x, width, True)


@compiled()
def difference(
    positions: int, edits: int, low: int, x: Floats, changes: Floats, table: Floats, factors: Floats, column: Floats,
    far: Doubles,
) -> None:  # fmt: skip
    """Differences of GELU into `changes` from rows of x (tile, H), those of positions from `low` on, an edit each.

    `factors` (3, edits) are stretch, scale and moved of `elements.gelu_difference`, `table` (L, 3, H) the reference.
    """
    width = x.shape[1]
    line, stretch = 4 * width, address(factors)
    for p in range(positions):
        u, place = address(table) + 3 * line * (low + p), line * edits * p
        elements.gelu_difference(
            address(x) + place, u, u + line, u + 2 * line, address(column), address(changes) + place,
            stretch, stretch + 4 * edits, stretch + 8 * edits, address(far), edits, width, width,
        )  # fmt: skip
        if far[0] > FAR:
            for e in range(edits):
                row = p * edits + e
                elements.mend_far_differences(
                    x[row], changes[row], table[low + p], column, factors[0, e], factors[1, e], factors[2, e]
                )


@compiled()
def hidden_changes(
    weights: Weights, passed: Passed, i: int, h: int, positions: int, edits: int, low: int, factors: Floats,
    scratch: Scratch,
) -> None:  # fmt: skip
    """Changes of the hidden layer of block i, from rows h, into `scratch.changes`; see `difference`."""
    before = scratch.hidden
    expand(weights, i, positions * edits, h, address(before), before.shape[1])
    difference(
        positions, edits, low, before, scratch.changes, passed.hidden[i], factors, weights.expand_sum[i], scratch.totals
    )


@compiled()
def mix(
    weights: Weights, passed: Passed, i: int, h: int, x: int, low: int, high: int, edits: int, factors: Floats,
    scratch: Scratch,
) -> None:  # fmt: skip
    """Add to x what the layers of block i make of h, at the positions [low, high); addresses of position 0."""
    step, at_once = 4 * weights.stem.shape[2] * edits, len(scratch.hidden) // edits
    for p in range(low, high, at_once):
        positions = min(at_once, high - p)
        hidden_changes(weights, passed, i, h + step * p, positions, edits, p, factors, scratch)
        contract(weights, i, positions * edits, address(scratch.changes), x + step * p)

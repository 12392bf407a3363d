"""What edits change of a network's first convolution, which sees the sequence itself.

What lives here: the same for every network. What must not: what stands behind it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.mutagenesis.compiled.kept import compiled
from cherimoya_assets.analysis.mutagenesis.edit_table import EditTable, Rows

Floats = NDArray[np.float32]


@compiled()
def stem_window(taps: int, table: EditTable, members: Rows, length: int) -> tuple[int, int]:
    """The positions that a convolution of so many taps changes for any edit of a group, within the sequence."""
    half = taps // 2
    low, high = length, 0
    for e in members:
        low, high = min(low, table.starts[e] - half), max(high, table.starts[e] + table.widths[e] + half)
    return max(low, 0), min(high, length)


@compiled()
def add_stem_changes(stem: Floats, table: EditTable, members: Rows, low: int, high: int, out: Floats) -> None:
    """Add them to `out`, (positions, edits, channels) of the window [low, high) with the first two axes as one.

    Args:
        stem: (taps, 4, channels).
    """
    edits, (taps, _, width) = len(members), stem.shape
    for k in range(edits):
        e = members[k]
        for j in range(table.widths[e]):
            for letter in range(4):
                change = table.change[e, letter, j]
                if change != 0:
                    begins = table.starts[e] + j - taps // 2 - low
                    for tap in range(max(0, -begins), min(taps, high - low - begins)):
                        row, column = out[(begins + tap) * edits + k], stem[tap, letter]
                        for c in range(width):
                            row[c] += change * column[c]

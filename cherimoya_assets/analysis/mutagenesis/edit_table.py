"""Edits of one sequence as arrays, and which of them are computed together.

What lives here: what every implementation of the kernels takes. What must not: their effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.mutagenesis.edits import LocalEdit

Rows = NDArray[np.int64]


class EditTable(NamedTuple):
    """Edits of one sequence.

    Attributes:
        starts, widths: int64 (n,). change: float32 (n, 4, widest), the new one-hot bases less the old ones, 0 beyond an
            edit's width.
    """

    starts: NDArray[np.int64]
    widths: NDArray[np.int64]
    change: NDArray[np.float32]


def edit_table(X: NDArray[np.int8], edits: Sequence[LocalEdit]) -> EditTable:
    """Edits of a sequence (4, L)."""
    starts = np.array([edit.start for edit in edits], dtype=np.int64)
    widths = np.array([edit.bases.shape[1] for edit in edits], dtype=np.int64)
    change = np.zeros((len(edits), 4, int(widths.max(initial=0))), dtype=np.float32)
    for row, edit in zip(change, edits, strict=True):
        width = edit.bases.shape[1]
        row[:, :width] = edit.bases.astype(np.float32) - X[:, edit.start : edit.start + width]
    return EditTable(starts, widths, change)


def together(
    edits: EditTable, chosen: NDArray[np.int64], most: int, apart: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The chosen edits by their starts, and where groups of them begin and end.

    A group has at most `most` edits, none of which starts more than `apart` bp behind the first: they share a window.
    Group g is order[bounds[g]:bounds[g + 1]].
    """
    order = chosen[np.argsort(edits.starts[chosen], kind="stable")]
    starts, bounds = edits.starts[order], [0]
    for k in range(1, len(order)):
        first = bounds[-1]
        if k - first >= most or starts[k] - starts[first] > apart:
            bounds.append(k)
    if len(order):
        bounds.append(len(order))
    return order, np.array(bounds, dtype=np.int64)

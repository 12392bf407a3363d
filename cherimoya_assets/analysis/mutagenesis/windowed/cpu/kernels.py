"""The compiled kernels behind the face that the engine knows.

What lives here: which piece of work goes to which thread, and memory. What must not: arithmetic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.mutagenesis.edit_table import EditTable, together
from cherimoya_assets.analysis.mutagenesis.profile_score import ProfileScore, profile_score
from cherimoya_assets.analysis.mutagenesis.windowed import kriging
from cherimoya_assets.analysis.mutagenesis.windowed.cpu import rows, sequence
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.sweep import Found, sweep_groups
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.weights import (
    Outside,
    Passed,
    Weights,
    no_outside,
    no_pass,
    pack,
)
from cherimoya_assets.analysis.mutagenesis.windowed.kernels import ROOM, Swept
from cherimoya_assets.analysis.side_by_side import shared

if TYPE_CHECKING:
    import torch

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

WINDOWED = 12
"""Edits that share a window, a multiple of `products.ROWS`. Fewer would ask the cache for the fields of the outside
more often than it can deliver; more would leave it."""

APART = 8
"""How far behind the first edit of a window the last may start, in bp; the window is that much wider for all."""

DENSE = 6
"""Edits, or nodes, whose window is the whole sequence."""

STRETCH = 64
"""Positions that a thread takes at a time, of work on the whole sequence."""

GROUPS = 4
"""Windows that a thread takes at a time."""


class CpuKernels:
    """A Cherimoya, packed. See `kernels.Kernels`."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.weights: Weights = pack(module)
        model: Any = module
        self.signal_groups = tuple(int(outputs) for outputs in model.signal_groups)
        self.n_blocks = len(self.weights.dilations)
        self._of_thread = threading.local()

    def begin(self, X: NDArray[np.int8], group: int | None) -> CpuSequence:
        """See `kernels.Kernels.begin`."""
        return CpuSequence(self, X, group)

    def scratch(self, length: int, cells: int) -> rows.Scratch:
        """Memory of the thread that asks, for windows of so many positions times edits, of sequences of a length."""
        kept = getattr(self._of_thread, "scratch", None)
        if kept is None or kept[0] != length or kept[1] < cells:
            cells = max(cells, DENSE * length)
            kept = (length, cells, rows.scratch_for(self.weights, length, cells, max(WINDOWED, DENSE), ROOM))
            self._of_thread.scratch = kept
        return kept[2]


class CpuSequence:
    """One sequence at work. See `kernels.SequenceAtWork`."""

    def __init__(self, kernels: CpuKernels, X: NDArray[np.int8], group: int | None) -> None:
        self.kernels, self.group, self.length = kernels, group, X.shape[1]
        weights = kernels.weights
        self.passed: Passed = no_pass(weights, self.length)
        scratch = kernels.scratch(self.length, 0)
        sequence.pass_through(weights, X.astype(np.float32), self.passed, scratch)
        self.logits, self.log_counts = self._predictions(scratch)
        self.outside: Outside = no_outside(weights, self.length, 0)
        self.nodes: Doubles = np.zeros((0, 2 * kernels.n_blocks))
        self.score: ProfileScore = profile_score(self.logits, kernels.signal_groups, group)
        self._metrics: list[Doubles] = []

    @property
    def metric(self) -> Doubles:
        """See `kernels.SequenceAtWork`; first-order fields are made when it is first asked for."""
        if not self._metrics:
            self._make_first_order()
        return self._metrics[-1]

    def add_nodes(self, shifts: Doubles) -> None:
        """See `kernels.SequenceAtWork`."""
        weights, first, blocks = self.kernels.weights, len(self.nodes), self.kernels.n_blocks
        if first + len(shifts) > ROOM:
            # Compiled code would write beyond its memory.
            raise ValueError(f"room for {ROOM} nodes, and there are {first + len(shifts)}")
        self.nodes = np.concatenate([self.nodes, shifts])
        pieces = [(k, min(k + DENSE, len(shifts))) for k in range(0, len(shifts), DENSE)]

        def impose(piece: int) -> None:
            start, end = pieces[piece]
            scratch = self._scratch()
            sequence.impose(weights, self.passed, self.outside, shifts[start:end], first + start, scratch)

        shared(impose, len(pieces))
        columns = slice(2 * blocks + first, 2 * blocks + len(self.nodes))
        for i in range(1, blocks):
            self._by_position(partial(sequence.sums_of_residuals, weights, self.passed, self.outside, i, shifts, first))
            own = slice(2 * i + first, 2 * i + len(self.nodes))
            for sums in (self.outside.first[i, :, own], self.outside.cross[i, :, own]):
                np.cumsum(sums, axis=0, out=sums)
        for level in range(1, blocks + 1):
            moved, inverse = kriging.interpolation(self.nodes[:, : 2 * level], self._metrics[level - 1])
            self.outside.nodes[level, : len(self.nodes), : 2 * level] = moved
            self.outside.interpolation[level, : len(self.nodes), : len(self.nodes)] = inverse
        self._read_out(range(columns.start, columns.stop))

    def residual_scores(self, heads: Collection[str]) -> Mapping[str, Doubles]:
        """See `kernels.SequenceAtWork`."""
        weights, blocks = self.kernels.weights, self.kernels.n_blocks
        fields = slice(2 * blocks, 2 * blocks + len(self.nodes))
        found: dict[str, Doubles] = {}
        if "counts" in heads:
            start, end = weights.trimming, self.length - weights.trimming
            below = self.outside.counts[:, fields]
            changes = (below[end] - below[start]) / (end - start)
            found["counts"] = changes.mean(axis=1) if self.group is None else changes[:, self.group]
        if "profile" in heads:
            logits = self.outside.logits[fields, self.score.first : self.score.last].astype(np.float64)
            found["profile"] = logits @ self.score.slope
        return found

    def sweep(
        self,
        edits: EditTable,
        chosen: Integers,
        heads: Collection[str],
        *,
        dense: bool = False,
        keep_logits: bool = False,
    ) -> Swept:
        """See `kernels.SequenceAtWork`."""
        weights = self.kernels.weights
        if not dense and not self._metrics:
            self._make_first_order()
        n, outputs = len(edits.starts), len(weights.profile.bias)
        profile = self.length - 2 * weights.trimming
        groups = weights.counts.shape[1] if "counts" in heads else 0
        found = Found(
            np.zeros((n, 2 * self.kernels.n_blocks)),
            np.zeros((n if groups else 0, groups)),
            np.zeros(n if "profile" in heads else 0),
            np.zeros((n if keep_logits and "profile" in heads else 0, outputs * profile), dtype=np.float32),
        )
        if dense:
            order, bounds = together(edits, chosen, DENSE, self.length)
            at_once = 1
        else:
            order, bounds = together(edits, chosen, WINDOWED, APART)
            at_once = GROUPS
        cells = 0 if dense else self._cells(edits, order, bounds)

        def piece(k: int) -> None:
            part = bounds[k * at_once : (k + 1) * at_once + 1]
            scratch = self.kernels.scratch(self.length, cells)
            sweep_groups(
                weights, self.passed, self.outside, len(self.nodes), dense, edits, order, part, self.score.packed,
                scratch, found,
            )  # fmt: skip

        shared(piece, -(-(len(bounds) - 1) // at_once))
        return self._swept(found, chosen, heads, keep_logits)

    def _swept(self, found: Found, chosen: Integers, heads: Collection[str], keep_logits: bool) -> Swept:
        scores: dict[str, Doubles] = {}
        log_counts = logits = None
        if "counts" in heads:
            # Where the sequence's own prediction is no number, neither is its change.
            log_counts = np.where(np.isfinite(self.log_counts), found.log_counts[chosen], np.nan)
            scores["counts"] = log_counts.mean(axis=1) if self.group is None else log_counts[:, self.group]
        if "profile" in heads:
            scores["profile"] = found.profile[chosen]
            if keep_logits:
                logits = found.logits[chosen].reshape(len(chosen), *self.logits.shape)
        return Swept(found.shifts[chosen], scores, log_counts, logits)

    def _predictions(self, scratch: rows.Scratch) -> tuple[NDArray[np.float32], Doubles]:
        weights, state = self.kernels.weights, self.passed.state
        start, end = weights.trimming, self.length - weights.trimming
        logits = sequence.profile(weights, state, self.length, scratch).reshape(len(weights.profile.bias), -1)
        channels = len(weights.counts)
        log_counts = state[start:end, :channels].mean(axis=0, dtype=np.float64) @ weights.counts + weights.counts_bias
        return logits + weights.profile.bias[:, None], log_counts

    def _make_first_order(self) -> None:
        weights, blocks = self.kernels.weights, self.kernels.n_blocks
        channels, width = len(weights.counts), weights.stem.shape[2]
        self.outside = no_outside(weights, self.length, ROOM)
        for i in range(blocks):
            self._by_position(partial(sequence.propagate, weights, self.passed, self.outside, i))
            if i:
                for sums in (
                    self.outside.first[i, :, : 2 * i],
                    self.outside.cross[i, :, : 2 * i],
                    self.outside.gram[i],
                ):
                    np.cumsum(sums, axis=0, out=sums)
                products = self.outside.gram[i, -1, : 2 * i, : 2 * i]
                self._metrics.append(products * self.passed.rstd[i] ** 2 / (self.length * channels))
        last = np.zeros((2 * blocks, 2 * blocks))
        sequence.last_gram(self.outside, self.length, width, blocks, last)
        self._metrics.append(last / (self.length * channels))
        self._read_out(range(2 * blocks))

    def _read_out(self, fields: range) -> None:
        def read_out(k: int) -> None:
            scratch = self._scratch()
            sequence.read_out(self.kernels.weights, self.outside, self.length, fields[k], scratch)

        shared(read_out, len(fields))

    def _by_position(self, work: Callable[[int, int, rows.Scratch], None]) -> None:
        def piece(k: int) -> None:
            work(k * STRETCH, min((k + 1) * STRETCH, self.length), self._scratch())

        shared(piece, -(-self.length // STRETCH))

    def _scratch(self) -> rows.Scratch:
        return self.kernels.scratch(self.length, 0)

    def _cells(self, edits: EditTable, order: Integers, bounds: Integers) -> int:
        """Positions times edits of the largest window."""
        weights = self.kernels.weights
        reach = len(weights.stem) + 2 * int(weights.dilations.sum() + weights.dilations[-1])
        starts, ends = edits.starts[order], (edits.starts + edits.widths)[order]
        largest = 0
        for first, last in pairwise(bounds):
            span = int(ends[first:last].max() - starts[first:last].min())
            largest = max(largest, min(self.length, span + reach) * int(last - first))
        return largest

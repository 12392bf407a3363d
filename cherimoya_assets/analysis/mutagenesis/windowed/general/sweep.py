"""Edits through the network: exact on a window, the model of the outside beyond it.

What lives here: one batch of edits of one sequence, at places that are near each other, from bases to changes of
logits and of log counts. What must not: which edits there are, and scores.

A batch shares one window, cropped from the sequence and laid out (positions, edits, channels), so that a halo is a
block of memory before or after it and the reference of a position is read once for all edits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cherimoya_assets.analysis.mutagenesis.windowed.general.arithmetic import (
    activated_changes,
    convolved_with_sums,
    difference_,
)
from cherimoya_assets.analysis.mutagenesis.windowed.general.network import profile_convolution
from cherimoya_assets.analysis.mutagenesis.windowed.general.statistics import next_shifts

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.mutagenesis.windowed.general.network import BlockWeights, Network
    from cherimoya_assets.analysis.mutagenesis.windowed.general.outside import OutsideModel
    from cherimoya_assets.analysis.mutagenesis.windowed.general.reference import BlockReference, Reference


@dataclass(frozen=True)
class Edits:
    """Edits of one sequence that lie in one span.

    Attributes:
        start: first position of the span. change: (E, 4, width), the new one-hot bases less the old ones.
    """

    start: int
    change: torch.Tensor


@dataclass(frozen=True)
class Swept:
    """What edits did.

    Attributes:
        shifts: (E, 2 blocks), float64, the shift vectors.
        log_counts: (E, n_groups), float64, change of the log counts; None where it was not asked for.
        logits: (E, n_outputs, output length), change of the profile logits; likewise.
    """

    shifts: torch.Tensor
    log_counts: torch.Tensor | None = None
    logits: torch.Tensor | None = None


def sweep(
    network: Network,
    reference: Reference,
    outside: OutsideModel | None,
    edits: Edits,
    *,
    heads: Collection[str],
) -> Swept:
    """Compute a batch of edits.

    Args:
        outside: the model; None lets the window be the whole sequence, which needs none.
        heads: of "counts" and "profile"; without any, the shift vectors alone, at half the work.
    """
    import torch

    window = _Window(network, reference, edits, dense=outside is None)
    shifts = torch.zeros((window.n_edits, 0), dtype=torch.float64, device=edits.change.device)
    for i in range(len(network.blocks)):
        h, shifts, factors = _through_block(network, reference, outside, window, i, shifts)
    if not heads:
        return Swept(shifts)
    counts = _last_block_(network, window, h, network.blocks[-1], reference.blocks[-1], factors, heads)
    log_counts = None if counts is None else _log_counts(network, reference, outside, window, counts, shifts)
    logits = _logits(network, reference, outside, window, shifts) if "profile" in heads else None
    return Swept(shifts, log_counts, logits)


def _through_block(
    network: Network, reference: Reference, outside: OutsideModel | None, window: _Window, i: int, shifts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Take the window through block i, the last one's layers excepted, which the heads ask for.

    Returns the convolved changes in the window as it has grown, (W, E, C); the shift vectors with those of this block;
    and its factors, see `statistics.factors`.
    """
    weights, block = network.blocks[i], reference.blocks[i]
    if outside is None:
        h, totals = window.convolve(weights, block, None, shifts)
    else:
        level, sums = outside.levels[i], outside.sums[i]
        exact, rounded = level.coefficients(shifts)
        h, totals = window.convolve(weights, block, level.fields, rounded)
        if sums is not None:
            sums.add_outside_(totals, window.low, window.high, exact, shifts)
    shifts, factors = next_shifts(block, h, totals, reference.length * h.shape[2], shifts)
    if i < len(network.blocks) - 1:
        _mix_(window, h, (window.low, window.high), weights, block, factors)
    return h, shifts, factors


class _Window:
    """The changes at the positions [low, high), inside a buffer in which the window can grow."""

    def __init__(self, network: Network, reference: Reference, edits: Edits, *, dense: bool) -> None:
        import torch

        self.length, self.dense = reference.length, dense
        self.low, stem = _stem(network, reference, edits)
        self.high, self.n_edits = self.low + stem.shape[0], stem.shape[1]
        grown = self.length if dense else sum(block.dilation for block in network.blocks)
        # A halo is twice as wide as what the window keeps of it.
        grown += network.blocks[-1].dilation
        self.base = max(self.low - grown, 0)
        size = min(self.high + grown, self.length) - self.base
        self.buffer = torch.empty((size, *stem.shape[1:]), dtype=stem.dtype, device=stem.device)
        self.buffer[self.low - self.base : self.high - self.base] = stem

    @property
    def x(self) -> torch.Tensor:
        """(W, E, C)."""
        return self.buffer[self.low - self.base : self.high - self.base]

    def convolve(
        self, weights: BlockWeights, block: BlockReference, fields: torch.Tensor | None, coefficients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Grow by the reach of a block, reading twice as far; see `arithmetic.convolved_with_sums`."""
        reach = self.length if self.dense else weights.dilation
        low, high = self.low, self.high
        start, end = max(low - 2 * reach, 0), min(high + 2 * reach, self.length)
        self._fill(start, low, fields, coefficients)
        self._fill(high, end, fields, coefficients)
        self.low, self.high = max(low - reach, 0), min(high + reach, self.length)
        return convolved_with_sums(
            self.buffer[start - self.base : end - self.base],
            self.low - start,
            weights.taps,
            weights.dilation,
            block.centred,
            (self.low, self.high),
        )

    def within(self, low: int, high: int) -> tuple[int, int]:
        """The part of the window in [low, high); empty, but within the window, where there is none."""
        low, high = (min(max(place, self.low), self.high) for place in (low, high))
        return low, high

    def _fill(self, start: int, end: int, fields: torch.Tensor | None, coefficients: torch.Tensor) -> None:
        """What the model says at [start, end)."""
        import torch

        if start >= end:
            return
        halo = self.buffer[start - self.base : end - self.base]
        if fields is None or not fields.shape[1]:
            halo.zero_()
        else:
            torch.matmul(coefficients, fields[start:end], out=halo)


def _stem(network: Network, reference: Reference, edits: Edits) -> tuple[int, torch.Tensor]:
    """The window behind the stem: its first position, and the changes (W, E, C)."""
    import torch
    from torch.nn.functional import pad

    taps = network.stem.shape[2]
    half = taps // 2
    n_edits, _, width = edits.change.shape
    low, high = max(edits.start - half, 0), min(edits.start + width + half, reference.length)
    first = low - (edits.start - half)
    # A product: torch's convolution of so few positions is slower.
    seen = pad(edits.change, (2 * half, 2 * half)).unfold(2, taps, 1)[:, :, first : first + high - low]
    x = seen.permute(2, 0, 1, 3).reshape(-1, 4 * taps) @ network.stem.flatten(1).T
    x = x.view(high - low, n_edits, -1)
    as_it_is = x.new_tensor([[0.0], [1.0], [0.0]]).repeat(1, n_edits)
    return low, difference_(x, reference.stem, low, as_it_is, torch.zeros_like(network.stem_bias))


def _activated(
    window: _Window,
    h: torch.Tensor,
    span: tuple[int, int],
    weights: BlockWeights,
    block: BlockReference,
    factors: torch.Tensor,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The rows of the window in a span, some after another, and the changes of the hidden layer there."""
    first, last = (place - window.low for place in span)
    x = window.x[first:last]
    tiles = activated_changes(h[first:last], span[0], block.hidden, factors, weights.expand, weights.expand_sum)
    for tile, changes in tiles:
        yield x[tile], changes


def _mix_(
    window: _Window,
    h: torch.Tensor,
    span: tuple[int, int],
    weights: BlockWeights,
    block: BlockReference,
    factors: torch.Tensor,
) -> None:
    """Add to a span of the window what the block's two layers make of the convolved changes."""
    for rows, changes in _activated(window, h, span, weights, block, factors):
        _contract_(rows, changes, weights)


def _contract_(x: torch.Tensor, changes: torch.Tensor, weights: BlockWeights) -> None:
    x.view(-1, x.shape[2]).addmm_(changes.view(-1, changes.shape[2]), weights.contract)


def _last_block_(
    network: Network,
    window: _Window,
    h: torch.Tensor,
    weights: BlockWeights,
    block: BlockReference,
    factors: torch.Tensor,
    heads: Collection[str],
) -> torch.Tensor | None:
    """The last block, at the positions that the heads read; the summed counts head of the window, float64 (E, groups).

    For the counts the block's second product is never made: its weights meet the head's first. The profile needs it,
    and a flank on either side. What is computed for one head does not depend on the other.
    """
    start, end = network.trimming, window.length - network.trimming
    inner = window.within(start, end)
    counts = None
    if "counts" in heads:
        through = weights.contract @ network.counts.T
        kept = window.x[inner[0] - window.low : inner[1] - window.low]
        counts = (kept.sum(dim=0) @ network.counts.T).double()
    for rows, changes in _activated(window, h, inner, weights, block, factors):
        if counts is not None:
            counts += (changes.sum(dim=0) @ through).double()
        if "profile" in heads:
            _contract_(rows, changes, weights)
    if "profile" in heads:
        flank = network.profile.shape[2] // 2
        outer = window.within(start - flank, end + flank)
        for side in ((outer[0], inner[0]), (inner[1], outer[1])):
            _mix_(window, h, side, weights, block, factors)
    return counts


def _log_counts(
    network: Network,
    reference: Reference,
    outside: OutsideModel | None,
    window: _Window,
    inside: torch.Tensor,
    shifts: torch.Tensor,
) -> torch.Tensor:
    """Changes of the log counts from the sum inside the window and the model beyond it."""
    start, end = network.trimming, reference.length - network.trimming
    if outside is None:
        return inside / (end - start)
    low, high = window.within(start, end)
    below = outside.shifted_counts
    beyond = below[end] - below[start] - (below[high] - below[low])
    return (inside + outside.levels[-1].coefficients(shifts)[0] @ beyond) / (end - start)


def _logits(
    network: Network, reference: Reference, outside: OutsideModel | None, window: _Window, shifts: torch.Tensor
) -> torch.Tensor:
    """Changes of the logits: the model gives all, and the window what it holds beyond the model."""
    import torch

    start, end = network.trimming, reference.length - network.trimming
    flank = network.profile.shape[2] // 2
    low, high = window.within(start - flank, end + flank)
    x = window.x[low - window.low : high - window.low]
    logits = x.new_zeros((len(shifts), network.profile.shape[0], end - start))
    if outside is not None:
        level = outside.levels[-1]
        _, coefficients = level.coefficients(shifts)
        torch.baddbmm(x, coefficients.expand(len(x), -1, -1), level.fields[low:high], alpha=-1, out=x)
        torch.matmul(coefficients, outside.shifted_logits.flatten(1), out=logits.view(len(shifts), -1))
    if len(x):
        profile_convolution(network, x, low - start, logits)
    return logits

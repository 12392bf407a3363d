"""The inner loops: GELU as a difference, and the convolution with its two sums.

What lives here: what touches every element, operation by operation. The formula of the difference stands in
`cpu/elements.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cherimoya_assets.analysis.mutagenesis.windowed.gelu import CUBIC, FAR, LARGEST_EXPONENT, SLOPE

if TYPE_CHECKING:
    import torch

TILE_BYTES = 1 << 20
"""Of hidden activations at a time: what a core's second-level cache holds beside the weights."""


@dataclass(frozen=True)
class Activated:
    """A pre-activation `before`, its sigmoid `gate`, and `shut` = 1 - gate; all of one shape."""

    before: torch.Tensor
    gate: torch.Tensor
    shut: torch.Tensor

    def derivative(self) -> torch.Tensor:
        """Of GELU, at `before`."""
        inner = SLOPE * (1 + 3 * CUBIC * self.before.square())
        return self.gate * (1 + self.before * self.shut * inner)


def activate(before: torch.Tensor) -> Activated:
    """A pre-activation with what differences need of it; GELU itself is before * gate."""
    import torch

    z = (SLOPE * (before + CUBIC * before * before.square())).clamp_(-LARGEST_EXPONENT, LARGEST_EXPONENT)
    # 1 - gate would lose its digits where the gate is near 1.
    return Activated(before, torch.sigmoid(z), torch.sigmoid(-z))


def difference_(
    change: torch.Tensor,
    reference: Activated,
    first: int,
    factors: torch.Tensor,
    column: torch.Tensor,
) -> torch.Tensor:
    """Overwrite `change` with gelu(u + d) - gelu(u), d = stretch u + scale change - moved column.

    Args:
        change: (W, E, H). reference: of the unedited sequence, (L, H). first: position of the first row of `change`.
        factors: (3, E): stretch, scale and moved of each edit. column: (H,).
    """
    import torch

    stretch, scale, moved = factors[:, :, None]
    span = slice(first, first + len(change))
    u, gate, shut = (rows[span, None] for rows in (reference.before, reference.gate, reference.shut))
    d = change.mul_(scale).addcmul_(u, stretch).sub_(moved * column)
    v = u + d
    w = SLOPE * d * (1 + CUBIC * (3 * u * v + d.square()))
    within = w.clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT)
    turned = gate * shut * torch.expm1(within) / (shut + gate * torch.exp(within))
    turned = torch.where(w.abs() > FAR, torch.sigmoid(SLOPE * (v + CUBIC * v * v.square())) - gate, turned)
    # gelu(u + d) - gelu(u) = d gate + (u + d) (change of the gate)
    return d.mul_(gate).addcmul_(v, turned)


def activated_changes(
    h: torch.Tensor,
    first: int,
    reference: Activated,
    factors: torch.Tensor,
    expand: torch.Tensor,
    expand_sum: torch.Tensor,
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Changes of a block's activated hidden layer, (T, E, H), at one slice of the rows of `h` after another.

    Their memory is the same for all of them: on a CPU it stays in the cache.

    Args:
        h: (W, E, C), changes of the convolved input. first: the position of its first row.
        reference: the hidden layer of the unedited sequence. factors: (3, E), see `statistics.factors`.
        expand: (C, H). expand_sum: (H,), its sum over C.
    """
    import torch

    width, edits, _ = h.shape
    hidden = expand.shape[1]
    step = max(1, TILE_BYTES // (edits * hidden * h.element_size()) if h.device.type == "cpu" else width)
    scratch = h.new_empty((min(step, width), edits, hidden))
    for low in range(0, width, step):
        tile = slice(low, min(low + step, width))
        changes = scratch[: tile.stop - low]
        torch.matmul(h[tile], expand, out=changes)
        yield tile, difference_(changes, reference, first + low, factors, expand_sum)


def convolve(x: torch.Tensor, taps: torch.Tensor, dilation: int) -> torch.Tensor:
    """The three dilated taps along the first axis, zero beyond both ends; (L, E, C) to the same shape."""
    import torch

    h = torch.empty_like(x)
    _convolve_into(h, x, 0, taps, dilation)
    return h


def convolved_with_sums(
    x: torch.Tensor, offset: int, taps: torch.Tensor, dilation: int, centred: torch.Tensor, span: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The dilated convolution of changes, and what the changed statistics need of it.

    Args:
        x: (n, E, C), changes at n consecutive positions; beyond them there are none.
        offset: place in `x` of the first of the positions that are wanted (it may lie before its start).
        taps: (3, C). centred: (L, C), the reference. span: the positions that are wanted, W of them.

    Returns:
        h, (W, E, C); the sums of h and of h (2 centred + h) over positions and channels, float64 (2, E).
    """
    import torch

    h = x.new_empty((span[1] - span[0], *x.shape[1:]))
    _convolve_into(h, x, offset, taps, dilation)
    squared = torch.addcmul(h * (2 * centred[span[0] : span[1], None]), h, h)
    return h, torch.stack([part.sum(dim=(0, 2), dtype=torch.float64) for part in (h, squared)])


def _convolve_into(h: torch.Tensor, x: torch.Tensor, offset: int, taps: torch.Tensor, dilation: int) -> None:
    h.zero_()
    for tap, reach in enumerate((-dilation, 0, dilation)):
        # Row q of h reads row q + offset + reach of x, where there is one.
        first = max(0, -(offset + reach))
        last = min(len(h), len(x) - (offset + reach))
        if first < last:
            h[first:last].addcmul_(x[first + offset + reach : last + offset + reach], taps[tap])

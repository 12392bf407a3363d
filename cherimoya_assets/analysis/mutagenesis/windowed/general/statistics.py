"""The two statistics of a block as an edit changes them.

What lives here: from sums over the window and the model beyond it to the next two shifts, and to what they do to a
hidden layer. What must not: positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.mutagenesis.windowed.general.reference import BlockReference


def next_shifts(
    block: BlockReference, h: torch.Tensor, totals: torch.Tensor, size: int, shifts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The shift vectors with the two of this block behind, float64 (E, 2i + 2), and `factors` of these two.

    Args:
        h: (W, E, C), for its dtype. size: values in the plane that is normalised.
        totals: (2, E), float64, the sums of h and of h (2 centred + h) over that plane.
        shifts: (E, 2i), float64.
    """
    import torch

    mean, second = totals / size
    stretch = torch.expm1(-0.5 * torch.log1p((second - mean.square()) * block.rstd**2))
    shift = torch.stack([mean, stretch], dim=1)
    return torch.cat([shifts, shift], dim=1), factors(shift, block.rstd).to(h.dtype)


def factors(shift: torch.Tensor, rstd: float) -> torch.Tensor:
    """How a hidden layer u = W n changes with a shift: stretch u + scale W h - moved W 1; those three, (3, E).

    `shift` is (E, 2): the change of the mean and the relative change of the reciprocal standard deviation.
    """
    import torch

    mean, stretch = shift.T
    scale = (1 + stretch) * rstd
    return torch.stack([stretch, scale, scale * mean])

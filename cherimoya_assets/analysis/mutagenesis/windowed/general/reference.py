"""One pass over the unedited sequence, with everything kept that an edit is later compared with.

What lives here: the forward pass of a Cherimoya in (length, channels), statistics in float64. What must not: edits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cherimoya_assets.analysis.mutagenesis.windowed.general.arithmetic import Activated, activate, convolve

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.mutagenesis.windowed.general.network import Network


@dataclass(frozen=True)
class BlockReference:
    """What a block saw and did.

    Attributes:
        centred: (L, C), the convolved input less its mean. mean, rstd: the statistics of the convolved input.
        hidden: the hidden layer before and after its activation, (L, H).
    """

    centred: torch.Tensor
    mean: float
    rstd: float
    hidden: Activated


@dataclass(frozen=True)
class Reference:
    """One unedited sequence.

    Attributes:
        length: bp. stem: the stem before and after its activation, (L, C). blocks: in order.
        logits: (n_outputs, output length). log_counts: (n_groups,).
    """

    length: int
    stem: Activated
    blocks: tuple[BlockReference, ...]
    logits: torch.Tensor
    log_counts: torch.Tensor


def reference_pass(network: Network, X: torch.Tensor) -> Reference:
    """The forward pass of one sequence, (4, L), in the network's dtype."""
    import torch
    from torch.nn.functional import conv1d

    half = network.stem.shape[-1] // 2
    before = conv1d(X[None], network.stem, network.stem_bias, padding=half)[0].T.contiguous()
    stem = activate(before)
    x = before * stem.gate
    blocks = []
    for block in network.blocks:
        h = convolve(x[:, None], block.taps, block.dilation)[:, 0]
        mean = h.mean(dtype=torch.float64)
        centred = (h.double() - mean).to(h.dtype)
        variance = centred.double().square().mean()
        rstd = float((variance + network.epsilon).rsqrt())
        hidden = activate((centred @ block.expand) * rstd)
        x = torch.addmm(x, hidden.before * hidden.gate, block.contract)
        blocks.append(BlockReference(centred, float(mean), rstd, hidden))
    start, end = network.trimming, len(x) - network.trimming
    logits = conv1d(x.T[None], network.profile, network.profile_bias, padding=network.profile.shape[-1] // 2)
    log_counts = x[start:end].mean(dim=0) @ network.counts.T + network.counts_bias
    return Reference(len(x), stem, tuple(blocks), logits[0, :, start:end].contiguous(), log_counts)

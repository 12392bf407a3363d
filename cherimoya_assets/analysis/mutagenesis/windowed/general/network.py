"""The weights of a Cherimoya as the windowed engine wants them: one dtype, one device, transposed once.

What lives here: reading weights off a module, and the profile head, which windows and fields go through alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BlockWeights:
    """One Cheri block of C channels and H hidden ones.

    Attributes:
        dilation: distance of the three taps, in bp.
        taps: (3, C). expand: (C, H). contract: (H, C), times the residual scale.
        expand_sum: (H,), expand summed over C.
    """

    dilation: int
    taps: torch.Tensor
    expand: torch.Tensor
    contract: torch.Tensor
    expand_sum: torch.Tensor


@dataclass(frozen=True)
class Network:
    """A Cherimoya with its control tracks at zero (which then contribute nothing to either head).

    Attributes:
        stem: (C, 4, 21). stem_bias: (C,). blocks: in order.
        profile: (n_outputs, C, 75).
        profile_bias: (n_outputs,). counts: (n_groups, C). counts_bias: (n_groups,).
        signal_groups: outputs of each signal group. trimming: bp that the profile is shorter on each side.
        epsilon: what the blocks add to a variance.
    """

    stem: torch.Tensor
    stem_bias: torch.Tensor
    blocks: tuple[BlockWeights, ...]
    profile: torch.Tensor
    profile_bias: torch.Tensor
    counts: torch.Tensor
    counts_bias: torch.Tensor
    signal_groups: tuple[int, ...]
    trimming: int
    epsilon: float

    @property
    def n_filters(self) -> int:
        return int(self.stem.shape[0])

    @property
    def n_hidden(self) -> int:
        return int(self.blocks[0].expand.shape[1])


def profile_convolution(network: Network, x: torch.Tensor, first: int, logits: torch.Tensor) -> None:
    """Add the profile head of a window to logits.

    Args:
        x: (W, E, C). first: the output position of its first row; it may lie before 0.
        logits: (E, n_outputs, output length), added to.
    """
    from torch.nn.functional import conv1d

    width = network.profile.shape[2]
    first -= width // 2
    window = conv1d(x.permute(1, 2, 0), network.profile, padding=width - 1)
    a, b = max(first, 0), min(first + window.shape[2], logits.shape[2])
    if a < b:
        logits[:, :, a:b] += window[:, :, a - first : b - first]


def read_network(module: torch.nn.Module, dtype: torch.dtype, device: str) -> Network:
    """The weights of a `cherimoya.Cherimoya`, copied."""
    import torch
    from cherimoya.cheri import CONV_NORM_EPS

    model: Any = module

    def copied(weight: torch.Tensor) -> torch.Tensor:
        return weight.detach().to(device=device, dtype=dtype).contiguous()

    blocks = []
    for block in model.blocks:
        expand = block.linear1.weight.detach().to(torch.float64).T
        contract = block.linear2.weight.detach().to(torch.float64).T * float(block.residual_scale)
        taps = block.conv_weight
        blocks.append(
            BlockWeights(int(block.dilation), copied(taps), copied(expand), copied(contract), copied(expand.sum(dim=0)))
        )
    channels = model.iconv.out_channels
    profile = model.fconv.weight.detach()[:, :channels]
    return Network(
        copied(model.iconv.weight),
        copied(model.iconv.bias),
        tuple(blocks),
        copied(profile),
        copied(model.fconv.bias),
        copied(model.linear.weight[:, :channels]),
        copied(model.linear.bias),
        tuple(model.signal_groups),
        int(model.trimming),
        float(CONV_NORM_EPS),
    )

"""How much memory the windowed engine holds, and how many edits a GPU takes at once.

With L bp, C channels, H hidden ones, n blocks, K nodes, m_i = 2i + K fields after i blocks and 4 bytes a number, a
sequence at work holds

    reference   n L (C + 3 H) + 4 L C
    fields      sum over i of L C m_i; their sums over positions, n L (2 (2 n + K) + 4 n^2) in 8 bytes
    edits       for E edits at once, whose last window is W = 21 + 2 (d_1 + ... + d_n) + their span, at most L, wide:
                2 E W C, and on a GPU 6 E W H, the hidden layer and what its difference is made of; of these a CPU
                holds a tile. Dense edits and nodes, of which a CPU takes 6 at a time, have W = L.

On a CPU there is one sequence at work for each thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MOST = 768
"""Edits in a batch; a GPU is busy with fewer."""

HIDDEN = 6
"""Tensors of the hidden layer's size at once, where its difference is made operation by operation; counted on tensors
without values: 5.1 to 5.5 beside the window and its convolution."""

SHARE = 0.5
"""Of a GPU's free memory."""


def sequence_bytes(module: torch.nn.Module, length: int, nodes: int) -> int:
    """What one sequence of a Cherimoya holds besides its edits, by the formula above."""
    n, c, h, _ = _sizes(module)
    numbers = n * length * (c + 3 * h) + 4 * length * c
    numbers += sum(length * c * (2 * i + nodes) for i in range(1, n + 1))
    return 4 * numbers + 8 * n * length * (2 * (2 * n + nodes) + 4 * n * n)


def edit_bytes(module: torch.nn.Module, length: int, device: str) -> int:
    """What one edit holds at the last block."""
    _, c, h, widest = _sizes(module)
    return 4 * min(length, widest) * (2 * c + (0 if device == "cpu" else HIDDEN * h))


def edits_at_once(module: torch.nn.Module, length: int, device: str) -> int:
    """Edits in a batch: what suits the cache of a CPU, or the free memory of a GPU; a multiple of 3, the bases."""
    if device == "cpu":
        from cherimoya_assets.analysis.mutagenesis.windowed.cpu.kernels import WINDOWED

        return WINDOWED
    import torch

    from cherimoya_assets.analysis.mutagenesis.windowed.kernels import ROOM

    room = int(SHARE * torch.cuda.mem_get_info(device)[0]) - sequence_bytes(module, length, ROOM)
    return 3 * max(1, min(MOST, room // edit_bytes(module, length, device)) // 3)


def _sizes(module: torch.nn.Module) -> tuple[int, int, int, int]:
    """Blocks, channels, hidden ones, and the width of the last window of one edit."""
    model: Any = module
    dilations = [int(block.dilation) for block in model.blocks]
    taps = int(model.iconv.weight.shape[2])
    hidden = int(model.blocks[0].linear1.weight.shape[0])
    return len(dilations), int(model.iconv.out_channels), hidden, taps + 2 * sum(dilations)

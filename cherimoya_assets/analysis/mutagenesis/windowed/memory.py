"""How much memory the windowed engine holds, and how many edits it takes at once.

With L bp, C channels, H hidden ones, n blocks, K nodes, m_i = 2i + K fields after i blocks and 4 bytes a number, a
sequence at work holds

    reference   n L (C + 3 H) + 3 L C
    fields      sum over i of L C m_i + L C 2i; their sums over positions, sum over i of L (2 m_i + 4 i^2) in 8 bytes
    nodes       L K (C + H) while the model is made
    edits       for E edits at once, whose last window is W = 21 + 2 (d_1 + ... + d_n) + their span, at most L, wide:
                2 E W C, and on a GPU 6 E W H, the hidden layer and what its difference is made of; of these a CPU
                holds a tile

On a CPU there is one sequence at work for each thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cherimoya_assets.analysis.mutagenesis.windowed.network import Network

CPU_WINDOW_BYTES = 24 << 20
"""Of a batch's last window on a CPU. More edits at once would share little more and leave the cache."""

MOST = 768
"""Edits in a batch; a GPU is busy with fewer."""

HIDDEN = 6
"""Tensors of the hidden layer's size at once, where its difference is made operation by operation; counted on tensors
without values: 5.1 to 5.5 beside the window and its convolution."""

SHARE = 0.5
"""Of a GPU's free memory."""


def sequence_bytes(network: Network, length: int, nodes: int) -> int:
    """What one sequence holds besides its batch of edits, by the formula above."""
    n, c, h = len(network.blocks), network.n_filters, network.n_hidden
    numbers = n * length * (c + 3 * h) + 3 * length * c + length * nodes * (c + h)
    for i in range(1, n + 1):
        numbers += length * c * (4 * i + nodes) + 2 * length * (2 * (2 * i + nodes) + 4 * i * i)
    return 4 * numbers


def edit_bytes(network: Network, length: int, device: str) -> int:
    """What one edit of a batch holds at the last block."""
    window = min(length, network.stem.shape[2] + 2 * sum(block.dilation for block in network.blocks))
    return 4 * window * (2 * network.n_filters + (0 if device == "cpu" else HIDDEN * network.n_hidden))


def mean_window(network: Network, length: int) -> int:
    """Positions of one edit's window, a mean over the blocks."""
    width, total = network.stem.shape[2], 0
    for block in network.blocks:
        width = min(length, width + 2 * block.dilation)
        total += width
    return total // len(network.blocks)


def edits_at_once(network: Network, length: int, device: str) -> int:
    """Edits in a batch, by the cache of a CPU or the free memory of a GPU; a multiple of 3, the bases to put in."""
    room = CPU_WINDOW_BYTES
    if device != "cpu":
        import torch

        from cherimoya_assets.analysis.mutagenesis.windowed.engine import NODES

        room = int(SHARE * torch.cuda.mem_get_info(device)[0]) - sequence_bytes(network, length, max(NODES))
    return 3 * max(1, min(MOST, room // edit_bytes(network, length, device)) // 3)

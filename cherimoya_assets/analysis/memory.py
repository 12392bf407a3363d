"""How many sequences fit: batch sizes from free memory.

What lives here: the memory model of a forward pass. What must not: choosing a device (`resources/gpu.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CPU_BATCH = 32
"""On a CPU memory is not the limit but the cache is: 8 to 64 are equally fast on the demo, 512 takes 1.6 times as long."""

MOST = 512
"""Where a GPU stops getting faster (cherimoya's own measurement: 16.8 loci a second at 512, 14.7 at 64)."""

SHARE = 0.6
"""Of the free memory; the rest is the allocator's fragmentation and what others take meanwhile."""

PLANES = 8
"""Activation planes (length x filters, float32) alive at once in a block: input, convolution, normalised, twice
(expansion 2) the hidden layer and its activation, output, and the residual sum, rounded up."""


def forward_batch_size(module: torch.nn.Module, length: int, device: str) -> int:
    """The batch size of forward passes of sequences of `length` bp.

    On a GPU: SHARE x free memory / (PLANES x length x filters x 4 bytes), a power of two of at most MOST.
    """
    import torch

    if not device.startswith("cuda"):
        return CPU_BATCH
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    width = max((p.shape[0] for p in module.parameters() if p.ndim >= 2), default=64)
    fitting = int(SHARE * free / (PLANES * length * width * 4))
    return max(1, min(MOST, 1 << max(fitting.bit_length() - 1, 0)))

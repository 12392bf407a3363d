"""How many sequences fit: batch sizes from free memory.

What lives here: the memory model of a forward pass. What must not: choosing a device (`resources/gpu.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CPU_BATCH = 32
"""On a CPU the cache is the limit and not the memory: on the demo model a sequence costs 14 to 16 ms at batches of 8 to
128, 26 ms at 256 and 29 ms at 1 (one core)."""

MOST = 256
"""A GPU gains little beyond (cherimoya measured 14.7 loci a second at 64 and 16.8 at 512), and a small cap is a steady
one: the default Cherimoya reaches it on every GPU with 8 GB free, so that a batch, and with it the last bits of a
number, do not hang on what else the GPU does."""

SHARE = 0.6
"""Of the free memory; the rest is the allocator's fragmentation and what others take meanwhile."""

PLANES = 8
"""Activation planes (length x widest layer, float32) that a forward pass holds at once. Counted by torch's own
allocator on a CPU: 2.5 to 5 for Cherimoya (input, normalised, hidden layer and its activation), 4 for BPNet and
ChromBPNet; the rest is the workspace of the GPU's convolutions."""


def forward_batch_size(module: torch.nn.Module, length: int, device: str) -> int:
    """Sequences of `length` bp in one forward pass.

    On a GPU: SHARE x free memory / (PLANES x length x widest layer x 4 bytes), rounded down to a power of two, from 1
    to MOST. Free is what the driver has left and what torch holds without using it.
    """
    if not device.startswith("cuda"):
        return CPU_BATCH
    import torch

    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    fitting = int(SHARE * free / (PLANES * plane_bytes(module, length)))
    return max(1, min(MOST, 1 << max(fitting.bit_length() - 1, 0)))


def plane_bytes(module: torch.nn.Module, length: int) -> int:
    """Bytes of the widest layer's output for one sequence of `length` bp, in float32."""
    return length * max(p.shape[0] for p in module.parameters() if p.ndim >= 2) * 4

"""How many sequences fit: batch sizes from free memory, and what happens where the estimate was too high.

What lives here: the memory model of a forward pass, and halving. What must not: choosing a device (`resources/gpu.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from cherimoya_assets.errors import DeviceError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

LOG = logging.getLogger(__name__)

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


class Batch:
    """How much is computed at once, halved for good whenever the device has not the memory for it.

    Attributes:
        size: sequences (or edits of one, or pairs of sequences) that are computed at once; at least 1.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, work: Callable[[int], T], device: str) -> T:
        """`work(size)`, again with half the size for as long as the device runs out of memory.

        Raises:
            DeviceError: not even one fits.
        """
        import torch

        while True:
            size = self.size
            try:
                return work(size)
            except torch.OutOfMemoryError as error:
                if size <= 1:
                    raise does_not_fit(device, error) from error
            # Here, where the error and with it the tensors of the frames that it came through are gone.
            self.halve(size, device)

    def halve(self, size: int, device: str) -> None:
        """Take half of `size` from now on: so many were too many."""
        import torch

        self.size = max(1, min(self.size, size // 2))
        LOG.warning("%s ran out of memory with %d at once; continuing with %d", device, size, self.size)
        if device.startswith("cuda"):
            torch.cuda.empty_cache()


def does_not_fit(device: str, error: BaseException) -> DeviceError:
    """One sentence for a device on which the smallest piece of work does not fit."""
    said = (str(error).strip().splitlines() or ["out of memory"])[0][:200]
    return DeviceError(
        f"{device}: does not have enough free memory for even one sequence at a time ({said}). "
        "Free memory on it, or set device to another GPU or to cpu."
    )

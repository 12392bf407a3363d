"""Which implementation computes, chosen once for a network. See `kernels.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.mutagenesis.windowed.kernels import Kernels

if TYPE_CHECKING:
    import torch


def kernels_for(module: torch.nn.Module, device: str, batch: Batch) -> Kernels:
    """The implementation for a `cherimoya.Cherimoya` in float32 on a device; `batch` edits at once where that
    matters."""
    if device == "cpu":
        from cherimoya_assets.analysis.mutagenesis.windowed.cpu.kernels import CpuKernels

        return CpuKernels(module)
    import torch

    from cherimoya_assets.analysis.mutagenesis.windowed.general.kernels import GeneralKernels

    return GeneralKernels(module, torch.float32, device, batch)

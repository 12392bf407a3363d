"""The GPU resource: which device, models on it, what it used.

What belongs here: resolving a device before any work, loading models onto it, memory numbers. What does not: batch
sizes (`analysis/memory.py`) and computing. CUDA is never touched when this module is imported: a process that is forked
afterwards could not use it.
"""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
from pydantic import Field

from cherimoya_assets.analysis.models import ModelFileLike, SequenceModel, load_model
from cherimoya_assets.errors import DeviceError

GPU_POOL = "gpu"
"""The Dagster pool of every step that computes with a model; its limit is the number of devices."""


class GPUResource(dg.ConfigurableResource):
    """Where models compute."""

    device: str = Field(
        default="",
        description="auto, cpu, cuda or cuda:N for every experiment; empty: what each experiment file says.",
    )

    def resolve(self, requested: str, log: Callable[[str], None]) -> str:
        """The device to use: this resource's, or else the experiment's.

        Raises:
            DeviceError: a GPU was asked for that is not there. Nothing has been computed then.
        """
        return resolve_device(self.device or requested, log)

    def load(self, file: ModelFileLike, device: str) -> SequenceModel:
        """A trained model on the device."""
        return load_model(file, device)

    def memory(self, device: str) -> dict[str, float]:
        """Peak memory on the device since the process began, as metadata; nothing for a CPU."""
        if not device.startswith("cuda"):
            return {}
        import torch

        return {"gpu_peak_mb": torch.cuda.max_memory_allocated(device) / 2**20}


def resolve_device(requested: str, log: Callable[[str], None]) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:N` as the device that will be used.

    Raises:
        DeviceError: a GPU was asked for that is not there.
    """
    if requested == "cpu":
        return "cpu"
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if requested == "auto":
        chosen = "cuda:0" if count else "cpu"
        log(f"device auto took {_describe(chosen)}" + ("" if count else ": no GPU is available to PyTorch"))
        return chosen
    index = int(requested.partition(":")[2] or 0)
    if not count:
        raise DeviceError(
            f"device {requested} was asked for, but no GPU is available to PyTorch {torch.__version__}. "
            "Install its CUDA build and check the driver, or set device to auto or cpu."
        )
    if index >= count:
        raise DeviceError(
            f"device {requested} was asked for, but there are {count} GPU(s), cuda:0 to cuda:{count - 1}. "
            "Choose one of them, or set device to auto."
        )
    chosen = f"cuda:{index}"
    log(f"device {requested} is {_describe(chosen)}")
    return chosen


def _describe(device: str) -> str:
    if device == "cpu":
        return "the CPU"
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"

"""The GPU resource: which device, models on it, what it used.

What belongs here: resolving a device before any work, having it alone, loading models onto it, memory numbers. What
does not: how a device is had alone (`leases.py`), batch sizes (`analysis/memory.py`) and computing. CUDA is never
touched when this module is imported: a process that is forked afterwards could not use it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import Field, PrivateAttr

from cherimoya_assets.analysis.models import ModelFileLike, load_model
from cherimoya_assets.analysis.sequence_model import SequenceModel
from cherimoya_assets.errors import DeviceError
from cherimoya_assets.resources.leases import lease

GPU_POOL = "gpu"
"""The Dagster pool of every step that computes with a model; its limit is the number of devices."""


class GPUResource(dg.ConfigurableResource[None]):
    """Where models compute."""

    device: str = Field(
        default="",
        description="auto, cpu, cuda or cuda:N for every experiment; empty: what each experiment file says.",
    )

    _run: str = PrivateAttr(default="")

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        self._run = context.run.run_id if context.run is not None else ""

    @contextmanager
    def lease(self, requested: str, log: Callable[[str], None]) -> Iterator[str]:
        """The device to use, this resource's or else the experiment's; a GPU is ours alone until the block ends.

        `auto` and `cuda` take whichever visible GPU is free, `cuda:N` that one; all wait their turn, and `log` says
        for whom. A CPU is shared.

        Raises:
            DeviceError: a GPU was asked for that is not there. Nothing has been computed then.
        """
        requested = self.device or requested
        words: list[str] = []
        chosen = resolve_device(requested, words.append)
        if chosen == "cpu":
            for sentence in words:
                log(sentence)
            yield chosen
            return
        wanted = [chosen] if ":" in requested else [f"cuda:{index}" for index in range(_gpu_count())]
        with lease([physical_device(device) for device in wanted], self._run, log) as index:
            if wanted[index] != chosen:
                words = [f"device {requested} took {_describe(wanted[index])}: others before it are in use"]
            for sentence in words:
                log(sentence)
            try:
                yield wanted[index]
            finally:
                _give_memory_back()

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

    count = _gpu_count()
    if requested == "auto":
        chosen = "cuda:0" if count else "cpu"
        log(f"device auto took {_describe(chosen)}" + ("" if count else ": no GPU is available to PyTorch"))
        return chosen
    index = int(requested.partition(":")[2] or 0)
    if not count:
        raise DeviceError(
            f"device {requested} was requested, but no GPU is available to PyTorch {torch.__version__}. "
            "Install its CUDA build and check the driver, or set device to auto or cpu."
        )
    if index >= count:
        raise DeviceError(
            f"device {requested} was requested, but there are {count} GPU(s), cuda:0 to cuda:{count - 1}. "
            "Choose one of them, or set device to auto."
        )
    chosen = f"cuda:{index}"
    log(f"device {requested} is {_describe(chosen)}")
    return chosen


def physical_device(device: str) -> str:
    """A name of the GPU behind `cuda:N` on which all processes agree, whatever CUDA_VISIBLE_DEVICES shows them."""
    import torch

    identity = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    if identity is not None:
        return str(identity)
    # A build of PyTorch that does not tell: what the variable says, or the index.
    index = int(device.partition(":")[2])
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return visible[index].strip() if index < len(visible) and visible[index].strip() else str(index)


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _give_memory_back() -> None:
    """What PyTorch keeps for later allocations would be missing to the next holder of the device."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _describe(device: str) -> str:
    if device == "cpu":
        return "the CPU"
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"

"""What the benchmarks print of the machine and the packages, and how they time: in turns, A B A B, in one process."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

PACKAGES = ("torch", "numpy", "numba", "cherimoya", "tangermeme", "bpnet-lite")


def describe() -> str:
    """Date, processor, threads and versions, a line each."""
    import torch

    lines = [
        f"date       {datetime.now(UTC):%Y-%m-%d}",
        f"processor  {_processor()}, {torch.get_num_threads()} threads, {platform.system()}",
        "packages   " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    ]
    if torch.cuda.is_available():
        lines.append(f"device     {torch.cuda.get_device_name()}")
    return "\n".join(lines)


def in_turns(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round; they run one after the other, `rounds` times."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> str:
    """The median of the paired ratios, and their range."""
    pairs = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{median(pairs):.1f} ({min(pairs):.1f} to {max(pairs):.1f})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    vectors = [name for name in ("avx2", "avx512f", "amx_bf16") if f" {name}" in flags]
    return f"{names[0] if names else platform.machine()} ({', '.join(vectors)})"

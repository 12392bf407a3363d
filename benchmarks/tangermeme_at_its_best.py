"""tangermeme's saturation mutagenesis of a scalar head, as fast as it can be made to go."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from tangermeme import saturation_mutagenesis as module

BATCHES = (8, 16, 32, 64, 128)


def best_of_tangermeme(wrapper: torch.nn.Module, X: np.ndarray, span: tuple[int, int]) -> tuple[int, bool]:
    """Batch size and `fast` of its quickest run on a part of a locus."""
    part, times = (span[0], span[0] + max(32, (span[1] - span[0]) // 8)), {}
    for fast in (True, False):
        for batch in BATCHES:
            began = time.perf_counter()
            tangermeme(wrapper, X, part, batch, fast)
            times[batch, fast] = time.perf_counter() - began
    return min(times, key=lambda setting: times[setting])


def tangermeme(wrapper: torch.nn.Module, X: np.ndarray, span: tuple[int, int], batch: int, fast: bool) -> torch.Tensor:
    """Hypothetical scores (n, 4, positions)."""
    with warnings.catch_warnings():
        # Where its fast path does not apply to a model, that is what it says, each time.
        warnings.simplefilter("ignore")
        scores: torch.Tensor = module.saturation_mutagenesis(
            wrapper,
            torch.from_numpy(X),
            start=span[0],
            end=span[1],
            batch_size=batch,
            hypothetical=True,
            device="cpu",
            fast=fast,
        )
    return scores


@contextmanager
def fast_path_for_any_job() -> Iterator[None]:
    """tangermeme tries its fast path from thirty seconds of work on, by a stopwatch; here it always does."""
    before, module._FAST_MIN_SECONDS = module._FAST_MIN_SECONDS, 0.0
    try:
        yield
    finally:
        module._FAST_MIN_SECONDS = before

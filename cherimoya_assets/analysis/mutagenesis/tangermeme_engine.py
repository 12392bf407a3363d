"""The reference engine: tangermeme's own saturation mutagenesis, all heads from one sweep.

What lives here: calling tangermeme 1.6 so that every locus gets the same numbers in any company. What must not:
another way to compute them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, ScoredLocus
from cherimoya_assets.analysis.memory import Batch

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.models import SequenceModel


def each_locus(
    model: SequenceModel,
    X: NDArray[np.int8],
    start: int,
    end: int,
    outputs: Sequence[str],
    *,
    group: int | None,
    batch_size: int | None,
    dtype: str,
    device: str,
) -> LocusByLocus:
    """See `cherimoya_assets.analysis.mutagenesis.locus_by_locus`.

    Loci are given to tangermeme one at a time: kernels round differently for batches of different shape, and a locus
    must not change with its neighbours. tangermeme's fastISM (`fast=True`) is not used for the same reason: whether it
    is taken is decided by a stopwatch, so the same locus could come out of either path. It would not be taken anyhow:
    one locus is far below the thirty seconds from which tangermeme tries it.
    """
    import torch
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    batch = Batch(model.batch_size(X.shape[-1], device) if batch_size is None else batch_size)
    wrapper = model.score_wrapper(outputs, group)

    def predicted(row: int, size: int) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        y0, y_hat = saturation_mutagenesis(
            wrapper,
            torch.from_numpy(X[row : row + 1]),
            start=start,
            end=end,
            batch_size=size,
            raw_outputs=True,
            dtype=dtype,
            device=device,
            fast=False,
        )
        return y0, y_hat

    def loci() -> Generator[ScoredLocus, None, None]:
        for row in range(len(X)):
            with model.numerics():
                y0, y_hat = batch.run(partial(predicted, row), device)
                effects = [centred_effects(before, after) for before, after in zip(y0, y_hat, strict=True)]
            yield ScoredLocus(row, {head: effect.numpy() for head, effect in zip(outputs, effects, strict=True)})

    return LocusByLocus({"engine": "tangermeme", "batch_size": batch.size}, loci())


def centred_effects(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """The change that each base makes, less its mean over the four bases, averaged over the model's outputs.

    What tangermeme does when it is not asked for raw outputs, operation for operation, of one sequence.

    Args:
        before: (1, n_outputs), predictions of the sequence.
        after: (1, 4, width, n_outputs), predictions with one base replaced.

    Returns:
        float32 (4, width).
    """
    effects = after - before[:, None, None]
    effects -= effects.mean(dim=1, keepdim=True)
    return effects.mean(dim=-1)[0].float()

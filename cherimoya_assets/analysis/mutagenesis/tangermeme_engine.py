"""The reference engine: tangermeme's own saturation mutagenesis and predictions, all heads from one sweep.

What lives here: calling tangermeme 1.6 so that every locus gets the same numbers in any company. What must not:
another way to compute them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.attribution_method import Asked
from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, ScoredLocus
from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.mutagenesis.edits import EditedPredictions, LocalEdit, edited

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.sequence_model import SequenceModel


class TangermemeEngine:
    """Dense mutagenesis of any model. See `engines.Engine`."""

    name, version, alone = "tangermeme", 2, False

    def __init__(self, model: SequenceModel, *, length: int, batch_size: int | None, dtype: str, device: str) -> None:
        self.model, self.dtype, self.device = model, dtype, device
        self.batch = Batch(model.batch_size(length, device) if batch_size is None else batch_size)

    def each_locus(self, X: NDArray[np.int8], asked: Asked, stretch: int | None = None) -> LocusByLocus:
        """See `engines.Engine`. One locus follows the other, whatever `stretch` is.

        Loci are given to tangermeme one at a time: kernels round differently for batches of different shape, and a
        locus must not change with its neighbours. tangermeme's fastISM (`fast=True`) is not used for the same reason:
        whether it is taken is decided by a stopwatch, so the same locus could come out of either path. One locus is
        far below the thirty seconds from which tangermeme tries it anyhow.
        """
        import torch
        from tangermeme.saturation_mutagenesis import saturation_mutagenesis

        wrapper = self.model.score_wrapper(asked.outputs, asked.group)

        def predicted(row: int, size: int) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
            y0, y_hat = saturation_mutagenesis(
                wrapper,
                torch.from_numpy(X[row : row + 1]),
                start=asked.start,
                end=asked.end,
                batch_size=size,
                raw_outputs=True,
                dtype=self.dtype,
                device=self.device,
                fast=False,
            )
            return y0, y_hat

        def loci() -> Generator[ScoredLocus, None, None]:
            for row in range(len(X)):
                with self.model.numerics():
                    y0, y_hat = self.batch.run(partial(predicted, row), self.device)
                    effects = [centred_effects(before, after) for before, after in zip(y0, y_hat, strict=True)]
                scores = (effect.numpy() for effect in effects)
                yield ScoredLocus(row, dict(zip(asked.outputs, scores, strict=True)))

        return LocusByLocus({"engine": self.name, "batch_size": self.batch.size}, loci())

    def predictions(self, X: NDArray[np.int8], edits: Sequence[LocalEdit]) -> EditedPredictions:
        """See `engines.Engine`."""
        import torch
        from tangermeme.predict import predict

        sequences = torch.from_numpy(edited(X, edits))

        def predicted(size: int) -> tuple[torch.Tensor, torch.Tensor]:
            logits, log_counts = predict(
                self.model.with_controls(), sequences, batch_size=size, dtype=self.dtype, device=self.device
            )
            return logits, log_counts

        with self.model.numerics():
            logits, log_counts = self.batch.run(predicted, self.device)
        return EditedPredictions(logits.double().numpy(), log_counts.double().numpy(), {"engine": self.name})


def centred_effects(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """The change that each base makes, less its mean over the four bases, averaged over the model's outputs.

    What tangermeme does when it is not asked for raw outputs, operation for operation, of one sequence; but in float32
    whatever the model computes in, because a mean that is rounded to bfloat16 leaves scores off their centre by 0.4 %.

    Args:
        before: (1, n_outputs), predictions of the sequence, in any dtype.
        after: (1, 4, width, n_outputs), predictions with one base replaced.

    Returns:
        float32 (4, width).
    """
    effects = after.float() - before.float()[:, None, None]
    effects -= effects.mean(dim=1, keepdim=True)
    return effects.mean(dim=-1)[0]

"""DeepLIFT/SHAP: contributions against dinucleotide shuffles of the same sequence.

What lives here: calling what a model's family offers so that every locus gets the same numbers in any company. What
must not: rules of DeepLIFT, which are cherimoya's, bpnet-lite's and tangermeme's.

Reference k of every sequence is its shuffle with the seed `random_state + k`, whatever else is in the batch. Two things
would still make a locus change with its neighbours, and both are kept out: batches of other shape, which round
differently (so loci go one at a time), and cherimoya's choice between its default and its fast path, which asks a
stopwatch (so the choice here depends on the experiment alone).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cherimoya_assets.analysis.attribution_method import Asked, AttributionMethod
from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, ScoredLocus
from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.errors import ModelError
from cherimoya_assets.section import Positive, Unsigned

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.sequence_model import SequenceModel

PAIRS = 64
"""Sequence-reference pairs in one pass, cherimoya's default. One locus has `n_shuffles` of them."""

LEAST_CORRELATION, LARGEST_DISTANCE = 0.9999, 1e-2
"""cherimoya's own bounds for its fast path against its default one: Pearson's r and relative L2 distance."""


class DeepLiftShap(AttributionMethod):
    """DeepLIFT/SHAP with the parameters of `cherimoya attribute`. All positions are computed, each head for itself.

    Attributes:
        n_shuffles: references of a sequence. random_state: seed of the first.
        warning_threshold: convergence delta from which tangermeme warns; None for never.
        fast: take the family's fast path where it has one: the counts of a Cherimoya, in float32. It does the same
            arithmetic without hooks (3.5 times as fast on a CPU, demo model) and is checked on the first sequence.
    """

    name, title = "deep_lift_shap", "DeepLIFT/SHAP"
    undecisive = frozenset({"warning_threshold"})

    n_shuffles: Positive = 20
    warning_threshold: Annotated[float, Field(gt=0)] | None = 1e-3
    random_state: Unsigned = 0
    fast: bool = True

    def check(self, model: SequenceModel, outputs: Sequence[str], group: int | None, dtype: str) -> None:
        """Raise ModelError where several outputs would be attributed at once, or in a dtype that is not taken."""
        if "counts" in outputs and group is None and len(model.signal_groups) > 1:
            raise ModelError(
                f"{model.path.name}: DeepLIFT/SHAP attributes one output, but this model predicts the counts of "
                f"{len(model.signal_groups)} signal groups. Set group to one of them."
            )
        if dtype not in model.deep_lift_dtypes:
            allowed = " or ".join(model.deep_lift_dtypes)
            raise ModelError(
                f"{model.path.name}: dtype says {dtype}, but DeepLIFT/SHAP of a {model.kind} takes only {allowed}. Set "
                f"dtype to {allowed}."
                if allowed
                else f"{model.path.name}: there is no DeepLIFT/SHAP of a {model.kind}. Set algorithm to another."
            )

    def engine(
        self, model: SequenceModel, *, length: int, batch_size: int | None, dtype: str, device: str
    ) -> DeepLiftEngine:
        """See `AttributionMethod.engine`; a batch is of sequence-reference pairs, None takes PAIRS."""
        return DeepLiftEngine(self, model, Batch(PAIRS if batch_size is None else batch_size), dtype, device)


class DeepLiftEngine:
    """DeepLIFT/SHAP of one model. See `LocusEngine`."""

    name, version, alone = DeepLiftShap.name, 2, False

    def __init__(self, method: DeepLiftShap, model: SequenceModel, batch: Batch, dtype: str, device: str) -> None:
        self.method, self.model, self.batch, self.dtype, self.device = method, model, batch, dtype, device

    def each_locus(self, X: NDArray[np.int8], asked: Asked, stretch: int | None = None) -> LocusByLocus:
        """See `LocusEngine`. One locus follows the other, whatever `stretch` is.

        Raises:
            ModelError: the fast path does not agree with the default one on the first sequence.
        """
        import torch

        sequences = [torch.from_numpy(X[row : row + 1]) for row in range(len(X))]
        facts: dict[str, float | int | str] = {
            "n_shuffles": self.method.n_shuffles,
            "random_state": self.method.random_state,
        }
        paths: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
        with self.model.numerics():
            for head in asked.outputs:
                arguments = {
                    "group": asked.group,
                    "dtype": self.dtype,
                    "device": self.device,
                    **self.method.model_dump(exclude={"fast"}),
                }
                paths[head] = partial(self._default, head, arguments)
                # Where nothing is left to compute, there is nothing to check it on and no engine to make.
                fast = self.model.fast_deep_lift_shap(head, **arguments) if self.method.fast and sequences else None
                if fast is not None:
                    facts |= _agreement(self.model, fast(sequences[0]), paths[head](sequences[0]))
                    paths[head] = fast

        def loci() -> Generator[ScoredLocus, None, None]:
            for row, sequence in enumerate(sequences):
                with self.model.numerics():
                    whole = {head: path(sequence)[0].float().numpy() for head, path in paths.items()}
                yield ScoredLocus(row, {head: scores[:, asked.start : asked.end] for head, scores in whole.items()})

        return LocusByLocus(facts, loci())

    def _default(self, head: str, arguments: dict[str, Any], X: torch.Tensor) -> torch.Tensor:
        def sized(size: int) -> torch.Tensor:
            return self.model.deep_lift_shap(X, head, batch_size=size, **arguments)

        return self.batch.run(sized, self.device)


def _agreement(model: SequenceModel, fast: torch.Tensor, default: torch.Tensor) -> dict[str, float | int | str]:
    """How near the fast path comes to the default one. It is never left silently: a locus would change its path."""
    a, b = fast.double().flatten().numpy(), default.double().flatten().numpy()
    distance = float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-30))
    correlation = float(np.corrcoef(a, b)[0, 1]) if b.any() else float(not a.any())
    if not (correlation >= LEAST_CORRELATION and distance <= LARGEST_DISTANCE):
        raise ModelError(
            f"{model.path.name}: cherimoya's fast DeepLIFT/SHAP does not agree with the default one on the first "
            f"sequence (Pearson {correlation:.6f}, relative distance {distance:.2g}). Set fast to false."
        )
    return {"path": "fast", "fast_relative_distance": distance}

"""What CONTRIBUTING asks of whoever adds a method of attribution, done for a toy: this module, and nothing else.

Hypothetical integrated gradients against 0.25 of every base: the gradient of each head, averaged over `n_points`
between there and the sequence, less its mean over the alphabet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from cherimoya_assets.analysis import methods
from cherimoya_assets.analysis.attribution_method import Asked, AttributionMethod, LocusEngine, Verdict
from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, ScoredLocus
from cherimoya_assets.analysis.sequence_model import SequenceModel
from cherimoya_assets.errors import ModelError
from cherimoya_assets.section import Positive


class IntegratedGradients(AttributionMethod):
    """The toy."""

    name, title = "integrated_gradients", "integrated gradients"
    checks = ("some_gradient",)
    undecisive = frozenset({"n_messages"})

    n_points: Positive = 2
    n_messages: Positive = 1

    def check(self, model: SequenceModel, outputs: Sequence[str], group: int | None, dtype: str) -> None:
        if dtype != "float32":
            raise ModelError(f"{model.path.name}: integrated gradients are computed in float32. Set dtype to float32.")

    def engine(self, model: SequenceModel, **_: Any) -> LocusEngine:
        return _Engine(model, self.n_points)

    def verdicts(self, head: str, scores: np.ndarray, folds: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
        return [Verdict("some_gradient", not scores.size or bool(scores.any()), f"{len(folds)} folds of {head}")]

    def facts(self, head: str, folds: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        return {"points": max(fold["points"] for fold in folds.values())}


class _Engine:
    name, version, alone = "autograd", 1, False

    def __init__(self, model: SequenceModel, n_points: int) -> None:
        self.model, self.n_points = model, n_points

    def each_locus(self, X: np.ndarray, asked: Asked, stretch: int | None = None) -> LocusByLocus:
        def loci():
            for row in range(len(X)):
                whole = {head: self._gradients(X[row], head, asked.group) for head in asked.outputs}
                yield ScoredLocus(row, {head: scores[:, asked.start : asked.end] for head, scores in whole.items()})

        return LocusByLocus({"points": self.n_points}, loci())

    def _gradients(self, one_hot: np.ndarray, head: str, group: int | None) -> np.ndarray:
        import torch

        wrapper = self.model.counts_wrapper(group) if head == "counts" else self.model.profile_wrapper(group)
        parts = torch.linspace(1 / self.n_points, 1, self.n_points)[:, None, None]
        X = (0.25 + parts * (torch.from_numpy(one_hot).float() - 0.25)).requires_grad_()
        wrapper(X).sum().backward()
        gradients = X.grad.mean(dim=0)
        return (gradients - gradients.mean(dim=0, keepdim=True)).numpy()


def add_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on an experiment can ask for it."""
    monkeypatch.setitem(methods.METHODS, IntegratedGradients.name, IntegratedGradients)

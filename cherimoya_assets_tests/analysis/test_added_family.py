"""A family of models that is one class is loaded, checked and attributed like every other."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis import models
from cherimoya_assets.analysis.deep_lift import DeepLiftShap
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.mutagenesis import saturation_mutagenesis
from cherimoya_assets.analysis.sequence_model import SequenceModel
from cherimoya_assets.errors import ModelError
from cherimoya_assets.experiment import ModelFile, read_experiment
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences
from cherimoya_assets_tests.small_models import NamedFile
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

LENGTH = 30


class Linear(torch.nn.Module):
    """Log counts that are a weighted sum of bases, and a flat profile."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(weights)

    def forward(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(X), 1, X.shape[-1]) * X[:, :1], (X * self.weights).sum(dim=(1, 2))[:, None]


class Head(torch.nn.Module):
    """One of the two."""

    def __init__(self, inner: torch.nn.Module, head: int) -> None:
        super().__init__()
        self.inner, self.head = inner, head

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.inner(X)[self.head].flatten(start_dim=1).sum(dim=1, keepdim=True)


class LinearModel(SequenceModel):
    """The family."""

    kind, pickled, matmul_precision, deep_lift_dtypes = "linear", False, "highest", ()

    @classmethod
    def opened(cls, path: Path, content: bytes, fingerprint: str, device: str) -> LinearModel:
        weights = torch.load(io.BytesIO(content), weights_only=True)
        return cls(Linear(weights).to(device).eval(), (1,), 0, 0, path, fingerprint)

    def with_controls(self) -> torch.nn.Module:
        return self.module

    def counts_wrapper(self, group: int | None, inner: torch.nn.Module | None = None) -> torch.nn.Module:
        return Head(inner or self.module, 1)

    def profile_wrapper(self, group: int | None, inner: torch.nn.Module | None = None) -> torch.nn.Module:
        return Head(inner or self.module, 0)

    def windowed_engine(self, **_: Any) -> None:
        return None

    def deep_lift_shap(self, X: torch.Tensor, head: str, **_: Any) -> torch.Tensor:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    monkeypatch.setitem(models.FAMILIES, "linear", LinearModel)


@pytest.fixture
def file(tmp_path) -> NamedFile:
    weights = torch.randn(4, LENGTH, generator=torch.Generator().manual_seed(0))
    torch.save(weights, tmp_path / "linear.torch")
    return NamedFile(tmp_path / "linear.torch", "linear")


def test_it_is_attributed_by_what_it_is(file):
    weights = torch.load(file.path, weights_only=True).double().numpy()
    found = saturation_mutagenesis(load_model(file), random_sequences(3, LENGTH), 5, 25)
    assert found.engine == "tangermeme"
    # A base that is replaced takes its own weight along: what is left is the weight less the mean over the alphabet.
    expected = (weights - weights.mean(axis=0))[:, 5:25]
    np.testing.assert_allclose(found.scores["counts"], np.broadcast_to(expected, (3, 4, 20)), rtol=0, atol=1e-5)
    assert not found.scores["profile"].any()


def test_what_it_cannot_do_is_one_sentence(file):
    with pytest.raises(ModelError, match=r"linear\.torch: .*DeepLIFT/SHAP"):
        DeepLiftShap().check(load_model(file), ("counts",), 0, "float32")


def test_an_experiment_can_name_it_and_no_other(file, tmp_path):
    named = {"path": str(file.path), "kind": "linear"}
    assert read_experiment(tiny_experiment(tmp_path, {"model": named})).model["model"].kind == "linear"
    with pytest.raises(ValueError, match="must be one of 'cherimoya', 'bpnet', 'basepairnet', 'chrombpnet', 'linear'"):
        ModelFile(path=file.path, kind="enformer")

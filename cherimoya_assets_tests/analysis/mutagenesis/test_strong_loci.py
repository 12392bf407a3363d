"""Trained models whose single bases move log counts by 1 to 4, at the loci where windowed mutagenesis is worst.

`strong_loci.npz` holds, of each model, the loci with the largest errors of those in the calibration, and the truth at
every edit, dense float64, as `benchmarks/calibration.py --keep` writes them; models and commands are in
`benchmarks/models`. That the truth is one is held by `dense_truth.py`, which shares no code with it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import cherimoya_assets
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.mutagenesis import TOLERANCE, saturation_mutagenesis
from cherimoya_assets.analysis.sequence_model import SequenceModel
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets_tests.analysis.mutagenesis import dense_truth

pytestmark = pytest.mark.slow

TABLES = np.load(Path(__file__).parent / "strong_loci.npz", allow_pickle=False)
MODELS = Path(cherimoya_assets.__file__).parents[1] / "benchmarks" / "models"
FILES = {"model": DEMO_EXPERIMENT.parent / "model.torch"} | {file.stem: file for file in MODELS.glob("*.torch")}
STRONG = sorted(name.split("/")[0] for name in TABLES.files if name.endswith("/X"))
HEADS = ("counts", "profile")


@cache
def model_of(name: str) -> SequenceModel:
    return load_model(SimpleNamespace(path=FILES[name], kind="cherimoya", trusted=False, sha256=None))


def locus(name: str, row: int) -> tuple[np.ndarray, tuple[int, int], dict[str, np.ndarray]]:
    """Sequence, positions, and the truth of both heads."""
    start, end = TABLES[f"{name}/span"]
    return TABLES[f"{name}/X"][row], (int(start), int(end)), {head: TABLES[f"{name}/{head}"][row] for head in HEADS}


def test_there_are_a_dozen_loci_and_they_are_strong():
    assert sum(len(TABLES[f"{name}/X"]) for name in STRONG) >= 12
    for name in set(STRONG) - {"model"}:
        assert np.ptp(TABLES[f"{name}/counts"], axis=1).max() > 1, name


@pytest.mark.parametrize(("name", "row"), [(name, k) for name in STRONG for k in range(len(TABLES[f"{name}/X"]))])
def test_every_edit_is_within_the_tolerance_and_the_reported_error_above_the_true_one(name, row):
    X, span, truth = locus(name, row)
    result = saturation_mutagenesis(model_of(name), X[None], *span, HEADS)
    for head in HEADS:
        error = dense_truth.relative_error(result.scores[head][0], truth[head])
        assert error <= TOLERANCE
        assert error <= result.report[f"{head}_error_max"] <= TOLERANCE
    assert result.report["dense_edits"] < result.report["edits"] / 3


def test_the_truth_is_that_of_a_pass_that_shares_no_code_with_it():
    X, (start, end), truth = locus("activator", 0)
    found = dense_truth.hypothetical(model_of("activator").module, X, range(start, end), 0)
    for head in HEADS:
        assert dense_truth.relative_error(found[head], truth[head]) < 1e-10


def test_without_dense_edits_these_loci_would_miss(monkeypatch):
    """That the loci above ask something of the fallback: the model of the outside alone is not enough for them."""
    from cherimoya_assets.analysis.mutagenesis.windowed import engine

    def settled(plan, head, windowed):
        return engine._Settled(windowed.rows, ~windowed.rows.there, 0.0)

    monkeypatch.setattr(engine._Plan, "_settled", settled)
    missed = 0
    for name in STRONG:
        for row in range(len(TABLES[f"{name}/X"])):
            X, span, truth = locus(name, row)
            result = saturation_mutagenesis(model_of(name), X[None], *span, HEADS)
            missed += any(dense_truth.relative_error(result.scores[head][0], truth[head]) > TOLERANCE for head in HEADS)
    assert missed >= 6

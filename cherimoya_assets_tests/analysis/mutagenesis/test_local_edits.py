"""Predictions before and after any local edits, against dense predictions of the edited sequences in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.mutagenesis import LocalEdit, local_edit_effects
from cherimoya_assets.analysis.mutagenesis.windowed.certainty import ROUNDING
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.kernels import CpuSequence
from cherimoya_assets.analysis.mutagenesis.windowed.engine import FEW_EDITS
from cherimoya_assets_tests.analysis.mutagenesis import dense_truth
from cherimoya_assets_tests.analysis.mutagenesis.dense_truth import relative_error
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences, strong_model
from cherimoya_assets_tests.demo_inputs import IN_WINDOW, demo_model
from cherimoya_assets_tests.small_models import bpnet_file

pytestmark = pytest.mark.slow

CENTRE = IN_WINDOW // 2
CONSENSUS = ("TTACCCGG", "CACCCATACAT", "GGTTCGAATCC", "CGTATATAGTGAT")


def insertions(n: int) -> list[LocalEdit]:
    """Motifs of several widths in the middle, then random ones around it."""
    edits = [
        LocalEdit(CENTRE - len(word) // 2, np.eye(4, dtype=np.int8)[:, ["ACGT".index(letter) for letter in word]])
        for word in CONSENSUS
    ]
    random = np.random.default_rng(0)
    while len(edits) < n:
        width = int(random.integers(1, 25))
        edits.append(LocalEdit(CENTRE + int(random.integers(-12, 12)), random_sequences(1, width, len(edits))[0]))
    return edits


def true_predictions(model, X, edits):
    return dense_truth.predictions(model.module, np.concatenate([X[None], dense_truth.edited(X, edits)]))


@pytest.mark.parametrize("name", ["a strong peak", "the weakest negative", "poly-AT"])
def test_insertions_into_sequences_of_the_demo(demo_sequences, name):
    X, edits = demo_sequences[name], insertions(70)
    found = local_edit_effects(demo_model(), X, edits)
    assert found.report["engine"] == "windowed" and found.report["dense"] < FEW_EDITS
    assert 0 < found.report["error"] <= 5e-4
    for ours, truth in zip((found.logits, found.log_counts), true_predictions(demo_model(), X, edits), strict=True):
        assert ours.shape == truth.shape and ours.dtype == np.float64
        np.testing.assert_allclose(ours[0], truth[0], rtol=0, atol=5e-6 * np.abs(truth[0]).max())
        assert relative_error(ours[1:] - ours[0], truth[1:] - truth[0]) < 1e-3
        # Of each edit by itself too, in proportion to the largest.
        largest = max(np.linalg.norm(true - truth[0]) for true in truth[1:])
        for one, true in zip(ours[1:], truth[1:], strict=True):
            assert np.linalg.norm((one - ours[0]) - (true - truth[0])) < 1e-3 * largest


@pytest.mark.parametrize("n", [1, 4, FEW_EDITS])
def test_few_are_equal_to_rounding(demo_sequences, n):
    X, edits = demo_sequences["a peak in the middle"], insertions(n)[:n]
    found = local_edit_effects(demo_model(), X, edits)
    assert found.report == {"engine": "windowed", "error": ROUNDING, "dense": n}
    for ours, truth in zip((found.logits, found.log_counts), true_predictions(demo_model(), X, edits), strict=True):
        assert relative_error(ours[1:] - ours[0], truth[1:] - truth[0]) < 2e-5


def test_none_leave_the_sequence_s_own_prediction(demo_sequences):
    X = demo_sequences["a strong peak"]
    found, truth = local_edit_effects(demo_model(), X, []), true_predictions(demo_model(), X, insertions(1))
    assert (found.logits.shape[0], found.log_counts.shape) == (1, (1, 1))
    np.testing.assert_allclose(found.logits[0], truth[0][0], rtol=0, atol=5e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    many=st.booleans(),
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    start=st.integers(0, 239),
    spread=st.integers(1, 120),
    seed=st.integers(0, 1000),
)
def test_edits_of_any_width_anywhere(many, widths, start, spread, seed):
    """Together in one batch, at both ends, over each other's places, over all that the profile sees."""
    model, X = strong_model(n_layers=4, signal_groups=(1, 2), controls=1), random_sequences(1, 240, seed)[0]
    random, edits = np.random.default_rng(seed), []
    for k in range(60 if many else 5):
        width = widths[k % len(widths)]
        place = int(np.clip(start + random.integers(0, spread), 0, 240 - width))
        edits.append(LocalEdit(place, random_sequences(1, width, seed + k + 1)[0]))
    found = local_edit_effects(model, X, edits)
    for ours, truth in zip((found.logits, found.log_counts), true_predictions(model, X, edits), strict=True):
        changes = truth[1:] - truth[0]
        if np.abs(changes).max() > 1e-6:
            assert relative_error(ours[1:] - ours[0], changes) < (1e-3 if many else 2e-5)


def test_columns_without_a_base():
    model, X = strong_model(), random_sequences(1, 200)[0]
    X[:, 90:100] = 0
    edits = [LocalEdit(80 + k // 2, np.zeros((4, 1 + k % 3), dtype=np.int8)) for k in range(70)]
    found = local_edit_effects(model, X, edits)
    for ours, truth in zip((found.logits, found.log_counts), true_predictions(model, X, edits), strict=True):
        assert relative_error(ours[1:] - ours[0], truth[1:] - truth[0]) < 1e-3


def test_what_passes_the_tolerance_goes_dense_and_is_said():
    model, X, edits = strong_model(n_layers=4), random_sequences(1, 240)[0], []
    edits = [LocalEdit(60 + k, random_sequences(1, 5, k)[0]) for k in range(70)]
    found = local_edit_effects(model, X, edits, tolerance=1e-12)
    assert found.report == {"engine": "windowed", "error": 1e-12, "dense": len(edits)}
    for ours, truth in zip((found.logits, found.log_counts), true_predictions(model, X, edits), strict=True):
        assert relative_error(ours[1:] - ours[0], truth[1:] - truth[0]) < 2e-5


def test_a_head_that_fails_alone_goes_dense_alone(monkeypatch):
    """Each head has dense edits of its own: here what the counts are told of the outside is wrong."""
    from cherimoya_assets.analysis.mutagenesis.windowed.cpu.kernels import CpuKernels
    from cherimoya_assets.analysis.mutagenesis.windowed.engine import edit_effects

    add_nodes = CpuSequence.add_nodes

    def spoiled(sequence, shifts):
        add_nodes(sequence, shifts)
        sequence.outside.counts[:] *= 3

    monkeypatch.setattr(CpuSequence, "add_nodes", spoiled)
    model, X = strong_model(n_layers=4), random_sequences(1, 240)[0]
    edits = [LocalEdit(60 + k, random_sequences(1, 5, k)[0]) for k in range(70)]
    check = edit_effects(CpuKernels(model.module), X, edits, ("counts", "profile"), group=None, tolerance=5e-4).check
    assert check.dense["counts"] > 2 * check.dense["profile"]
    found = local_edit_effects(model, X, edits)
    logits, log_counts = true_predictions(model, X, edits)
    assert relative_error(found.log_counts[1:] - found.log_counts[0], log_counts[1:] - log_counts[0]) < 5e-4
    assert relative_error(found.logits[1:] - found.logits[0], logits[1:] - logits[0]) < 1e-3


def test_bpnet_is_windowed_and_equal_to_rounding(tmp_path):
    model, X = load_model(bpnet_file(tmp_path)), random_sequences(1, 150)[0]
    edits = [LocalEdit(60 + k % 20, random_sequences(1, 5, k)[0]) for k in range(60)]
    found = local_edit_effects(model, X, edits)
    assert found.report == {"engine": "windowed"}
    logits, log_counts = model.predict(np.concatenate([X[None], dense_truth.edited(X, edits)]))
    np.testing.assert_allclose(found.logits, logits.numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.log_counts, log_counts.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("keywords", [{"tolerance": 0.0}, {"dtype": "bfloat16"}])
def test_a_cherimoya_goes_dense_where_it_is_told_to(keywords):
    model, X = strong_model(), random_sequences(1, 200)[0]
    edits = [LocalEdit(60 + k, random_sequences(1, 5, k)[0]) for k in range(60)]
    found = local_edit_effects(model, X, edits, **keywords)
    assert found.report == {"engine": "tangermeme"}
    truth = true_predictions(model, X, edits)[0]
    assert relative_error(found.logits, truth) < (1e-5 if "tolerance" in keywords else 0.05)


def test_the_input_is_left_as_it_is():
    X, edits = random_sequences(1, 200)[0], [LocalEdit(60 + k, random_sequences(1, 5, k)[0]) for k in range(60)]
    before = X.copy(), [edit.bases.copy() for edit in edits]
    local_edit_effects(strong_model(), X, edits)
    np.testing.assert_array_equal(X, before[0])
    for edit, bases in zip(edits, before[1], strict=True):
        np.testing.assert_array_equal(edit.bases, bases)

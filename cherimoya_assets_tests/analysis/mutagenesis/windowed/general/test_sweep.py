"""Edits through the network: with the whole sequence as their window they are exact, with less nearly so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cherimoya_assets.analysis.mutagenesis import LocalEdit
from cherimoya_assets.analysis.mutagenesis.windowed.general import arithmetic
from cherimoya_assets.analysis.mutagenesis.windowed.general.network import read_network
from cherimoya_assets.analysis.mutagenesis.windowed.general.outside import first_order, with_nodes
from cherimoya_assets.analysis.mutagenesis.windowed.general.reference import reference_pass
from cherimoya_assets.analysis.mutagenesis.windowed.general.sweep import Edits, Swept, sweep
from cherimoya_assets_tests.analysis.mutagenesis import dense_truth
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences, strong_model

HEADS = ("counts", "profile")
FORMS = {
    "one block": ({"n_layers": 1}, 200),
    "two blocks, no trimming": ({"n_layers": 2, "trimming": 0}, 120),
    "groups and controls": ({"signal_groups": (1, 2), "controls": 2, "residual_scale": 1.0}, 220),
    "five blocks, narrow": ({"n_layers": 5, "n_filters": 10, "expansion": 1}, 260),
    "five blocks, wide": ({"n_layers": 5, "n_filters": 16, "expansion": 4, "residual_scale": 0.15}, 260),
    "shorter than the last dilation": ({"n_layers": 6, "trimming": 4}, 26),
}
every_form = pytest.mark.parametrize(("shape", "length"), FORMS.values(), ids=FORMS)


def edits_of(X: np.ndarray, start: int, new: np.ndarray) -> tuple[Edits, list[LocalEdit]]:
    """New bases (E, 4, width) at one place, for a sweep and for the truth."""
    change = torch.from_numpy(new - X[:, start : start + new.shape[2]])
    return Edits(start, change), [LocalEdit(start, bases) for bases in new]


def places(length: int, width: int) -> list[int]:
    return sorted({0, 3, length // 2, length - width - 3, length - width})


def swept(shape, X, edits, dtype=torch.float64, *, heads=HEADS, dense=True, nodes=None) -> Swept:
    network = read_network(strong_model(**shape).module, dtype, "cpu")
    with torch.no_grad():
        reference = reference_pass(network, torch.from_numpy(X).to(dtype))
        model = first_order(network, reference)
        if nodes is not None:
            model = with_nodes(network, reference, model, nodes)
        edits = Edits(edits.start, edits.change.to(dtype))
        return sweep(network, reference, None if dense else model, edits, heads=heads)


def true_changes(shape, X, edits) -> dict[str, np.ndarray]:
    module = strong_model(**shape).module
    logits, log_counts = dense_truth.predictions(module, np.concatenate([X[None], dense_truth.edited(X, edits)]))
    return {"logits": logits[1:] - logits[0], "log_counts": log_counts[1:] - log_counts[0]}


def assert_equal(found: Swept, truth: dict[str, np.ndarray], exact: float) -> None:
    for name, expected in truth.items():
        scale = np.abs(expected).max()
        assert scale > 1e-4
        np.testing.assert_allclose(getattr(found, name), expected, rtol=0, atol=exact * scale)


@every_form
def test_exact_with_the_whole_sequence_as_window(shape, length):
    """In float64, of edits everywhere, at both ends too."""
    X = random_sequences(1, length)[0]
    for start in places(length, 3):
        edits, made = edits_of(X, start, random_sequences(4, 3, seed=start + 1))
        assert_equal(swept(shape, X, edits), true_changes(shape, X, made), 1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n_layers=st.integers(1, 5),
    n_filters=st.integers(1, 12),
    expansion=st.integers(1, 4),
    residual_scale=st.sampled_from([0.05, 0.15, 1.0]),
    groups=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    controls=st.integers(0, 2),
    trimming=st.integers(0, 20),
    output=st.integers(1, 120),
    width=st.integers(1, 30),
    where=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_exact_for_any_network_and_edit(
    n_layers, n_filters, expansion, residual_scale, groups, controls, trimming, output, width, where, seed
):
    shape = {
        "n_layers": n_layers,
        "n_filters": n_filters,
        "expansion": expansion,
        "residual_scale": residual_scale,
        "signal_groups": groups,
        "controls": controls,
        "trimming": trimming,
        "seed": seed,
    }
    length = output + 2 * trimming
    X, width = random_sequences(1, length, seed)[0], min(width, length)
    edits, made = edits_of(X, int(where * (length - width)), random_sequences(2, width, seed + 1))
    truth = true_changes(shape, X, made)
    for name, found in (("logits", swept(shape, X, edits).logits), ("log_counts", swept(shape, X, edits).log_counts)):
        np.testing.assert_allclose(found, truth[name], rtol=0, atol=1e-10 * (1 + np.abs(truth[name]).max()))


@every_form
def test_a_window_that_has_grown_over_the_sequence_is_exact_too(shape, length):
    """There is no outside then, whatever the model says of it."""
    X = random_sequences(1, length)[0][:, : min(length, 48)]
    shape = {**shape, "trimming": 4}
    edits, made = edits_of(X, 2, random_sequences(2, X.shape[1] - 5, seed=1))
    assert_equal(swept(shape, X, edits, dense=False), true_changes(shape, X, made), 1e-9)


@every_form
def test_nearly_exact_on_a_window_whose_outside_is_known(shape, length):
    """With the edits' own shifts as nodes next to nothing is left out; order one alone leaves more."""
    X = random_sequences(1, length)[0]
    for start in places(length, 1):
        edits, made = edits_of(X, start, np.eye(4, dtype=np.int8)[:, :, None])
        edits = Edits(start, edits.change[edits.change.abs().sum(dim=(1, 2)) > 0])
        made = [edit for edit in made if not np.array_equal(edit.bases, X[:, start : start + 1])]
        truth, exact = true_changes(shape, X, made), swept(shape, X, edits)
        found = swept(shape, X, edits, dense=False, nodes=exact.shifts)
        linear = swept(shape, X, edits, dense=False)
        # The shorter the sequence the larger a shift, and far more so its third order.
        assert_equal(found, truth, 2e-5 if length > 100 else 1e-2)
        if shape.get("n_layers", 3) > 1:
            left = [np.linalg.norm(known.logits.numpy() - truth["logits"]) for known in (found, linear)]
            assert left[0] < 0.2 * left[1]


@every_form
def test_shifts_are_the_changes_of_the_statistics(shape, length):
    X = random_sequences(1, length)[0]
    edits, made = edits_of(X, length // 2, random_sequences(3, 2, seed=7))
    sequences = np.concatenate([X[None], dense_truth.edited(X, made)])
    before, *after = dense_truth.statistics(strong_model(**shape).module, sequences)
    truth = np.array(after) - before
    truth[:, 1::2] /= before[1::2]
    np.testing.assert_allclose(swept(shape, X, edits).shifts, truth, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dense", [True, False])
def test_a_head_alone_has_the_bits_that_it_has_beside_the_other(dense):
    shape, X = {"signal_groups": (1, 2)}, random_sequences(1, 240)[0]
    edits, _ = edits_of(X, 100, random_sequences(6, 2, seed=2))
    both = swept(shape, X, edits, torch.float32, dense=dense)
    counts = swept(shape, X, edits, torch.float32, heads=("counts",), dense=dense)
    profile = swept(shape, X, edits, torch.float32, heads=("profile",), dense=dense)
    neither = swept(shape, X, edits, torch.float32, heads=(), dense=dense)
    assert counts.logits is None and profile.log_counts is None
    assert neither.logits is None and neither.log_counts is None
    assert torch.equal(counts.log_counts, both.log_counts) and torch.equal(profile.logits, both.logits)
    assert torch.equal(neither.shifts, both.shifts)


def test_tiles_of_one_row_change_rounding_only(monkeypatch):
    X = random_sequences(1, 240)[0]
    edits, made = edits_of(X, 100, random_sequences(6, 2, seed=2))
    monkeypatch.setattr(arithmetic, "TILE_BYTES", 1)
    assert_equal(swept({}, X, edits), true_changes({}, X, made), 1e-9)

"""The reference engine, against tangermeme called on everything at once and against edits made one by one by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.attribution_method import Asked
from cherimoya_assets.analysis.locus_by_locus import collect
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.mutagenesis.method import SaturationMutagenesis
from cherimoya_assets.analysis.mutagenesis.tangermeme_engine import TangermemeEngine, centred_effects
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import fresh_model, strong_model
from cherimoya_assets_tests.small_models import IN_WINDOW, bpnet_file, cherimoya_file, chrombpnet_file

START, END = 68, 80
HEADS = ("counts", "profile")
MAKERS = {
    "cherimoya": cherimoya_file,
    "several groups and controls": lambda folder: cherimoya_file(folder, signal_groups=(1, 2), controls=2),
    "bpnet": bpnet_file,
    "chrombpnet": chrombpnet_file,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {name: load_model(make(tmp_path_factory.mktemp("models"))) for name, make in MAKERS.items()}


def sequences(n: int, seed: int = 0) -> np.ndarray:
    letters = np.random.default_rng(seed).integers(0, 4, (n, IN_WINDOW))
    return np.ascontiguousarray(np.eye(4, dtype=np.int8)[letters].transpose(0, 2, 1))


def scores(model, X, heads=HEADS, group=0, batch_size=None, dtype="float32", progress=None, span=(START, END)):
    engine = TangermemeEngine(model, length=IN_WINDOW, batch_size=batch_size, dtype=dtype, device="cpu")
    work = engine.each_locus(X, Asked(*span, tuple(heads), group))
    return collect(work, (len(X), 4, span[1] - span[0]), heads, progress)[0]


def wrapper(model, head, group):
    return model.counts_wrapper(group) if head == "counts" else model.profile_wrapper(group)


def assert_equal_to_rounding(ours, theirs):
    assert ours.dtype == np.float32
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("cherimoya", 0),
        ("several groups and controls", 0),
        ("several groups and controls", 1),
        ("several groups and controls", None),
        ("bpnet", 0),
        ("bpnet", None),
        ("chrombpnet", 0),
    ],
)
def test_equals_tangermeme_on_all_sequences_at_once(models, name, group, head):
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    X = sequences(4)
    theirs = saturation_mutagenesis(
        wrapper(models[name], head, group),
        torch.from_numpy(X),
        start=START,
        end=END,
        hypothetical=True,
        device="cpu",
    )
    assert_equal_to_rounding(scores(models[name], X, group=group)[head], theirs.numpy())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["several groups and controls", "bpnet"])
def test_equals_edits_made_by_hand(models, name, head):
    """Base by base: predict with it, subtract the prediction without, centre over the alphabet."""
    X, predict = sequences(2), wrapper(models[name], head, 0)
    expected = np.zeros((len(X), 4, END - START))
    with torch.no_grad():
        for row, base, position in np.ndindex(expected.shape):
            edited = X[row].copy()
            edited[:, START + position] = np.eye(4)[base]
            after, before = predict(torch.from_numpy(np.stack([edited, X[row]])).float()).double().flatten()
            expected[row, base, position] = after - before
    expected -= expected.mean(axis=1, keepdims=True)
    assert_equal_to_rounding(scores(models[name], X)[head], expected)


def test_a_locus_has_the_same_bits_in_any_company(models):
    X = sequences(5)
    together = scores(models["several groups and controls"], X)
    for company in ([2], [4, 2], [2, 2, 2], [3, 1, 2, 0, 4]):
        alone = scores(models["several groups and controls"], X[company])
        for head in HEADS:
            np.testing.assert_array_equal(alone[head], together[head][company])


def test_a_head_has_the_same_bits_alone_and_beside_the_other(models):
    X = sequences(2)
    together = scores(models["cherimoya"], X)
    for head in HEADS:
        alone = scores(models["cherimoya"], X, heads=(head,))
        assert list(alone) == [head]
        np.testing.assert_array_equal(alone[head], together[head])


def test_both_heads_cost_one_sweep(models):
    model, sequences_seen = models["cherimoya"], []
    handle = model.module.register_forward_hook(lambda _, inputs, __: sequences_seen.append(len(inputs[0])))
    scores(model, sequences(2))
    handle.remove()
    # Each locus itself, and three other bases at each position; tangermeme 1.6 predicts all four.
    assert sum(sequences_seen) <= 2 * (1 + 4 * (END - START))


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_batch_size_changes_rounding_only(models, batch_size):
    X = sequences(2)
    expected = scores(models["bpnet"], X)
    for head, values in scores(models["bpnet"], X, batch_size=batch_size).items():
        assert_equal_to_rounding(values, expected[head])


@pytest.mark.parametrize("span", [(0, 3), (IN_WINDOW - 3, IN_WINDOW), (20, 21)])
def test_a_position_has_the_same_scores_in_any_span(models, span):
    X = sequences(1)
    whole = scores(models["chrombpnet"], X, span=(0, IN_WINDOW))
    for head, values in scores(models["chrombpnet"], X, span=span).items():
        atol = 2e-5 * np.abs(whole[head]).max()
        np.testing.assert_allclose(values, whole[head][:, :, slice(*span)], rtol=0, atol=atol)


def test_half_precision_is_near_and_differs(models):
    X = sequences(2)
    exact, half = (scores(models["cherimoya"], X, dtype=dtype)["profile"] for dtype in ("float32", "bfloat16"))
    assert not np.array_equal(exact, half)
    assert np.corrcoef(exact.ravel(), half.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", [*MAKERS, "strong", "fresh"])
def test_scores_in_half_precision_are_centred_and_pass_their_own_check(models, name, dtype):
    """The model's predictions are rounded, and the mean over the alphabet is not."""
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    model = {"strong": strong_model, "fresh": fresh_model}[name]() if name not in models else models[name]
    X = sequences(1)
    for head, found in scores(model, X, dtype=dtype).items():
        (verdict, _) = SaturationMutagenesis().verdicts(head, found, {"fold": {}})
        assert verdict.passed, verdict.seen
        before, after = saturation_mutagenesis(
            wrapper(model, head, 0),
            torch.from_numpy(X),
            start=START,
            end=END,
            raw_outputs=True,
            dtype=dtype,
            device="cpu",
        )
        expected = (after.double() - before.double()[:, None, None]).mean(dim=-1)
        expected -= expected.mean(dim=1, keepdim=True)
        assert expected.abs().max() > 0
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_mean_over_the_alphabet_is_not_rounded_as_predictions_are(dtype):
    """Predictions near zero, where the dtype has digits that their mean would lose."""
    after = torch.randn(1, 4, 50, 1, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    found = centred_effects(torch.zeros(1, 1, dtype=after.dtype), after)
    assert found.dtype == torch.float32
    expected = after.double() - after.double().mean(dim=1, keepdim=True)
    torch.testing.assert_close(found.double(), expected[0, ..., 0], rtol=0, atol=1e-6)


def test_no_sequences_are_a_valid_input(models):
    told = []
    found = scores(models["cherimoya"], sequences(0), progress=lambda *now: told.append(now))
    for head in HEADS:
        assert (found[head].shape, found[head].dtype) == ((0, 4, END - START), np.float32)
    assert told == []


def test_progress_is_told_after_each_locus(models):
    told = []
    scores(models["cherimoya"], sequences(3), progress=lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)]

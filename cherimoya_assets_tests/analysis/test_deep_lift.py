"""DeepLIFT/SHAP, against cherimoya's and bpnet-lite's functions and against the predictions that it must add up to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.deep_lift import DeepLiftShap
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.errors import ModelError
from cherimoya_assets_tests.small_models import (
    IN_WINDOW,
    NamedFile,
    basepairnet_file,
    bpnet_file,
    cherimoya_file,
    chrombpnet_file,
)

START, END = 60, 90
HEADS = ("counts", "profile")
SHUFFLES, SEED = 4, 7
MAKERS = {
    "cherimoya": cherimoya_file,
    "several groups and controls": lambda folder: cherimoya_file(folder, signal_groups=(1, 2), controls=2),
    "bpnet": bpnet_file,
    "basepairnet": basepairnet_file,
    "chrombpnet": chrombpnet_file,
}

# bpnet-lite has an elementwise rule for its profile head, and tangermeme says at each call that it does not add up.
pytestmark = pytest.mark.filterwarnings("ignore:Convergence deltas are:RuntimeWarning")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {name: load_model(make(tmp_path_factory.mktemp("models"))) for name, make in MAKERS.items()}


def sequences(n: int, seed: int = 0) -> np.ndarray:
    letters = np.random.default_rng(seed).integers(0, 4, (n, IN_WINDOW))
    return np.ascontiguousarray(np.eye(4, dtype=np.int8)[letters].transpose(0, 2, 1))


def attributed(model, X, heads=HEADS, span=(START, END), **changes):
    own = {"n_shuffles": SHUFFLES, "random_state": SEED, "warning_threshold": None}
    own |= {name: changes.pop(name) for name in list(changes) if name in DeepLiftShap.model_fields}
    return DeepLiftShap(**own).attribute(model, X, *span, heads, **changes)


def assert_equal_to_rounding(ours, theirs):
    assert ours.dtype == np.float32
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("cherimoya", 0),
        ("cherimoya", None),
        ("several groups and controls", 0),
        ("several groups and controls", 1),
    ],
)
def test_a_cherimoya_equals_cherimoya_on_all_sequences_at_once(models, name, group, head, fast):
    from cherimoya.deep_lift_shap import deep_lift_shap as theirs

    X = sequences(6)
    expected = theirs(
        models[name].module,
        torch.from_numpy(X),
        output="logcounts" if head == "counts" else "profile",
        group=group,
        batch_size=9,
        n_shuffles=SHUFFLES,
        hypothetical=True,
        warning_threshold=None,
        device="cpu",
        random_state=SEED,
    )[:, :, START:END]
    scores, report = attributed(models[name], X, heads=(head,), group=group, fast=fast)
    assert_equal_to_rounding(scores[head], expected.numpy())
    # The fast path is no default path under another name.
    assert ("path" in report) == (fast and head == "counts")


def as_bpnet_attribute(path, head, X, **arguments):
    """The calls of the command `bpnet attribute` of bpnet-lite 1.1.0, in their order."""
    from bpnetlite.attribute import deep_lift_shap
    from bpnetlite.bpnet import ControlWrapper, CountWrapper, ProfileWrapper
    from bpnetlite.chrombpnet import ChromBPNet

    model = torch.load(path, weights_only=False)
    dtype = torch.float64 if head == "profile" or isinstance(model, ChromBPNet) else torch.float32
    if model.n_control_tracks > 0:
        model = ControlWrapper(model)
    wrapper = (CountWrapper if head == "counts" else ProfileWrapper)(model)
    found = deep_lift_shap(
        wrapper.type(dtype),
        torch.from_numpy(X).type(dtype),
        hypothetical=True,
        device="cpu",
        verbose=False,
        **arguments,
    )
    assert found.dtype == dtype
    return found.numpy()


@pytest.mark.parametrize("strength", [1, 4])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["bpnet", "basepairnet", "chrombpnet"])
def test_a_bpnet_has_the_numbers_of_bpnet_attribute(models, name, head, strength, tmp_path):
    module = torch.load(models[name].path, weights_only=False)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(strength**0.5)
    torch.save(module, tmp_path / "model.torch")
    model = load_model(NamedFile.trusting(tmp_path / "model.torch", models[name].kind))
    own = {"n_shuffles": SHUFFLES, "random_state": SEED, "warning_threshold": float("inf")}
    X = sequences(3)
    scores, report = attributed(model, X, heads=(head,))
    with model.numerics():
        alone = [as_bpnet_attribute(model.path, head, X[[row]], batch_size=64, **own) for row in range(3)]
        together = as_bpnet_attribute(model.path, head, X, batch_size=5, **own)
    np.testing.assert_array_equal(scores[head], np.concatenate(alone)[:, :, START:END].astype(np.float32))
    # float64 leaves next to nothing of how sequences are batched, where float32 leaves up to 1 % of the highest base.
    expected = together[:, :, START:END]
    np.testing.assert_allclose(scores[head], expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert "path" not in report
    # And the model goes on in float32.
    assert model.predict(X)[0].dtype == torch.float32


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("several groups and controls", "counts"),
        ("several groups and controls", "profile"),
        ("bpnet", "counts"),
        ("chrombpnet", "counts"),
    ],
)
def test_contributions_add_up_to_the_change_against_the_shuffles(models, name, head, fast):
    """SHAP's completeness: summed over the bases that are there, prediction less the mean over the references."""
    from tangermeme.ersatz import dinucleotide_shuffle

    model, X = models[name], sequences(3)
    predict = model.counts_wrapper(0) if head == "counts" else model.profile_wrapper(0)
    batch = torch.from_numpy(X)
    references = torch.stack(
        [
            torch.cat([dinucleotide_shuffle(one[None], n=1, random_state=SEED + k)[0] for k in range(SHUFFLES)])
            for one in batch
        ]
    )
    with torch.no_grad():
        before = predict(references.flatten(0, 1).float()).reshape(len(X), SHUFFLES).mean(dim=1)
        change = (predict(batch.float())[:, 0] - before).numpy()
    scores, _ = attributed(model, X, heads=(head,), span=(0, IN_WINDOW), fast=fast)
    assert np.abs(change).min() > 0
    np.testing.assert_allclose((scores[head] * X).sum(axis=(1, 2)), change, rtol=1e-2, atol=1e-2 * np.abs(change).max())


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", MAKERS)
def test_a_locus_has_the_same_bits_in_any_company(models, name, fast):
    X = sequences(4)
    together, _ = attributed(models[name], X, fast=fast)
    for company in ([2], [3, 2], [2, 2], [3, 1, 2, 0]):
        alone, _ = attributed(models[name], X[company], fast=fast)
        for head in HEADS:
            np.testing.assert_array_equal(alone[head], together[head][company])


@pytest.mark.parametrize("batch_size", [1, 3, 500])
def test_the_batch_size_changes_rounding_only(models, batch_size):
    X = sequences(2)
    expected, _ = attributed(models["several groups and controls"], X)
    found, _ = attributed(models["several groups and controls"], X, batch_size=batch_size)
    for head in HEADS:
        assert_equal_to_rounding(found[head], expected[head])


def test_the_seed_and_the_number_of_shuffles_matter_and_are_reported(models):
    X = sequences(1)
    base, report = attributed(models["bpnet"], X)
    assert (report["n_shuffles"], report["random_state"]) == (SHUFFLES, SEED)
    again, _ = attributed(models["bpnet"], X)
    for changes in ({"random_state": SEED + 1}, {"n_shuffles": SHUFFLES + 1}):
        other, changed = attributed(models["bpnet"], X, **changes)
        assert changes.items() <= changed.items()
        for head in HEADS:
            np.testing.assert_array_equal(again[head], base[head])
            assert not np.array_equal(other[head], base[head])


@pytest.mark.parametrize("fast", [True, False])
def test_a_convergence_delta_above_the_threshold_is_warned_of(models, fast):
    with pytest.warns(RuntimeWarning, match=r"(?i)convergence deltas?"):
        attributed(models["cherimoya"], sequences(1), heads=("counts",), warning_threshold=1e-12, fast=fast)


def test_a_fast_path_that_disagrees_is_an_error_and_not_a_silent_change(models, monkeypatch):
    from cherimoya._deep_lift_shap_engine import Engine

    run = Engine.run

    def wrong(self, *arguments, **keywords):
        result = run(self, *arguments, **keywords)
        return result._replace(attr=result.attr.flip(-1))

    monkeypatch.setattr(Engine, "run", wrong)
    with pytest.raises(ModelError, match=r"fast DeepLIFT/SHAP does not agree .*\(Pearson .*\)\. Set fast to false\.$"):
        attributed(models["cherimoya"], sequences(2), heads=("counts",))
    attributed(models["cherimoya"], sequences(2), heads=("counts",), fast=False)


def test_without_sequences_no_fast_engine_is_made(models, monkeypatch):
    from cherimoya import _deep_lift_shap_engine

    monkeypatch.setattr(_deep_lift_shap_engine, "Engine", lambda *_, **__: pytest.fail("an engine was made"))
    scores, _ = attributed(models["cherimoya"], sequences(0), heads=("counts",))
    assert scores["counts"].shape == (0, 4, END - START)


def test_counts_of_all_groups_at_once_are_refused_in_a_sentence(models):
    with pytest.raises(ModelError, match=r"attributes one output, but .* counts of 2 signal groups\. Set group to one"):
        attributed(models["several groups and controls"], sequences(1), group=None)
    scores, _ = attributed(models["several groups and controls"], sequences(1), heads=("profile",), group=None)
    assert np.abs(scores["profile"]).max() > 0


@pytest.mark.parametrize("name", ["bpnet", "basepairnet", "chrombpnet"])
def test_a_dtype_that_bpnet_lite_does_not_take_is_refused(models, name):
    sentence = rf": dtype says bfloat16, but DeepLIFT/SHAP of a {name} takes only float32\. Set dtype to float32\.$"
    with pytest.raises(ModelError, match=sentence):
        attributed(models[name], sequences(1), dtype="bfloat16")


def test_half_precision_is_near_and_differs(models):
    X = sequences(2)
    exact, _ = attributed(models["cherimoya"], X)
    half, report = attributed(models["cherimoya"], X, dtype="bfloat16")
    assert "path" not in report
    for head in HEADS:
        assert not np.array_equal(exact[head], half[head])
        assert np.corrcoef(exact[head].ravel(), half[head].ravel())[0, 1] > 0.95


@pytest.mark.parametrize("name", MAKERS)
def test_no_sequences_are_a_valid_input(models, name):
    told = []
    scores, report = attributed(models[name], sequences(0), progress=lambda *now: told.append(now))
    for head in HEADS:
        assert (scores[head].shape, scores[head].dtype) == ((0, 4, END - START), np.float32)
    assert told == []
    assert report["loci_per_second"] == 0


def test_progress_is_told_after_each_locus(models):
    told = []
    attributed(models["bpnet"], sequences(3), progress=lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)]

"""Saturation mutagenesis of a Cherimoya: near the dense truth on every kind of sequence, network and span."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.mutagenesis import TOLERANCE, MutagenesisResult, saturation_mutagenesis
from cherimoya_assets.analysis.mutagenesis.windowed import engine
from cherimoya_assets.analysis.mutagenesis.windowed.engine import FEW_EDITS
from cherimoya_assets_tests.analysis.mutagenesis.dense_truth import hypothetical, relative_error
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import fresh_model, random_sequences, strong_model
from cherimoya_assets_tests.demo_inputs import ATTR_WINDOW, IN_WINDOW, demo_model
from cherimoya_assets_tests.small_models import bpnet_file

pytestmark = pytest.mark.slow

HEADS = ("counts", "profile")
WORST, MEDIAN = 1e-3, 1e-4
"""The promise: relative L2 error of a locus at the most, and in the median of loci."""

START, END = (IN_WINDOW - ATTR_WINDOW) // 2, (IN_WINDOW + ATTR_WINDOW) // 2
STEP = 20
"""Of the positions that are compared, from one end of the window to the other; the engine computes all."""


@dataclass(frozen=True)
class Demo:
    """Names, sequences (n, 4, 718), and the truth of every 20th position: head to (n, 4, 20)."""

    names: list[str]
    X: np.ndarray
    truth: dict[str, np.ndarray]

    def errors(self, result: MutagenesisResult, head: str) -> np.ndarray:
        """Of each sequence, of the head."""
        found = result.scores[head][:, :, ::STEP]
        return np.array([relative_error(*pair) for pair in zip(found, self.truth[head], strict=True)])


@pytest.fixture(scope="module")
def demo(demo_sequences) -> Demo:
    X = np.stack(list(demo_sequences.values()))
    truths = [hypothetical(demo_model().module, sequence, range(START, END, STEP), 0) for sequence in X]
    return Demo(list(demo_sequences), X, {head: np.stack([truth[head] for truth in truths]) for head in HEADS})


@pytest.fixture(scope="module")
def windowed(demo) -> MutagenesisResult:
    return saturation_mutagenesis(demo_model(), demo.X, START, END)


@pytest.fixture
def order_one_alone(monkeypatch):
    """No nodes, no dense edits, no check."""

    def settled(plan, head, windowed):
        return engine._Settled(windowed.rows, ~windowed.rows.there, 0.0)

    monkeypatch.setattr(engine, "NODES", (0, 0))
    monkeypatch.setattr(engine._Plan, "_settled", settled)


class TestTrainedModel:
    @pytest.mark.parametrize("head", HEADS)
    def test_within_the_promise_at_every_locus_and_in_the_median(self, demo, windowed, head):
        errors = dict(zip(demo.names, demo.errors(windowed, head), strict=True))
        assert {name: error for name, error in errors.items() if error > WORST} == {}
        assert np.median(list(errors.values())) <= MEDIAN
        # Not of sequences without a signal alone: of real loci too.
        assert np.median([error for name, error in errors.items() if "peak" in name]) <= MEDIAN

    @pytest.mark.parametrize("head", HEADS)
    def test_order_one_alone_is_not_good_enough(self, demo, head, order_one_alone):
        """Which is why there are nodes. On fresh weights it would be, see below."""
        real = [k for k, name in enumerate(demo.names) if "peak" in name]
        part = Demo([demo.names[k] for k in real], demo.X[real], {head: demo.truth[head][real]})
        errors = part.errors(saturation_mutagenesis(demo_model(), part.X, START, END, (head,)), head)
        assert np.median(errors) > 2 * MEDIAN
        if head == "counts":
            assert errors.max() > WORST

    def test_it_was_windowed_and_says_so(self, demo, windowed):
        report = windowed.report
        assert windowed.engine == "windowed"
        assert report["edits"] == 3 * ATTR_WINDOW * len(demo.X)
        assert 9 * len(demo.X) <= report["dense_edits"] < report["edits"] / 20
        assert report["loci_mostly_dense"] == 0 and "fallback" not in report

    @pytest.mark.parametrize("head", HEADS)
    def test_the_reported_error_is_above_the_true_one_and_within_the_tolerance(self, demo, windowed, head):
        for row, error in enumerate(demo.errors(windowed, head)):
            alone = saturation_mutagenesis(demo_model(), demo.X[[row]], START, END).report
            assert error < alone[f"{head}_error_max"] <= windowed.report[f"{head}_error_max"] <= TOLERANCE

    def test_not_worse_than_tangermeme_in_float32(self, demo, windowed):
        for row in (0, demo.names.index("the weakest negative"), demo.names.index("poly-CG")):
            theirs = [
                saturation_mutagenesis(
                    demo_model(), demo.X[row : row + 1], position, position + 1, HEADS, group=0, tolerance=0
                ).scores
                for position in range(START, END, STEP)
            ]
            for head in HEADS:
                their_error = relative_error(
                    np.stack([s[head][0, :, 0] for s in theirs], axis=1), demo.truth[head][row]
                )
                assert demo.errors(windowed, head)[row] <= their_error + MEDIAN


SHAPES = {
    "one block": ({"n_layers": 1}, 200),
    "two blocks, default scale": ({"n_layers": 2, "n_filters": 16, "residual_scale": 0.15}, 240),
    "controls": ({"controls": 3}, 250),
    "four blocks": ({"n_layers": 4, "n_filters": 16, "residual_scale": 1.0}, 330),
    "five blocks, no expansion": ({"n_layers": 5, "n_filters": 12, "expansion": 1}, 400),
    "five blocks, expansion of four": ({"n_layers": 5, "n_filters": 16, "expansion": 4}, 420),
    "shorter than the last dilation": ({"n_layers": 6, "trimming": 3}, 30),
    "all of it read": ({"trimming": 0}, 150),
}


class TestNetworks:
    """Strong weights; see `strong_models` for why not fresh ones."""

    @pytest.mark.parametrize(("shape", "length"), SHAPES.values(), ids=SHAPES)
    def test_every_position_of_any_network(self, shape, length):
        model, X = strong_model(**shape), random_sequences(2, length)
        found = saturation_mutagenesis(model, X, 0, length)
        assert found.engine == "windowed"
        positions = range(0, length, 7)
        for row in range(len(X)):
            truth = hypothetical(model.module, X[row], positions, 0)
            for head in HEADS:
                assert relative_error(found.scores[head][row][:, ::7], truth[head]) <= WORST
        assert found.report["loci_mostly_dense"] == 0 or length < 100

    @pytest.mark.parametrize("group", [0, 1, 2, None])
    def test_signal_groups(self, group):
        model, X = strong_model(signal_groups=(1, 2, 1), controls=1), random_sequences(1, 250)
        truth = hypothetical(model.module, X[0], range(60, 200, 7), group)
        found = saturation_mutagenesis(model, X, 60, 200, group=group)
        for head in HEADS:
            assert relative_error(found.scores[head][0][:, ::7], truth[head]) <= WORST

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, 40), (210, 250), (0, 250), (100, 101), (0, 1), (249, 250), (0, 16), (0, 17)],
    )
    def test_spans_at_both_edges_and_of_any_width(self, start, end):
        model, X = strong_model(residual_scale=1.0), random_sequences(1, 250)
        positions = range(start, end, 5)
        truth = hypothetical(model.module, X[0], positions, 0)
        found = saturation_mutagenesis(model, X, start, end)
        exact = WORST if 3 * (end - start) > FEW_EDITS else 1e-5
        for head in HEADS:
            assert found.scores[head].shape == (1, 4, end - start) and found.scores[head].dtype == np.float32
            assert relative_error(found.scores[head][0][:, ::5], truth[head]) <= exact

    def test_a_column_without_a_base_has_four_edits(self):
        model, X = strong_model(), random_sequences(1, 250)
        X[0, :, 100:110] = 0
        truth = hypothetical(model.module, X[0], range(90, 120, 3), 0)
        found = saturation_mutagenesis(model, X, 60, 200)
        for head in HEADS:
            assert relative_error(found.scores[head][0][:, 30:60:3], truth[head]) <= WORST

    def test_fresh_weights_would_prove_nothing(self, order_one_alone):
        """Order one is within the promise there, and so would any test of nodes be."""
        errors = {}
        for name, model in {"fresh": fresh_model(), "strong": strong_model(residual_scale=1.0)}.items():
            X = random_sequences(1, 250)
            truth = hypothetical(model.module, X[0], range(60, 200, 7), 0)
            found = saturation_mutagenesis(model, X, 60, 200)
            errors[name] = relative_error(found.scores["profile"][0][:, ::7], truth["profile"])
        assert errors["fresh"] < MEDIAN < errors["strong"]

    def test_a_network_without_blocks_goes_to_tangermeme(self):
        model, X = strong_model(n_layers=0), random_sequences(1, 150)
        truth = hypothetical(model.module, X[0], range(60, 80), 0)
        found = saturation_mutagenesis(model, X, 60, 80)
        assert found.engine == "tangermeme"
        for head in HEADS:
            assert relative_error(found.scores[head][0], truth[head]) < 1e-4


class TestFallback:
    """More in `windowed/test_engine.py`; here what a materialization is told of it."""

    model, X = strong_model(n_layers=4, residual_scale=1.0), random_sequences(3, 250)

    def test_loci_that_take_long_are_named(self):
        found = saturation_mutagenesis(self.model, self.X, 100, 140, tolerance=1e-12)
        assert (found.report["edits"], found.report["dense_edits"]) == (360, 360)
        assert found.report["loci_mostly_dense"] == 3 and found.report["counts_error_max"] == 1e-12
        assert found.report["fallback"] == (
            "at 3 of 3 loci more than a quarter of the edits had to be computed densely (row 0: 120 of 120); the "
            "scores are within the tolerance of 1e-12, but took longer: rows 0, 1, 2"
        )
        for row, sequence in enumerate(self.X):
            truth = hypothetical(self.model.module, sequence, range(100, 140, 3), 0)
            for head in HEADS:
                assert relative_error(found.scores[head][row][:, ::3], truth[head]) < 2e-5

    def test_no_more_than_twenty_of_them(self):
        X = random_sequences(22, 120)
        found = saturation_mutagenesis(strong_model(n_layers=1), X, 50, 65, ("counts",), tolerance=1e-12)
        assert found.report["fallback"].endswith(
            "rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19 and 2 more"
        )

    def test_few_edits_are_dense_without_a_word(self):
        """That is the shorter way, and no surprise."""
        report = saturation_mutagenesis(self.model, self.X, 100, 110).report
        assert report["dense_edits"] == report["edits"] == 90
        assert report["loci_mostly_dense"] == 0 and "fallback" not in report

    def test_a_tolerance_of_none_is_tangermeme_s(self):
        found = saturation_mutagenesis(self.model, self.X[:1], 100, 104, tolerance=0)
        assert found.engine == "tangermeme"
        half = saturation_mutagenesis(self.model, self.X[:1], 100, 104, dtype="bfloat16")
        assert half.engine == "tangermeme"

    def test_a_model_that_predicts_nan_is_never_given_numbers(self):
        model = strong_model()
        with torch.no_grad():
            model.module.blocks[1].linear1.weight[0, 0] = float("nan")
        found = saturation_mutagenesis(model, self.X, 100, 130)
        for head in HEADS:
            assert np.isnan(found.scores[head]).all()
        assert found.report["dense_edits"] == found.report["edits"] == 270


@pytest.fixture
def threads():
    """A function that sets torch's, put back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


class TestBits:
    model, X = strong_model(n_layers=4, signal_groups=(1, 2)), random_sequences(4, 250)

    def scores(self, rows, heads=HEADS):
        return saturation_mutagenesis(self.model, self.X[rows], 60, 200, heads).scores

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_a_sequence_has_the_same_in_any_company_on_any_number_of_threads(self, n, threads):
        alone = [self.scores([row]) for row in range(4)]
        threads(n)
        for company in ([0], [2, 0], [3, 3, 1], [1, 3, 0, 2]):
            found = self.scores(company)
            for k, row in enumerate(company):
                for head in HEADS:
                    np.testing.assert_array_equal(found[head][k], alone[row][head][0])
        assert torch.get_num_threads() == n

    def test_a_head_has_the_same_alone(self):
        both = self.scores([0, 1])
        for head in HEADS:
            alone = self.scores([0, 1], (head,))
            assert list(alone) == [head]
            np.testing.assert_array_equal(alone[head], both[head])

    def test_the_demo_too(self, demo, windowed):
        row = demo.names.index("a peak in the middle")
        alone = saturation_mutagenesis(demo_model(), demo.X[row : row + 1], START, END, ("profile",))
        np.testing.assert_array_equal(alone.scores["profile"][0], windowed.scores["profile"][row])


def test_nothing_to_do():
    told = []
    for n, span in ((0, (60, 200)), (2, (60, 60))):
        found = saturation_mutagenesis(
            strong_model(), random_sequences(n, 250), *span, progress=lambda *now: told.append(now)
        )
        for head in HEADS:
            assert (found.scores[head].shape, found.scores[head].dtype) == ((n, 4, span[1] - span[0]), np.float32)
        assert (found.report["dense_edits"], found.report["counts_error_max"]) == (0, 0)
    # Two loci of which nothing is asked are done all the same.
    assert told == [(1, 2), (2, 2)]


def test_progress_is_told_after_each_locus():
    told = []
    saturation_mutagenesis(strong_model(), random_sequences(3, 250), 60, 80, progress=lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_input_is_left_as_it_is():
    X = random_sequences(1, 250)
    before = X.copy()
    saturation_mutagenesis(strong_model(), X, 60, 80)
    np.testing.assert_array_equal(X, before)


def test_bpnet_is_windowed_and_in_half_precision_tangermeme_s(tmp_path):
    from cherimoya_assets.analysis.models import load_model

    model = load_model(bpnet_file(tmp_path))
    assert saturation_mutagenesis(model, random_sequences(1, 150), 60, 64).engine == "windowed"
    assert saturation_mutagenesis(model, random_sequences(1, 150), 60, 64, dtype="bfloat16").engine == "tangermeme"

"""A sequence's edits: checked against the dense way, done over where the check fails, and halved where memory ends."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.mutagenesis import LocalEdit
from cherimoya_assets.analysis.mutagenesis.windowed import engine
from cherimoya_assets.analysis.mutagenesis.windowed.engine import FEW_EDITS, NODES, EditEffects, edit_effects
from cherimoya_assets.analysis.mutagenesis.windowed.network import read_network
from cherimoya_assets.errors import DeviceError
from cherimoya_assets_tests.analysis.mutagenesis import dense_truth
from cherimoya_assets_tests.analysis.mutagenesis.dense_truth import relative_error
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences, strong_model

HEADS = ("counts", "profile")
SHAPE = {"n_layers": 4, "n_filters": 10, "residual_scale": 1.0, "signal_groups": (1, 2)}
X = random_sequences(1, 260)[0]
BASES = np.eye(4, dtype=np.int8)[:, :, None]


def substitutions(positions) -> list[LocalEdit]:
    pairs = [LocalEdit(p, bases) for p in positions for bases in BASES]
    return [edit for edit in pairs if not np.array_equal(edit.bases[:, 0], X[:, edit.start])]


EDITS = substitutions(range(60, 200, 2))


def effects(
    edits=EDITS, heads=HEADS, *, module=None, dtype=torch.float32, tolerance=1.0, group=0, size=24
) -> EditEffects:
    network = read_network(strong_model(**SHAPE).module if module is None else module, dtype, "cpu")
    return edit_effects(network, X, edits, heads, group=group, tolerance=tolerance, batch=Batch(size))[1]


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    return dense_truth.effects(strong_model(**SHAPE).module, X, EDITS, 0)


@pytest.fixture(scope="module")
def attempts() -> dict[str, tuple[float, ...]]:
    """Head to the errors of the two attempts, which nothing can satisfy here."""
    rejected = effects(tolerance=1e-12).check.rejected
    return {head: tuple(errors) for head, errors in rejected.items()}


def assert_true(found: EditEffects, truth, exact: float) -> None:
    for head, expected in truth.items():
        assert relative_error(found.scores[head], expected) < exact


class TestFewEdits:
    edits = EDITS[:FEW_EDITS]

    @pytest.mark.parametrize("group", [0, 1, None])
    def test_go_the_dense_way_and_are_exact(self, group, monkeypatch):
        monkeypatch.setattr(engine, "with_nodes", None)
        truth = dense_truth.effects(strong_model(**SHAPE).module, X, self.edits, group)
        found = effects(self.edits, dtype=torch.float64, tolerance=1e-12, group=group)
        assert_true(found, truth, 1e-9)
        assert (found.check.dense, found.check.checked, found.check.rejected) == (HEADS, len(self.edits), {})
        assert_true(effects(self.edits, group=group), truth, 2e-5)

    def test_one_more_is_windowed(self):
        assert effects(EDITS[: FEW_EDITS + 1]).check.dense == ()


class TestCheck:
    def test_windowed_effects_are_near_the_truth_and_the_check_says_how_near(self, truth):
        found = effects()
        assert found.check.dense == () and found.check.rejected == {}
        for head, expected in truth.items():
            error = relative_error(found.scores[head], expected)
            assert error < 1e-3
            assert error / 4 < found.check.errors[head] < 4 * error

    def test_what_is_checked(self, monkeypatch):
        """Of each head the largest effect, and the largest shift; some more, spread over all others."""
        swept, original = [], engine.sweep

        def listening(network, reference, outside, edits, *, heads, dense=False):
            if dense:
                swept.append(edits)
            return original(network, reference, outside, edits, heads=heads, dense=dense)

        monkeypatch.setattr(engine, "sweep", listening)
        found = effects(size=1000)
        checked = {
            (edits.start + p, tuple(one[:, p].tolist())) for edits in swept for one in edits.change for p in moved(one)
        }
        assert len(checked) == found.check.checked >= 2 + 5
        for head in HEADS:
            edit = EDITS[int(np.abs(found.scores[head]).argmax())]
            change = (edit.bases[:, 0] - X[:, edit.start]).astype(float)
            assert (edit.start, tuple(change)) in checked
        starts = [start for start, _ in checked]
        assert min(starts) < 90 and max(starts) > 170

    @pytest.mark.parametrize("head", HEADS)
    def test_a_head_has_the_bits_that_it_has_beside_the_other(self, head, attempts):
        for tolerance in (1.0, attempts[head][0] * 0.999, 1e-12):
            alone, both = (effects(heads=heads, tolerance=tolerance) for heads in ((head,), HEADS))
            np.testing.assert_array_equal(alone.scores[head], both.scores[head])
            assert list(alone.scores) == [head]


def moved(change: torch.Tensor) -> list[int]:
    """Positions of a change (4, width) where it is one."""
    return change.abs().sum(dim=0).nonzero()[:, 0].tolist()


class TestFallback:
    def test_a_tolerance_that_nothing_meets_sends_all_the_dense_way(self, truth, attempts):
        found = effects(tolerance=1e-12)
        assert set(found.check.dense) == set(HEADS)
        assert found.check.errors == dict.fromkeys(HEADS, 0.0)
        assert {head: len(errors) for head, errors in attempts.items()} == dict.fromkeys(HEADS, len(NODES))
        assert all(1e-12 < error < 1e-2 for errors in attempts.values() for error in errors)
        assert_true(found, truth, 2e-5)
        assert_true(effects(tolerance=1e-12, dtype=torch.float64), truth, 1e-9)

    @pytest.mark.parametrize("head", HEADS)
    def test_more_nodes_where_they_are_enough(self, head, truth, monkeypatch):
        """Here the first attempt is order one alone."""
        original = engine.with_nodes

        def first_in_vain(network, reference, linear, nodes):
            return linear if len(nodes) <= NODES[0] else original(network, reference, linear, nodes)

        monkeypatch.setattr(engine, "with_nodes", first_in_vain)
        first, second = effects(heads=(head,), tolerance=1e-12).check.rejected[head]
        assert 2 * second < first
        found = effects(heads=(head,), tolerance=(first + second) / 2)
        assert found.check.dense == ()
        assert found.check.rejected == {head: [pytest.approx(first, rel=0.05)]}
        assert found.check.errors[head] == pytest.approx(second, rel=0.05)
        better, worse = (relative_error(f.scores[head], truth[head]) for f in (found, effects(heads=(head,))))
        assert better < worse

    def test_each_head_for_itself(self, attempts):
        """The one that meets the tolerance stays; the other is done over."""
        (easy, low), (hard, high) = sorted(
            ((head, min(errors)) for head, errors in attempts.items()), key=lambda pair: pair[1]
        )
        assert max(attempts[easy]) < high
        found = effects(tolerance=(max(attempts[easy]) + high) / 2)
        assert found.check.dense == (hard,)
        assert list(found.check.rejected) == [hard] and found.check.errors[hard] == 0 < low <= found.check.errors[easy]

    @pytest.mark.parametrize("wrong", ["fields", "sums", "nothing outside"])
    def test_a_wrong_outside_is_seen_and_mended(self, wrong, truth, monkeypatch):
        """Whatever is wrong with the model of the outside, the numbers come out right."""
        original = engine.with_nodes

        def spoiled(network, reference, linear, nodes):
            model = original(network, reference, linear, nodes)
            if wrong == "fields":
                levels = tuple(replace(level, fields=2 * level.fields) for level in model.levels)
                return replace(model, levels=levels)
            if wrong == "sums":
                return replace(
                    model, sums=(None, *(replace(s, cross=-s.cross, first=-s.first) for s in model.sums[1:]))
                )
            none = tuple(replace(level, fields=0 * level.fields) for level in model.levels)
            return replace(
                model, levels=none, shifted_logits=0 * model.shifted_logits, shifted_counts=0 * model.shifted_counts
            )

        monkeypatch.setattr(engine, "with_nodes", spoiled)
        found = effects(tolerance=1e-3)
        assert set(found.check.dense) == set(HEADS)
        assert all(min(errors) > 1e-3 for errors in found.check.rejected.values())
        assert_true(found, truth, 2e-5)


class TestMemory:
    """An error of the device stands where memory ends; a CPU has none of its own."""

    def limited(self, monkeypatch, most: int) -> list[int]:
        sizes, original = [], engine.sweep

        def sweep(network, reference, outside, edits, *, heads, dense=False):
            sizes.append(len(edits.change))
            if len(edits.change) > most:
                raise torch.OutOfMemoryError("no more")
            return original(network, reference, outside, edits, heads=heads, dense=dense)

        monkeypatch.setattr(engine, "sweep", sweep)
        return sizes

    @pytest.mark.parametrize("tolerance", [1.0, 1e-12])
    def test_the_batch_is_halved_and_the_results_are_the_same(self, tolerance, monkeypatch):
        expected = effects(size=24, tolerance=tolerance)
        sizes = self.limited(monkeypatch, 4)
        found = effects(size=24, tolerance=tolerance)
        # A size that was too large is not tried again.
        too_large = [size for size in sizes if size > 4]
        assert len(too_large) >= 2 and all(b <= a // 2 for a, b in pairwise(too_large))
        for head in HEADS:
            # Another batch rounds otherwise; nothing else may differ, and nothing be lost, doubled or moved.
            assert relative_error(found.scores[head], expected.scores[head]) < 1e-4
        assert found.check.dense == expected.check.dense and found.check.checked == expected.check.checked

    def test_one_edit_that_does_not_fit_ends_it(self, monkeypatch):
        sizes = self.limited(monkeypatch, 0)
        with pytest.raises(DeviceError, match=r"^cpu: has not enough free memory for even one .*\(no more\)\. Free"):
            effects(size=8)
        assert sizes[-1] == 1

    def test_other_errors_are_not_taken_for_it(self, monkeypatch):
        def sweep(*args, **keywords):
            raise RuntimeError("something else")

        monkeypatch.setattr(engine, "sweep", sweep)
        with pytest.raises(RuntimeError, match="something else"):
            effects()


class TestNoNumbers:
    @pytest.mark.parametrize("edits", [EDITS, EDITS[:9]], ids=["many", "few"])
    @pytest.mark.parametrize(
        ("weight", "heads"),
        [
            ("iconv.weight", HEADS),
            ("iconv.bias", HEADS),
            ("blocks.0.conv.conv_weight", HEADS),
            ("blocks.2.linear1.weight", HEADS),
            ("blocks.3.linear2.weight", HEADS),
            ("linear.weight", ("counts",)),
            ("linear.bias", ("counts",)),
            ("fconv.weight", ("profile",)),
            ("fconv.bias", ("profile",)),
        ],
    )
    @pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
    def test_a_weight_that_is_none_makes_all_effects_none(self, weight, heads, edits, wrong):
        module = strong_model(**SHAPE).module
        with torch.no_grad():
            dict(module.named_parameters())[weight].view(-1)[0] = wrong
        found = effects(edits, module=module)
        for head in HEADS:
            assert np.isnan(found.scores[head]).all() == (head in heads)
            assert np.isfinite(found.scores[head]).all() == (head not in heads)
            assert (head in found.check.dense) == (head in heads or len(edits) <= FEW_EDITS)

    def test_none_from_the_model_of_the_outside_goes_dense(self, truth, monkeypatch):
        original = engine.with_nodes

        def spoiled(network, reference, linear, nodes):
            model = original(network, reference, linear, nodes)
            fields = model.levels[-1].fields.clone()
            fields[5, 0, 0] = float("nan")
            return replace(model, levels=(*model.levels[:-1], replace(model.levels[-1], fields=fields)))

        monkeypatch.setattr(engine, "with_nodes", spoiled)
        found = effects(tolerance=1.0)
        for head, expected in truth.items():
            assert np.isfinite(found.scores[head]).all()
            assert relative_error(found.scores[head], expected) < 1e-3


class TestNothingToDo:
    unchanged = tuple(LocalEdit(p, X[:, p : p + 2].copy()) for p in range(60, 160))

    @pytest.mark.parametrize("many", [100, 10])
    def test_edits_that_change_nothing_do_nothing(self, many):
        found = effects(self.unchanged[:many], tolerance=1e-6)
        for head in HEADS:
            assert not found.scores[head].any() and found.check.errors[head] == 0

    def test_among_others_too(self, truth):
        found = effects([*self.unchanged, *EDITS])
        for head, expected in truth.items():
            assert not found.scores[head][:100].any()
            assert relative_error(found.scores[head][100:], expected) < 1e-3

    @pytest.mark.parametrize("silent", ["iconv.weight", "linear2"])
    def test_a_network_that_does_not_see_the_sequence_or_has_no_shifts(self, silent):
        module = strong_model(**SHAPE).module
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if silent in name:
                    parameter.zero_()
        found = effects(module=module)
        expected = dense_truth.effects(module, X, EDITS, 0)
        for head in HEADS:
            np.testing.assert_allclose(
                found.scores[head], expected[head], rtol=0, atol=1e-14 + 1e-5 * np.abs(expected[head]).max()
            )


def test_edits_in_any_order_and_far_apart(truth):
    order = np.random.default_rng(0).permutation(len(EDITS))
    found = effects([EDITS[k] for k in order])
    for head, expected in truth.items():
        assert relative_error(found.scores[head], expected[order]) < 1e-3


def test_one_edit_at_a_time_and_all_at_once(truth):
    for size in (1, 10_000):
        assert_true(effects(size=size), truth, 1e-3)

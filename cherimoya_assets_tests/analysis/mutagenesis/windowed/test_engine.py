"""The plan for one sequence: what goes dense, what is checked, and that no fault of the outside's model gets by."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.mutagenesis import LocalEdit
from cherimoya_assets.analysis.mutagenesis.windowed.certainty import DRAWN, LEAST_CERTAIN
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.kernels import CpuKernels, CpuSequence
from cherimoya_assets.analysis.mutagenesis.windowed.engine import FEW_EDITS, NODES, EditEffects, edit_effects
from cherimoya_assets.analysis.mutagenesis.windowed.general.kernels import GeneralKernels, GeneralSequence
from cherimoya_assets.errors import DeviceError
from cherimoya_assets_tests.analysis.mutagenesis import dense_truth
from cherimoya_assets_tests.analysis.mutagenesis.dense_truth import relative_error
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences, strong_model

HEADS = ("counts", "profile")
SHAPE = {"n_layers": 4, "n_filters": 10, "residual_scale": 1.0, "signal_groups": (1, 2)}
X = random_sequences(1, 260)[0]
BASES = np.eye(4, dtype=np.int8)[:, :, None]
EXACT = 2e-5
"""Of dense edits in float32."""


def substitutions(positions) -> list[LocalEdit]:
    pairs = [LocalEdit(p, bases) for p in positions for bases in BASES]
    return [edit for edit in pairs if not np.array_equal(edit.bases[:, 0], X[:, edit.start])]


EDITS = substitutions(range(60, 200, 2))


def effects(edits=EDITS, heads=HEADS, *, module=None, exact=False, tolerance=5e-4, group=0, size=24) -> EditEffects:
    """With the compiled kernels, or in float64."""
    module = strong_model(**SHAPE).module if module is None else module
    kernels = GeneralKernels(module, torch.float64, "cpu", Batch(size)) if exact else CpuKernels(module)
    return edit_effects(kernels, X, edits, heads, group=group, tolerance=tolerance)


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    return dense_truth.effects(strong_model(**SHAPE).module, X, EDITS, 0)


def errors(found: EditEffects, truth) -> dict[str, float]:
    return {head: relative_error(found.scores[head], truth[head]) for head in found.scores}


class TestFewEdits:
    edits = EDITS[:FEW_EDITS]

    @pytest.mark.parametrize("group", [0, 1, None])
    def test_go_the_dense_way_and_are_exact(self, group):
        truth = dense_truth.effects(strong_model(**SHAPE).module, X, self.edits, group)
        found = effects(self.edits, exact=True, tolerance=1e-12, group=group)
        assert max(errors(found, truth).values()) < 1e-9
        assert found.check.dense == dict.fromkeys(HEADS, FEW_EDITS)
        assert (found.check.errors, found.check.nodes) == (dict.fromkeys(HEADS, 1e-12), 0)
        assert max(errors(effects(self.edits, group=group), truth).values()) < EXACT

    def test_one_more_is_windowed(self):
        check = effects(EDITS[: FEW_EDITS + 1], tolerance=1.0).check
        assert check.nodes >= NODES[0] and max(check.dense.values()) <= FEW_EDITS


@pytest.mark.slow
class TestPlan:
    @pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4])
    def test_within_the_tolerance_and_the_reported_error_is_above_the_true_one(self, tolerance, truth):
        found = effects(tolerance=tolerance)
        for head, error in errors(found, truth).items():
            assert error < found.check.errors[head] <= tolerance

    def test_the_smaller_the_tolerance_the_more_is_dense_and_the_smaller_the_error(self, truth):
        found = [effects(tolerance=tolerance) for tolerance in (1e-2, 1e-4, 1e-5)]
        for head in HEADS:
            dense = [one.check.dense[head] for one in found]
            assert LEAST_CERTAIN + DRAWN - 1 <= dense[0] < dense[1] < dense[2] <= len(EDITS)
            wrong = [errors(one, truth)[head] for one in found]
            assert wrong[0] > 1.5 * wrong[1] > 6 * wrong[2]

    def test_what_nothing_meets_is_dense_as_a_whole(self, truth):
        found = effects(tolerance=1e-12)
        assert found.check.dense == dict.fromkeys(HEADS, len(EDITS))
        assert found.check.errors == dict.fromkeys(HEADS, 1e-12)
        assert max(errors(found, truth).values()) < EXACT
        assert max(errors(effects(tolerance=1e-12, exact=True), truth).values()) < 1e-9

    def test_the_general_kernels_take_the_same_way(self, truth):
        found = effects(exact=True)
        for head, error in errors(found, truth).items():
            assert error < found.check.errors[head] <= 5e-4
            # Rounding may decide about an edit, and no more.
            assert abs(found.check.dense[head] - effects().check.dense[head]) <= 5

    @pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-12])
    @pytest.mark.parametrize("head", HEADS)
    def test_a_head_has_the_bits_that_it_has_beside_the_other(self, head, tolerance):
        alone, both = (effects(heads=heads, tolerance=tolerance) for heads in ((head,), HEADS))
        np.testing.assert_array_equal(alone.scores[head], both.scores[head])
        assert list(alone.scores) == [head]
        assert alone.check.dense == {head: both.check.dense[head]}

    def test_dense_edits_mend_their_like(self, truth, monkeypatch):
        """What a dense edit was off by corrects the others that shift alike."""
        from cherimoya_assets.analysis.mutagenesis.windowed import kriging

        found = errors(effects(tolerance=1e-2), truth)
        monkeypatch.setattr(kriging.Process, "weights", lambda process, rows: np.zeros((len(EDITS), len(rows))))
        alone = errors(effects(tolerance=1e-2), truth)
        assert 2 * found["counts"] < alone["counts"] and 1.1 * found["profile"] < alone["profile"]

    def test_logits_and_log_counts_are_those_of_the_scores(self, truth):
        module = strong_model(**SHAPE).module
        found = edit_effects(CpuKernels(module), X, EDITS, HEADS, group=None, tolerance=5e-4, keep_logits=True)
        logits, log_counts = dense_truth.predictions(module, np.concatenate([X[None], dense_truth.edited(X, EDITS)]))
        assert relative_error(found.logit_changes, logits[1:] - logits[0]) < 5e-4
        assert relative_error(found.log_count_changes, log_counts[1:] - log_counts[0]) < 5e-4
        np.testing.assert_allclose(found.scores["counts"], found.log_count_changes.mean(axis=1), rtol=0, atol=1e-12)


class TestWrongOutside:
    """Whatever is wrong with the model of the outside, the numbers come out right."""

    @pytest.mark.parametrize("wrong", ["fields", "sums", "read out", "no residuals"])
    def test_it_is_seen_and_mended(self, wrong, truth, monkeypatch):
        add_nodes = CpuSequence.add_nodes

        def spoiled(sequence, shifts):
            add_nodes(sequence, shifts)
            outside, first = sequence.outside, 2 * sequence.kernels.n_blocks
            if wrong == "fields":
                outside.fields[:] *= 1.5
            if wrong == "sums":
                outside.first[:] *= -1
                outside.cross[:] *= -1
            if wrong == "read out":
                outside.counts[:] *= 2
                outside.logits[:] *= 2
            if wrong == "no residuals":
                outside.interpolation[:] = 0
                outside.counts[:, first:] = 0

        honest = effects(tolerance=1e-3)
        monkeypatch.setattr(CpuSequence, "add_nodes", spoiled)
        found = effects(tolerance=1e-3)
        for head, error in errors(found, truth).items():
            assert error <= 1e-3
            assert error <= found.check.errors[head] or found.check.dense[head] == len(EDITS)
        assert sum(found.check.dense.values()) > sum(honest.check.dense.values())

    def test_no_numbers_from_it_go_dense(self, truth, monkeypatch):
        add_nodes = CpuSequence.add_nodes

        def spoiled(sequence, shifts):
            add_nodes(sequence, shifts)
            sequence.outside.fields[-3000:] = np.nan

        monkeypatch.setattr(CpuSequence, "add_nodes", spoiled)
        found = effects()
        for head in HEADS:
            assert np.isfinite(found.scores[head]).all()
        assert max(errors(found, truth).values()) < 5e-4


@pytest.mark.slow
class TestMemory:
    """An error of the device stands where memory ends; a CPU has none of its own."""

    def limited(self, monkeypatch, most: int) -> list[int]:
        sizes, swept = [], GeneralSequence._swept

        def limited(sequence, edits, rows, heads, dense, keep_logits):
            sizes.append(len(rows))
            if len(rows) > most:
                raise torch.OutOfMemoryError("no more")
            return swept(sequence, edits, rows, heads, dense, keep_logits)

        monkeypatch.setattr(GeneralSequence, "_swept", limited)
        return sizes

    @pytest.mark.parametrize(("tolerance", "near"), [(1e-2, 5e-4), (1e-12, 1e-9)])
    def test_the_batch_is_halved_and_the_results_are_the_same(self, tolerance, near, monkeypatch):
        expected = effects(EDITS[:90], exact=True, tolerance=tolerance)
        sizes = self.limited(monkeypatch, 1)
        found = effects(EDITS[:90], exact=True, tolerance=tolerance)
        # A size that was too large is not tried again.
        too_large = [size for size in sizes if size > 1]
        assert len(too_large) >= 2 and all(b <= a // 2 for a, b in pairwise(too_large))
        for head in HEADS:
            # The windows of other batches are others; nothing may be lost, doubled or moved.
            assert relative_error(found.scores[head], expected.scores[head]) < near
        assert found.check.dense == expected.check.dense

    def test_one_edit_that_does_not_fit_ends_it(self, monkeypatch):
        sizes = self.limited(monkeypatch, 0)
        with pytest.raises(DeviceError, match=r"^cpu: does not have enough .* for even one .*\(no more\)\. Free"):
            effects(exact=True, size=8)
        assert sizes[-1] == 1

    def test_other_errors_are_not_taken_for_it(self, monkeypatch):
        def swept(*args, **keywords):
            raise RuntimeError("something else")

        monkeypatch.setattr(GeneralSequence, "_swept", swept)
        with pytest.raises(RuntimeError, match="something else"):
            effects(exact=True)


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
            assert found.check.dense[head] == len(edits) or head not in heads


class TestNothingToDo:
    unchanged = tuple(LocalEdit(p, X[:, p : p + 2].copy()) for p in range(60, 160))

    def test_no_edits(self):
        found = effects([])
        assert [len(found.scores[head]) for head in HEADS] == [0, 0]
        assert (found.check.errors, found.check.edits) == (dict.fromkeys(HEADS, 0.0), 0)
        assert found.log_count_changes.shape == (0, 2) and found.logit_changes.shape[0] == 0

    @pytest.mark.parametrize("many", [100, 10])
    def test_edits_that_change_nothing_do_nothing(self, many):
        found = effects(self.unchanged[:many], tolerance=1e-6)
        for head in HEADS:
            assert not found.scores[head].any() and found.check.errors[head] <= 1e-6

    def test_among_others_too(self, truth):
        found = effects([*self.unchanged, *EDITS])
        for head, expected in truth.items():
            # Corrections may reach them, within the tolerance.
            assert np.linalg.norm(found.scores[head][:100]) < 5e-4 * np.linalg.norm(expected)
            assert relative_error(found.scores[head][100:], expected) < 5e-4

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
                found.scores[head], expected[head], rtol=0, atol=1e-14 + EXACT * np.abs(expected[head]).max()
            )


def test_edits_in_any_order_and_far_apart(truth):
    order = np.random.default_rng(0).permutation(len(EDITS))
    found = effects([EDITS[k] for k in order])
    for head, expected in truth.items():
        assert relative_error(found.scores[head], expected[order]) < found.check.errors[head] <= 5e-4


@pytest.mark.parametrize("size", [1, 10_000])
def test_one_edit_at_a_time_and_all_at_once(size, truth):
    assert max(errors(effects(exact=True, size=size), truth).values()) < 5e-4

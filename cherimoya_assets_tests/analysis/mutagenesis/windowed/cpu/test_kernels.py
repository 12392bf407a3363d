"""The compiled kernels against the general ones in float64, piece by piece, of networks and windows of all kinds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.mutagenesis import LocalEdit
from cherimoya_assets.analysis.mutagenesis.edit_table import edit_table
from cherimoya_assets.analysis.mutagenesis.windowed.cpu import kernels as module
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.kernels import CpuKernels
from cherimoya_assets.analysis.mutagenesis.windowed.general.kernels import GeneralKernels
from cherimoya_assets.analysis.mutagenesis.windowed.kernels import ROOM
from cherimoya_assets.analysis.side_by_side import each_alone
from cherimoya_assets_tests.analysis.mutagenesis import dense_truth
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences, strong_model

HEADS = ("counts", "profile")
FORMS = {
    "one block": ({"n_layers": 1}, 200),
    "two blocks, no trimming": ({"n_layers": 2, "trimming": 0}, 120),
    "groups and controls": ({"signal_groups": (1, 2), "controls": 2, "residual_scale": 1.0}, 220),
    "five blocks, narrow": ({"n_layers": 5, "n_filters": 10, "expansion": 1}, 260),
    "five blocks, wide": ({"n_layers": 5, "n_filters": 16, "expansion": 4, "residual_scale": 0.15}, 260),
    "channels that fill a vector": ({"n_layers": 4, "n_filters": 32}, 240),
    "shorter than the last dilation": ({"n_layers": 6, "trimming": 4}, 26),
}
every_form = pytest.mark.parametrize(("shape", "length"), FORMS.values(), ids=FORMS)


def both(shape, X, group=0):
    model = strong_model(**shape).module
    return CpuKernels(model).begin(X, group), GeneralKernels(model, torch.float64, "cpu", Batch(12)).begin(X, group)


def everywhere(length: int, apart: int = 7) -> list[LocalEdit]:
    """Edits at both ends and between, five at a place, far enough apart that both kernels sweep a place by itself."""
    step = max(apart, 20)
    places = [0, *range(3 + step, length - 3 - step, step), length - 3]
    bases = random_sequences(5 * len(places), 3, seed=3)
    return [LocalEdit(place, bases[5 * k + e]) for k, place in enumerate(places) for e in range(5)]


def assert_near(found, truth, exact):
    found, truth = np.asarray(found, float), np.asarray(truth, float)
    assert found.shape == truth.shape
    np.testing.assert_allclose(found, truth, rtol=0, atol=exact * np.abs(truth).max())


@every_form
def test_the_unedited_sequence(shape, length):
    (X,) = random_sequences(1, length)
    ours, _ = both(shape, X)
    logits, log_counts = dense_truth.predictions(strong_model(**shape).module, X[None])
    assert_near(ours.logits, logits[0], 5e-6)
    assert_near(ours.log_counts, log_counts[0], 5e-6)


@every_form
def test_metric_nodes_and_what_order_one_leaves(shape, length):
    (X,) = random_sequences(1, length)
    ours, theirs = both(shape, X, None)
    assert_near(ours.metric, theirs.metric, 2e-6)
    nodes = 0.1 * np.random.default_rng(0).normal(size=(7, len(ours.metric)))
    for part in (nodes[:5], nodes[5:]):
        # In two portions, of which one is more than is made at a time and one less.
        ours.add_nodes(part)
        theirs.add_nodes(part)
    np.testing.assert_array_equal(ours.nodes, nodes)
    for head in HEADS:
        assert_near(ours.residual_scores(HEADS)[head], theirs.residual_scores(HEADS)[head], 1e-4)


@every_form
@pytest.mark.parametrize("group", [0, None])
def test_dense_edits_are_exact(shape, length, group):
    (X,) = random_sequences(1, length)
    edits = everywhere(length)
    ours, _ = both(shape, X, group)
    chosen = np.arange(len(edits))[::-1].copy()
    found = ours.sweep(edit_table(X, edits), chosen, HEADS, dense=True, keep_logits=True)
    model = strong_model(**shape).module
    truth = dense_truth.predictions(model, np.concatenate([X[None], dense_truth.edited(X, edits)]))
    assert_near(found.logits, (truth[0][1:] - truth[0][0])[chosen], 2e-5)
    assert_near(found.log_counts, (truth[1][1:] - truth[1][0])[chosen], 2e-5)
    effects = dense_truth.effects(model, X, edits, group)
    for head in HEADS:
        assert_near(found.scores[head], effects[head][chosen], 2e-5)


@every_form
@pytest.mark.parametrize("nodes", [0, 4])
def test_windows_are_those_of_the_general_kernels(shape, length, nodes):
    (X,) = random_sequences(1, length)
    ours, theirs = both(shape, X)
    table, chosen = edit_table(X, everywhere(length)), np.arange(len(everywhere(length)))
    shifts = theirs.sweep(table, chosen, (), dense=True).shifts
    for sequence in (ours, theirs):
        _ = sequence.metric
        sequence.add_nodes(shifts[:nodes])
    found = ours.sweep(table, chosen, HEADS, keep_logits=True)
    wanted = theirs.sweep(table, chosen, HEADS, keep_logits=True)
    for name in ("shifts", "log_counts", "logits"):
        assert_near(getattr(found, name), getattr(wanted, name), 3e-5)
    for head in HEADS:
        assert_near(found.scores[head], wanted.scores[head], 3e-5)
    # And the window is not the whole sequence, or this says nothing.
    if length > 100 and shape.get("n_layers", 3) > 1:
        dense = ours.sweep(table, chosen, HEADS, dense=True, keep_logits=True)
        assert np.abs(found.logits - dense.logits).max() > 5 * np.abs(found.logits - wanted.logits).max()


@pytest.mark.parametrize("dense", [True, False])
def test_a_head_alone_has_the_bits_that_it_has_beside_the_other(dense):
    (X,) = random_sequences(1, 240)
    table = edit_table(X, everywhere(240))
    chosen = np.arange(len(table.starts))

    def swept(heads):
        sequence, _ = both({"signal_groups": (1, 2)}, X)
        return sequence.sweep(table, chosen, heads, dense=dense, keep_logits=True)

    together, neither = swept(HEADS), swept(())
    for head in HEADS:
        alone = swept((head,))
        np.testing.assert_array_equal(alone.scores[head], together.scores[head])
        assert list(alone.scores) == [head]
        np.testing.assert_array_equal(alone.shifts, together.shifts)
    np.testing.assert_array_equal(swept(("profile",)).logits, together.logits)
    np.testing.assert_array_equal(neither.shifts, together.shifts)
    assert (neither.scores, neither.log_counts, neither.logits) == ({}, None, None)


def test_a_dense_edit_has_its_bits_in_any_company():
    (X,) = random_sequences(1, 240)
    table = edit_table(X, everywhere(240))
    sequence, _ = both({"n_layers": 4}, X)
    everything = sequence.sweep(table, np.arange(len(table.starts)), HEADS, dense=True)
    for chosen in ([3], [20, 3, 41], list(range(5, 25))):
        found = sequence.sweep(table, np.array(chosen), HEADS, dense=True)
        for head in HEADS:
            np.testing.assert_array_equal(found.scores[head], everything.scores[head][chosen])


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_bits_do_not_depend_on_how_the_work_is_shared(threads, monkeypatch):
    """Two sequences, then one, on several threads, which divide the passes, the fields and the windows among them."""
    monkeypatch.setattr(module, "STRETCH", 17)
    monkeypatch.setattr(module, "GROUPS", 1)
    X = random_sequences(2, 240)
    kernels = CpuKernels(strong_model(n_layers=4).module)

    def work(k):
        sequence, table = kernels.begin(X[k], 0), edit_table(X[k], everywhere(240))
        shifts = sequence.sweep(table, np.arange(0, 36, 3), ()).shifts
        _ = sequence.metric
        sequence.add_nodes(shifts)
        return sequence.sweep(table, np.arange(len(table.starts)), HEADS).scores

    alone, before = [work(k) for k in range(2)], torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for count in (2, 1):
            for k, found in each_alone(work, count, "cpu"):
                for head in HEADS:
                    np.testing.assert_array_equal(found[head], alone[k][head])
    finally:
        torch.set_num_threads(before)


def test_more_nodes_than_there_is_room_for():
    (X,) = random_sequences(1, 150)
    sequence, _ = both({}, X)
    nodes = 0.1 * np.ones((ROOM, len(sequence.metric)))
    sequence.add_nodes(nodes[1:])
    with pytest.raises(ValueError, match=f"room for {ROOM} nodes, and there are {ROOM + 1}"):
        sequence.add_nodes(nodes[:2])
    assert len(sequence.nodes) == ROOM - 1


def test_memory_of_a_thread_grows_with_what_is_asked():
    """A wide window after a narrow one, and a longer sequence after a short one, in the memory that is there."""
    kernels = CpuKernels(strong_model().module)
    reference = GeneralKernels(strong_model().module, torch.float64, "cpu", Batch(12))
    for length, width in ((200, 1), (200, 150), (330, 2), (330, 300)):
        (X,) = random_sequences(1, length, seed=length)
        edits = [LocalEdit(10, bases) for bases in random_sequences(12, width, seed=width)]
        table, chosen = edit_table(X, edits), np.arange(12)
        ours, theirs = kernels.begin(X, 0), reference.begin(X, 0)
        assert_near(ours.sweep(table, chosen, HEADS).log_counts, theirs.sweep(table, chosen, HEADS).log_counts, 2e-5)


@pytest.mark.parametrize("edit", [0, 7])
def test_far_changes_are_mended(edit):
    """A network whose hidden layers are thrown from one saturation to the other."""
    model = strong_model(n_layers=2, residual_scale=0.3).module
    with torch.no_grad():
        model.blocks[0].linear1.weight.mul_(60)
        model.iconv.weight.mul_(10)
    (X,) = random_sequences(1, 150)
    edits = everywhere(150)
    truth = dense_truth.effects(model, X, edits, 0)
    found = CpuKernels(model).begin(X, 0).sweep(edit_table(X, edits), np.arange(len(edits)), HEADS, dense=True)
    for head in HEADS:
        assert np.isfinite(found.scores[head]).all()
        assert_near(found.scores[head], truth[head], 1e-4)

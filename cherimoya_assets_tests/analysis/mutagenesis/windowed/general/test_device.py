"""The kernels of GPUs: the same numbers in torch's own operations, on tensors of one device, without waiting for it.

No GPU is needed. Values are computed by that path on a CPU. Tensors of torch's device "meta" have no values: to need
one on the host is an error there, as a tensor of the CPU is here (`OneDevice`).
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.mutagenesis import (
    LocalEdit,
    cherimoya_engine,
    local_edit_effects,
    saturation_mutagenesis,
)
from cherimoya_assets.analysis.mutagenesis.windowed import kriging
from cherimoya_assets.analysis.mutagenesis.windowed.general.kernels import GeneralKernels
from cherimoya_assets.analysis.mutagenesis.windowed.general.network import read_network
from cherimoya_assets.analysis.mutagenesis.windowed.general.outside import first_order, with_nodes
from cherimoya_assets.analysis.mutagenesis.windowed.general.reference import reference_pass
from cherimoya_assets.analysis.mutagenesis.windowed.general.sweep import Edits, sweep
from cherimoya_assets.analysis.mutagenesis.windowed.kernels import full_precision
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences, strong_model

HEADS = ("counts", "profile")
SHAPE = {"n_filters": 8, "n_layers": 4, "signal_groups": (1, 2), "controls": 1, "residual_scale": 0.15}
LENGTH = 300


@pytest.fixture
def general(monkeypatch):
    """The kernels of GPUs on this CPU."""

    def kernels_for(module, device, batch):
        return GeneralKernels(module, torch.float32, device, batch)

    monkeypatch.setattr(cherimoya_engine, "kernels_for", kernels_for)


def saturated(group):
    X = random_sequences(2, LENGTH, seed=4)
    return saturation_mutagenesis(strong_model(**SHAPE), X, 120, 160, HEADS, group=group, tolerance=1e-2)


@pytest.fixture(scope="module")
def compiled_results():
    return {group: saturated(group) for group in (1, None)}


@pytest.mark.parametrize("group", [1, None])
def test_saturation_is_that_of_the_compiled_kernels(compiled_results, group, general):
    ours, theirs = saturated(group), compiled_results[group]
    assert ours.engine == theirs.engine == "windowed"
    # Of a sequence that went dense the model of the outside would not be seen.
    assert ours.report["dense_edits"] == theirs.report["dense_edits"] < 0.2 * theirs.report["edits"]
    for head in HEADS:
        size = np.abs(theirs.scores[head]).max()
        assert size > 0.01
        np.testing.assert_allclose(ours.scores[head], theirs.scores[head], rtol=0, atol=1e-5 * size)
        assert not np.array_equal(ours.scores[head], theirs.scores[head])


def test_predictions_after_edits_are_those_of_the_compiled_kernels(request):
    # Enough edits for the model of the outside, some over both ends of the profile; so far apart that the windows are
    # the same, however many edits share one.
    (X,), bases = random_sequences(1, LENGTH, seed=5), random_sequences(60, 9, seed=6)
    edits = [LocalEdit(20 * (k % 15), pattern) for k, pattern in enumerate(bases[:58])]
    theirs = local_edit_effects(strong_model(**SHAPE), X, edits, tolerance=0.1)
    request.getfixturevalue("general")
    ours = local_edit_effects(strong_model(**SHAPE), X, edits, tolerance=0.1)
    assert ours.report["dense"] == theirs.report["dense"] < 20
    for found, wanted in ((ours.logits, theirs.logits), (ours.log_counts, theirs.log_counts)):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())


def test_a_batch_is_halved_where_memory_ends_and_the_results_are_the_same(monkeypatch):
    from cherimoya_assets.analysis.mutagenesis.windowed.general import kernels as module

    (X,) = random_sequences(1, LENGTH, seed=8)
    edits = [LocalEdit(100 + k, bases) for k, bases in enumerate(random_sequences(40, 2, seed=9))]
    from cherimoya_assets.analysis.mutagenesis.edit_table import edit_table

    table, sizes, original = edit_table(X, edits), [], module.sweep

    def swept(size):
        sequence = GeneralKernels(strong_model(**SHAPE).module, torch.float64, "cpu", Batch(size)).begin(X, 0)
        return sequence.sweep(table, np.arange(40)[::-1].copy(), HEADS, dense=True, keep_logits=True)

    expected = swept(24)

    def limited(network, reference, outside, batch, *, heads):
        sizes.append(len(batch.change))
        if sizes[-1] > 4:
            raise torch.OutOfMemoryError("no more")
        return original(network, reference, outside, batch, heads=heads)

    monkeypatch.setattr(module, "sweep", limited)
    found = swept(24)
    assert sizes[:3] == [24, 12, 6] and max(sizes[3:]) <= 4
    for name in ("shifts", "log_counts", "logits"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dense", [False, True])
def test_a_batch_stays_on_the_device_and_does_not_wait_for_it(dense, monkeypatch):
    network = read_network(strong_model(**SHAPE).module, torch.float32, "cpu")
    (X,) = random_sequences(1, LENGTH, seed=7)
    with torch.no_grad():
        reference = reference_pass(network, torch.from_numpy(X).float())
        # The weights of the interpolation are made on the host, from values: once a sequence.
        model = with_nodes(network, reference, first_order(network, reference), 1e-3 * torch.randn(6, 8).double())
    network, reference, model = elsewhere(network), elsewhere(reference), elsewhere(model)
    with torch.no_grad(), OneDevice():
        for start in (0, 140, LENGTH - 5):
            change = torch.empty((7, 4, 5), device="meta")
            found = sweep(network, reference, None if dense else model, Edits(start, change), heads=HEADS)
            for tensor in (found.shifts, found.log_counts, found.logits):
                assert tensor.device.type == "meta"
            assert found.shifts.shape == (7, 2 * len(network.blocks))
            assert found.logits.shape == (7, *reference.logits.shape)


def test_the_nodes_are_weighed_as_everywhere():
    nodes, metric = np.random.default_rng(0).normal(size=(5, 8)), np.diag(np.arange(1.0, 9.0))
    network = read_network(strong_model(**SHAPE).module, torch.float64, "cpu")
    (X,) = random_sequences(1, LENGTH, seed=7)
    with torch.no_grad():
        reference = reference_pass(network, torch.from_numpy(X).double())
        linear = first_order(network, reference)
        last = replace(linear.levels[-1], metric=torch.from_numpy(metric))
        model = with_nodes(
            network, reference, replace(linear, levels=(*linear.levels[:-1], last)), torch.from_numpy(nodes)
        )
    moved, inverse = kriging.interpolation(nodes, metric)
    np.testing.assert_array_equal(model.levels[-1].nodes.numpy(), moved)
    np.testing.assert_array_equal(model.levels[-1].weights.numpy(), inverse)


class OneDevice(TorchFunctionMode):
    """No function of torch takes or makes a tensor of the CPU: meta tensors alone let some of them pass."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu":
                raise RuntimeError(f"{func} with a tensor of the CPU")
        return result


def elsewhere(value):
    """A value with every tensor in it on the device without values."""
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    if isinstance(value, tuple):
        return tuple(elsewhere(part) for part in value)
    if is_dataclass(value):
        return replace(value, **{field.name: elsewhere(getattr(value, field.name)) for field in fields(value)})
    return value


@pytest.mark.parametrize(
    "mistake",
    [
        lambda there: there + torch.empty(3, 4),
        lambda there: there @ torch.empty(4, 2),
        lambda there: torch.cat([there, torch.empty(3, 4)]),
        lambda there: float(there.sum()),
        lambda there: int(there.sum(dim=1).argmax()),
        lambda there: there.cpu(),
        lambda there: there.numpy(),
    ],
)
def test_the_device_without_values_minds_what_a_gpu_would(mistake):
    there = torch.empty((3, 4), device="meta")
    with OneDevice(), pytest.raises((RuntimeError, NotImplementedError, TypeError)):
        mistake(there)


def test_products_and_convolutions_of_a_gpu_keep_float32_and_are_chosen_by_rule():
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic
    try:
        # As `import cherimoya` leaves them.
        torch.set_float32_matmul_precision("high")
        cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = True, True, False
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
            assert (cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic) == (False, False, True)
        assert torch.get_float32_matmul_precision() == "high"
        assert (cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic) == (True, True, False)
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before[1:]

"""The path of GPUs: the same numbers in torch's own operations, on tensors of one device, without waiting for it.

No GPU is needed. Values are computed by that path on a CPU. Tensors of torch's device "meta" have no values: to need
one on the host is an error there, as a tensor of the CPU is here (`OneDevice`).
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import fields, is_dataclass, replace
from types import ModuleType

import numpy as np
import pytest
import torch
from numba.core.dispatcher import Dispatcher
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from cherimoya_assets.analysis.mutagenesis import LocalEdit, local_edit_effects, saturation_mutagenesis, windowed
from cherimoya_assets.analysis.mutagenesis.windowed import cpu_kernels
from cherimoya_assets.analysis.mutagenesis.windowed.network import full_precision, read_network
from cherimoya_assets.analysis.mutagenesis.windowed.outside import first_order, with_nodes
from cherimoya_assets.analysis.mutagenesis.windowed.read_out import profile_effects
from cherimoya_assets.analysis.mutagenesis.windowed.reference import reference_pass
from cherimoya_assets.analysis.mutagenesis.windowed.sweep import Edits, sweep
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences, strong_model

HEADS = ("counts", "profile")
SHAPE = {"n_filters": 8, "n_layers": 4, "signal_groups": (1, 2), "controls": 1, "residual_scale": 0.15}
LENGTH = 300

BY_DEVICE = {"add_outside"}
"""Chosen by the device alone, whatever the dtype: on a CPU it is the compiled one that runs."""


def modules() -> list[ModuleType]:
    names = [found.name for found in pkgutil.iter_modules(windowed.__path__, f"{windowed.__name__}.")]
    return [importlib.import_module(name) for name in names]


@pytest.fixture
def general(monkeypatch):
    """The path of GPUs on this CPU: no compiled loop is chosen, and one that runs all the same fails."""

    def forbidden(*_):
        raise AssertionError("a compiled loop on the general path")

    for module in modules():
        if hasattr(module, "compiled"):
            monkeypatch.setattr(module, "compiled", lambda _: False)
    loops = [name for name, value in vars(cpu_kernels).items() if isinstance(value, Dispatcher)]
    assert {"difference", "convolve"} <= set(loops)
    for name in set(loops) - BY_DEVICE:
        monkeypatch.setattr(cpu_kernels, name, forbidden)


def saturated(group):
    X = random_sequences(2, LENGTH, seed=4)
    return saturation_mutagenesis(strong_model(**SHAPE), X, 120, 160, HEADS, group=group, tolerance=1e-2)


@pytest.fixture(scope="module")
def compiled_results():
    return {group: saturated(group) for group in (1, None)}


@pytest.mark.parametrize("group", [1, None])
def test_saturation_is_that_of_the_compiled_path(compiled_results, group, general):
    ours, theirs = saturated(group), compiled_results[group]
    assert ours.engine == theirs.engine == "windowed"
    # Of a sequence that went dense the model of the outside would not be seen.
    assert ours.report["loci_gone_dense"] == theirs.report["loci_gone_dense"] == 0
    for head in HEADS:
        size = np.abs(theirs.scores[head]).max()
        assert size > 0.01
        np.testing.assert_allclose(ours.scores[head], theirs.scores[head], rtol=0, atol=1e-5 * size)


def test_predictions_after_edits_are_those_of_the_compiled_path(request):
    # Enough edits for the model of the outside, some over both ends of the profile.
    (X,), bases = random_sequences(1, LENGTH, seed=5), random_sequences(60, 9, seed=6)
    edits = [LocalEdit(5 * k if k % 10 else 0, pattern) for k, pattern in enumerate(bases[:58])]
    theirs = local_edit_effects(strong_model(**SHAPE), X, edits, tolerance=0.1)
    request.getfixturevalue("general")
    ours = local_edit_effects(strong_model(**SHAPE), X, edits, tolerance=0.1)
    assert ours.report["dense"] == theirs.report["dense"] == []
    for found, wanted in ((ours.logits, theirs.logits), (ours.log_counts, theirs.log_counts)):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("dense", [False, True])
def test_a_batch_stays_on_the_device_and_does_not_wait_for_it(dense):
    network = read_network(strong_model(**SHAPE).module, torch.float32, "cpu")
    (X,) = random_sequences(1, LENGTH, seed=7)
    with torch.no_grad():
        reference = reference_pass(network, torch.from_numpy(X).float())
    network, reference = elsewhere(network), elsewhere(reference)
    with torch.no_grad(), OneDevice():
        linear = first_order(network, reference)
        nodes = torch.empty((6, 2 * len(network.blocks)), dtype=torch.float64, device="meta")
        model = with_nodes(network, reference, linear, nodes)
        for start in (0, 140, LENGTH - 5):
            change = torch.empty((7, 4, 5), device="meta")
            found = sweep(network, reference, model, Edits(start, change), heads=HEADS, dense=dense)
            effects = profile_effects(reference.logits, found.logits, network.signal_groups, None)
            for tensor in (found.shifts, found.log_counts, found.logits, effects):
                assert tensor.device.type == "meta"
            assert found.shifts.shape == (7, 2 * len(network.blocks))
            assert found.logits.shape == (7, *reference.logits.shape)


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

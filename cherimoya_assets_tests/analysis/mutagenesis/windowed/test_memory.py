"""The memory formula against the tensors that are really held."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.mutagenesis.windowed import memory
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.kernels import CpuKernels
from cherimoya_assets.analysis.mutagenesis.windowed.engine import NODES
from cherimoya_assets.analysis.mutagenesis.windowed.general.kernels import GeneralKernels
from cherimoya_assets.analysis.mutagenesis.windowed.memory import edit_bytes, edits_at_once, sequence_bytes
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences, strong_model

SHAPES = [
    ({"n_filters": 16, "n_layers": 3}, 300),
    ({"n_filters": 48, "n_layers": 6}, 718),
    ({"n_filters": 32, "n_layers": 5, "expansion": 4}, 500),
    ({"n_filters": 64, "n_layers": 9}, 1300),
]


def storages(thing: object) -> dict[int, int]:
    """Address to bytes of the memory of every tensor and array in dataclasses and tuples of them, each once."""
    if isinstance(thing, torch.Tensor):
        return {thing.untyped_storage().data_ptr(): thing.untyped_storage().nbytes()}
    if isinstance(thing, np.ndarray):
        return {thing.ctypes.data: thing.nbytes}
    if is_dataclass(thing):
        thing = tuple(getattr(thing, field.name) for field in fields(thing))
    if isinstance(thing, tuple):
        return {address: size for part in thing for address, size in storages(part).items()}
    return {}


def at_work(kernels, shape, length, nodes):
    sequence = kernels.begin(random_sequences(1, length)[0], 0)
    assert sequence.metric.size
    sequence.add_nodes(1e-3 * np.random.default_rng(0).normal(size=(nodes, 2 * shape["n_layers"])))
    return sequence


@pytest.mark.parametrize(("shape", "length"), SHAPES)
@pytest.mark.parametrize("nodes", NODES)
def test_a_sequence_holds_what_the_formula_says(shape, length, nodes):
    module = strong_model(**shape).module
    general = at_work(GeneralKernels(module, torch.float32, "cpu", Batch(12)), shape, length, nodes)
    held = sum(storages((general.reference, general._linear, general._model)).values())
    assert 0.6 < sequence_bytes(module, length, nodes) / held < 1.4


@pytest.mark.parametrize(("shape", "length"), SHAPES)
def test_a_sequence_of_the_compiled_kernels_holds_it_too(shape, length):
    """Channels are padded to whole vectors there, and there is room for all nodes."""
    module = strong_model(**shape).module
    compiled = at_work(CpuKernels(module), shape, length, NODES[-1])
    held = sum(storages((compiled.passed, compiled.outside)).values())
    assert 0.6 < sequence_bytes(module, length, NODES[-1]) / held < 1.4


def test_an_edit_holds_its_window():
    module = strong_model(n_filters=16, n_layers=4).module
    widest = 21 + 2 * (1 + 2 + 4 + 8)
    assert edit_bytes(module, 1000, "cpu") == 4 * widest * 2 * 16
    assert edit_bytes(module, 1000, "cuda") == 4 * widest * (2 * 16 + 6 * 32)
    assert edit_bytes(module, 30, "cpu") == 4 * 30 * 2 * 16


def test_fewer_edits_at_once_of_larger_networks_and_longer_sequences_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 30, 16 << 30))

    def sizes(models, lengths):
        modules = [strong_model(**model).module for model in models]
        return [edits_at_once(module, length, "cuda") for module in modules for length in lengths]

    several = [
        sizes([{"n_filters": c, "n_layers": 6} for c in (8, 48, 128, 512)], [2000]),
        sizes([{"n_filters": 32, "n_layers": n} for n in (2, 6, 9)], [8000]),
        sizes([{"n_filters": 32, "n_layers": 9}], [200, 1000, 8000]),
    ]
    for found in several:
        assert found == sorted(found, reverse=True) and found[0] > found[-1]
        assert all(size % 3 == 0 and 3 <= size <= memory.MOST for size in found)


def test_more_edits_at_once_in_more_memory(monkeypatch):
    module, found = strong_model(n_filters=128, n_layers=9).module, []
    for free in (0, 1 << 28, 1 << 30, 1 << 33, 1 << 37):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 1 << 40))
        found.append(edits_at_once(module, 2114, "cuda"))
    assert found == sorted(found) and found[0] == 3 and found[-1] == memory.MOST

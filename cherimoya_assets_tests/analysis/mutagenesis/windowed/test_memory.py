"""The memory formula against the tensors that are really held."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import pytest
import torch

from cherimoya_assets.analysis.mutagenesis.windowed import memory
from cherimoya_assets.analysis.mutagenesis.windowed.engine import NODES
from cherimoya_assets.analysis.mutagenesis.windowed.memory import (
    edit_bytes,
    edits_at_once,
    mean_window,
    sequence_bytes,
)
from cherimoya_assets.analysis.mutagenesis.windowed.network import read_network
from cherimoya_assets.analysis.mutagenesis.windowed.outside import first_order, with_nodes
from cherimoya_assets.analysis.mutagenesis.windowed.reference import reference_pass
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences, strong_model


def storages(thing: object) -> dict[int, int]:
    """Address to bytes of every tensor's memory in dataclasses and tuples of them, each once."""
    if isinstance(thing, torch.Tensor):
        return {thing.untyped_storage().data_ptr(): thing.untyped_storage().nbytes()}
    if is_dataclass(thing):
        thing = tuple(getattr(thing, field.name) for field in fields(thing))
    if isinstance(thing, tuple):
        return {address: size for part in thing for address, size in storages(part).items()}
    return {}


@pytest.mark.parametrize(
    ("shape", "length", "nodes"),
    [
        # Nearly all of it the reference.
        ({"n_filters": 32, "n_layers": 1, "expansion": 4}, 400, 0),
        *(
            (shape, length, nodes)
            for nodes in NODES
            for shape, length in (
                ({"n_filters": 16, "n_layers": 3}, 300),
                ({"n_filters": 48, "n_layers": 6}, 718),
                ({"n_filters": 32, "n_layers": 5, "expansion": 4}, 500),
                ({"n_filters": 64, "n_layers": 9}, 1300),
            )
        ),
    ],
)
def test_a_sequence_holds_what_the_formula_says(shape, length, nodes):
    network = read_network(strong_model(**shape).module, torch.float32, "cpu")
    with torch.no_grad():
        reference = reference_pass(network, torch.from_numpy(random_sequences(1, length)[0]).float())
        linear = first_order(network, reference)
        model = with_nodes(network, reference, linear, 1e-3 * torch.randn(nodes, 2 * shape["n_layers"]).double())
    held = sum(storages((reference, linear, model)).values())
    # While a node's residual is made, its change of the state and of the hidden layer.
    held += 4 * length * nodes * (network.n_filters + network.n_hidden)
    assert 0.7 < sequence_bytes(network, length, nodes) / held < 1.3


def test_an_edit_holds_its_window():
    network = read_network(strong_model(n_filters=16, n_layers=4).module, torch.float32, "cpu")
    widest = 21 + 2 * (1 + 2 + 4 + 8)
    assert edit_bytes(network, 1000, "cpu") == 4 * widest * 2 * 16
    assert edit_bytes(network, 1000, "cuda") == 4 * widest * (2 * 16 + 6 * 32)
    assert edit_bytes(network, 30, "cpu") == 4 * 30 * 2 * 16
    assert mean_window(network, 1000) == (23 + 27 + 35 + 51) // 4
    assert mean_window(network, 30) == (23 + 27 + 30 + 30) // 4


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fewer_edits_at_once_of_larger_networks_and_longer_sequences(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 30, 16 << 30))

    def sizes(models, lengths):
        networks = [read_network(strong_model(**model).module, torch.float32, "cpu") for model in models]
        return [edits_at_once(network, length, device) for network in networks for length in lengths]

    several = [
        sizes([{"n_filters": c, "n_layers": 6} for c in (8, 48, 128, 512)], [2000]),
        sizes([{"n_filters": 32, "n_layers": n} for n in (2, 6, 9)], [8000]),
        sizes([{"n_filters": 32, "n_layers": 9}], [200, 1000, 8000]),
    ]
    for found in several:
        assert found == sorted(found, reverse=True) and found[0] > found[-1]
        assert all(size % 3 == 0 and 3 <= size <= memory.MOST for size in found)


def test_more_edits_at_once_in_more_memory(monkeypatch):
    network, found = read_network(strong_model(n_filters=128, n_layers=9).module, torch.float32, "cpu"), []
    for free in (0, 1 << 28, 1 << 30, 1 << 33, 1 << 37):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 1 << 40))
        found.append(edits_at_once(network, 2114, "cuda"))
    assert found == sorted(found) and found[0] == 3 and found[-1] == memory.MOST

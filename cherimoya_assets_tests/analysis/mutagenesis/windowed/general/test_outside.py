"""The model of the outside, in float64, against forward passes whose statistics are imposed, written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.mutagenesis.windowed.general.network import Network, read_network
from cherimoya_assets.analysis.mutagenesis.windowed.general.outside import OutsideModel, first_order, with_nodes
from cherimoya_assets.analysis.mutagenesis.windowed.general.reference import Reference, reference_pass
from cherimoya_assets_tests.analysis.mutagenesis.dense_truth import gelu, predictions
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences, strong_model

LENGTH = 230


@dataclass(frozen=True)
class Case:
    module: Any
    X: torch.Tensor
    network: Network
    reference: Reference
    linear: OutsideModel


@pytest.fixture(scope="module", params=[{}, {"n_layers": 4, "signal_groups": (1, 2), "expansion": 1}])
def case(request) -> Case:
    module = strong_model(**request.param).module
    network = read_network(module, torch.float64, "cpu")
    X = torch.from_numpy(random_sequences(1, LENGTH)[0]).double()
    with torch.no_grad():
        reference = reference_pass(network, X)
        return Case(module, X, network, reference, first_order(network, reference))


def states(case: Case, shifts: torch.Tensor) -> list[torch.Tensor]:
    """After each block, (L, C): the mean is moved by shifts[0::2], and the reciprocal deviation by 1 + shifts[1::2]."""
    weights = {name: tensor.detach().double() for name, tensor in case.module.state_dict().items()}
    x = gelu(torch.nn.functional.conv1d(case.X[None], weights["iconv.weight"], weights["iconv.bias"], padding=10))[0].T
    plain, found = x, []
    for k in range(case.module.n_layers):
        taps, d = weights[f"blocks.{k}.conv_weight"], 2**k

        def convolved(x, taps=taps, d=d):
            padded = torch.nn.functional.pad(x, (0, 0, d, d))
            return sum(taps[tap] * padded[tap * d : tap * d + len(x)] for tap in range(3))

        h = convolved(plain)
        mean, rstd = h.mean(), 1 / (h.var(unbiased=False) + 1e-3).sqrt()
        one, two = weights[f"blocks.{k}.linear1.weight"].T, weights[f"blocks.{k}.linear2.weight"].T

        def block(x, mean, rstd, one=one, two=two, convolved=convolved):
            return x + case.module.residual_scale * gelu((convolved(x) - mean) * rstd @ one) @ two

        x = block(x, mean + shifts[2 * k], rstd * (1 + shifts[2 * k + 1]))
        plain = block(plain, mean, rstd)
        found.append(x)
    return found


def some_shifts(case: Case, n: int, size: float = 0.02) -> torch.Tensor:
    return size * torch.randn(n, 2 * case.module.n_layers, generator=torch.Generator().manual_seed(3)).double()


def changes(case: Case, model: OutsideModel, level: int, shifts: torch.Tensor) -> torch.Tensor:
    """What the model says after `level` blocks: (E, L, C)."""
    known, _ = model.levels[level].coefficients(shifts[:, : 2 * level].contiguous())
    return torch.einsum("em,lmc->elc", known, model.levels[level].fields)


def test_the_reference_is_the_forward_pass(case):
    logits, log_counts = predictions(case.module, case.X.numpy()[None])
    np.testing.assert_allclose(case.reference.logits, logits[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(case.reference.log_counts, log_counts[0], rtol=0, atol=1e-13)


def test_order_one_is_the_derivative(case):
    step = 1e-4
    for shifts in some_shifts(case, 3):
        ahead, behind = states(case, step * shifts), states(case, -step * shifts)
        for level in range(1, case.module.n_layers + 1):
            slope = (ahead[level - 1] - behind[level - 1]) / (2 * step)
            found = changes(case, case.linear, level, shifts[None])[0]
            torch.testing.assert_close(found, slope, rtol=0, atol=1e-7 * float(slope.abs().max()))


def test_exact_at_the_nodes_and_not_before(case):
    plain, nodes = states(case, torch.zeros(2 * case.module.n_layers)), some_shifts(case, 5)
    model = with_nodes(case.network, case.reference, case.linear, nodes)
    for k, node in enumerate(nodes):
        for level, state in enumerate(states(case, node), start=1):
            truth = state - plain[level - 1]
            scale = float(truth.abs().max())
            torch.testing.assert_close(changes(case, model, level, nodes)[k], truth, rtol=0, atol=1e-6 * scale)
            if level > 1:
                assert float((changes(case, case.linear, level, nodes)[k] - truth).abs().max()) > 1e-3 * scale


def test_nodes_help_between_them(case):
    """The shifts of edits lie near each other: halfway between two nodes what order one leaves is mostly known."""
    a, b = some_shifts(case, 2)
    b = a + 0.3 * b
    model = with_nodes(case.network, case.reference, case.linear, torch.stack([a, b]))
    between = ((a + b) / 2)[None]
    truth = states(case, between[0])[-1] - states(case, torch.zeros_like(a))[-1]
    level = case.module.n_layers
    left = [float((changes(case, known, level, between)[0] - truth).norm()) for known in (case.linear, model)]
    assert left[1] < 0.2 * left[0]


def test_no_nodes_leave_order_one(case):
    assert with_nodes(case.network, case.reference, case.linear, some_shifts(case, 0)) is case.linear


def test_sums_over_the_outside(case):
    """Of what the next block's convolution makes of the fields, over the positions not in a window."""
    nodes, shifts = some_shifts(case, 3), some_shifts(case, 4, 0.01)
    model = with_nodes(case.network, case.reference, case.linear, nodes)
    for level in range(1, case.module.n_layers):
        weights, block, linear = case.network.blocks[level], case.reference.blocks[level], 2 * level
        known = shifts[:, :linear].contiguous()
        fields = model.levels[level].fields
        padded = torch.nn.functional.pad(fields, (0, 0, 0, 0, weights.dilation, weights.dilation))
        h = sum(weights.taps[tap] * padded[tap * weights.dilation :][: len(fields)] for tap in range(3))
        coefficients, _ = model.levels[level].coefficients(known)
        for low, high in ((0, LENGTH), (0, 0), (40, 90), (0, 31), (200, LENGTH)):
            out = torch.ones(LENGTH, dtype=torch.bool)
            out[low:high] = False
            moved = torch.einsum("em,lmc->elc", coefficients, h[out])
            first_order_part = torch.einsum("em,lmc->elc", known, h[out][:, :linear])
            # Of a node: what its whole change squared has beyond first order. It is interpolated like the fields.
            of_nodes = torch.einsum("km,lmc->klc", nodes[:, :linear], h[out][:, :linear])
            beyond = (of_nodes + h[out][:, linear:].transpose(0, 1)).square() - of_nodes.square()
            squares = first_order_part.square().sum(dim=(1, 2)) + coefficients[:, linear:] @ beyond.sum(dim=(1, 2))
            truth = torch.stack([moved.sum(dim=(1, 2)), (2 * moved * block.centred[out]).sum(dim=(1, 2)) + squares])
            totals = torch.ones(2, len(shifts), dtype=torch.float64)
            model.sums[level].add_outside_(totals, low, high, coefficients, known)
            torch.testing.assert_close(totals - 1, truth, rtol=1e-9, atol=1e-9)


def test_fields_read_out_by_both_heads(case):
    network, level = case.network, case.linear.levels[-1]
    inner = slice(network.trimming, LENGTH - network.trimming)
    logits = torch.nn.functional.conv1d(level.fields.permute(1, 2, 0), network.profile, padding=37)[:, :, inner]
    torch.testing.assert_close(case.linear.shifted_logits, logits, rtol=0, atol=1e-12)
    counts = (level.fields @ network.counts.T).cumsum(dim=0)
    torch.testing.assert_close(case.linear.shifted_counts[1:], counts, rtol=0, atol=1e-11)
    assert not case.linear.shifted_counts[0].any()


def test_the_metric_is_the_inner_product_of_what_shifts_do(case):
    """To the normalised input of the next block, a mean over the plane."""
    level, shifts = 2, some_shifts(case, 2)[:, :4].contiguous()
    weights, block = case.network.blocks[level], case.reference.blocks[level]
    moved = torch.einsum("em,lmc->elc", shifts, case.linear.levels[level].fields)
    padded = torch.nn.functional.pad(moved, (0, 0, weights.dilation, weights.dilation))
    h = sum(weights.taps[k] * padded[:, k * weights.dilation :][:, :LENGTH] for k in range(3)) * block.rstd
    truth = (h[0] * h[1]).mean()
    found = shifts[0] @ case.linear.levels[level].metric @ shifts[1]
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=0)


def test_sums_are_exact_at_the_nodes(case):
    """In the sum of squares too, which first-order products alone would miss by the third order of the shift."""
    nodes = some_shifts(case, 4, 0.2)
    model = with_nodes(case.network, case.reference, case.linear, nodes)
    plain = states(case, torch.zeros(2 * case.module.n_layers))
    for level in range(1, case.module.n_layers):
        weights, block, known = (
            case.network.blocks[level],
            case.reference.blocks[level],
            nodes[:, : 2 * level].contiguous(),
        )
        coefficients, _ = model.levels[level].coefficients(known)
        totals = torch.zeros(2, len(nodes), dtype=torch.float64)
        model.sums[level].add_outside_(totals, 0, 0, coefficients, known)
        for k, node in enumerate(nodes):
            change = states(case, node)[level - 1] - plain[level - 1]
            padded = torch.nn.functional.pad(change, (0, 0, weights.dilation, weights.dilation))
            h = sum(weights.taps[tap] * padded[tap * weights.dilation :][:LENGTH] for tap in range(3))
            truth = torch.stack([h.sum(), (h * (2 * block.centred + h)).sum()])
            torch.testing.assert_close(totals[:, k], truth, rtol=1e-6, atol=1e-6 * float(h.abs().sum()))

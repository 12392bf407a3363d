"""The compiled loops over elements, against float64 written out."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.mutagenesis.compiled.vectors import address
from cherimoya_assets.analysis.mutagenesis.windowed import gelu as constants
from cherimoya_assets.analysis.mutagenesis.windowed.cpu import elements, rows
from cherimoya_assets_tests.analysis.mutagenesis.dense_truth import gelu

WIDTH = 48


@numba.njit
def slope(table, factor, out):
    u, line = address(table), 4 * table.shape[1]
    elements.gelu_slope(u, u + line, u + 2 * line, address(out), factor, 0, table.shape[1])


@numba.njit
def convolved(x, p, dilation, taps, out):
    rows.convolve(address(x), 4 * x.shape[1], len(x), p, dilation, taps, np.zeros_like(x[0]), address(out))


def activated(u: np.ndarray) -> np.ndarray:
    """(L, 3, W) as compiled code has a reference's layer."""
    table = np.zeros((len(u), 3, u.shape[1]), np.float32)
    table[:, 0] = u
    rows.activate(table)
    return table


def difference(x, table, low, factors, column):
    """x: (positions, edits, W)."""
    positions, edits, width = x.shape
    found = np.full((positions * edits, width), np.nan, np.float32)
    rows.difference(
        positions, edits, low, x.reshape(-1, width).copy(), found, table, factors.astype(np.float32),
        column.astype(np.float32), np.zeros(1),
    )  # fmt: skip
    return found.reshape(x.shape)


def true_difference(u, d):
    before = torch.from_numpy(u.astype(np.float64))
    return (gelu(before + torch.from_numpy(d)) - gelu(before)).numpy()


def assert_within(found, truth, bound, spread):
    """The truth itself is a difference in float64, good to 1e-14; beyond |u| = 10 a sigmoid is cut off."""
    floor = 1e-14 if spread < 10 else 30 * math.exp(constants.FAR - constants.LARGEST_EXPONENT)
    assert (np.abs(found - truth) <= bound + floor).all()


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0, 15.0])
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1e-1, 1.0, 10.0, 30.0])
def test_difference_keeps_its_digits(spread, size):
    """From changes that float32 could not see in gelu(u + d) to those that cross from one saturation to the other."""
    random = np.random.default_rng(0)
    u = random.uniform(-spread, spread, (6, WIDTH)).astype(np.float32)
    x = random.uniform(-size, size, (4, 3, WIDTH)).astype(np.float32)
    as_it_is = np.array([[0.0], [1.0], [0.0]]).repeat(3, axis=1)
    found = difference(x, activated(u), 1, as_it_is, np.zeros(WIDTH))
    truth = true_difference(u[1:5, None], x.astype(np.float64))
    assert_within(found, truth, 1e-6 * np.abs(x), spread)


@pytest.mark.parametrize("edits", [1, 2, 5, 12])
@pytest.mark.parametrize(("size", "spread"), [(1e-6, 0.5), (1e-2, 4.0), (1.0, 4.0), (20.0, 15.0)])
def test_difference_of_any_statistics(edits, size, spread):
    random = np.random.default_rng(edits)
    u = random.uniform(-spread, spread, (9, WIDTH)).astype(np.float32)
    x = random.uniform(-size, size, (4, edits, WIDTH)).astype(np.float32)
    factors = np.stack([random.uniform(-w, w, edits) for w in (0.1, 2, size)]).astype(np.float32)
    column = random.uniform(-1, 1, WIDTH).astype(np.float32)
    terms = [
        factors[0][:, None] * u[2:6, None].astype(float),
        factors[1][:, None] * x.astype(float),
        -factors[2][:, None] * column.astype(float),
    ]
    truth = true_difference(u[2:6, None], sum(terms))
    found = difference(x, activated(u), 2, factors, column)
    assert_within(found, truth, 2e-6 * sum(np.abs(term) for term in terms), spread)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_no_number_stays_where_it_is(wrong):
    random = np.random.default_rng(1)
    u, x = random.normal(size=(3, WIDTH)), random.normal(size=(3, 2, WIDTH)).astype(np.float32)
    factors, column = np.ones((3, 2)), np.ones(WIDTH)
    right = difference(x, activated(u), 0, factors, column)
    x[1, 1, 5] = wrong
    found = difference(x, activated(u), 0, factors, column)
    hit = np.zeros(x.shape, bool)
    hit[1, 1, 5] = True
    # gelu(-inf) is 0: a change to it may be finite, and is then what it closes.
    assert not np.isfinite(found[hit]) or (wrong == -np.inf and abs(found[hit]) < 10)
    np.testing.assert_array_equal(found[~hit], right[~hit])


def test_activation_and_its_slope():
    u = torch.linspace(-15, 15, 304, dtype=torch.float64).requires_grad_()
    value = torch.nn.functional.gelu(u, approximate="tanh")
    value.sum().backward()
    table, found = activated(u.detach().numpy()[None]), np.empty(304, np.float32)
    np.testing.assert_allclose(table[0, 0] * table[0, 1], value.detach(), rtol=2e-6, atol=2e-6)
    slope(table[0], np.float32(-3), found)
    np.testing.assert_allclose(found, -3 * u.grad.numpy(), rtol=5e-6, atol=5e-6)
    # 1 - gate with all its digits: at 15 it is far below the last digit of 1.
    assert table[0, 2].min() > 0
    np.testing.assert_allclose(table[0, 2], table[0, 1][::-1], rtol=1e-5)


@pytest.mark.parametrize("dilation", [1, 3, 20])
def test_convolution_is_zero_beyond_both_ends(dilation):
    """Also where no tap but the middle one meets the sequence."""
    random = np.random.default_rng(2)
    x, taps = random.normal(size=(11, 16)).astype(np.float32), random.normal(size=(3, 16)).astype(np.float32)
    padded = np.pad(x.astype(float), ((dilation, dilation), (0, 0)))
    truth = sum(taps[k] * padded[k * dilation : k * dilation + 11] for k in range(3))
    out = np.empty(16, np.float32)
    for p in range(11):
        convolved(x, p, dilation, taps, out)
        np.testing.assert_allclose(out, truth[p], atol=1e-6)

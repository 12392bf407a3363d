"""Loops over vectors: the elements and sums that NumPy gives, for any number of them."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from cherimoya_assets.analysis.mutagenesis.compiled.vectors import (
    LANES,
    PADDING,
    address,
    padded,
    spread,
    table_loop,
    vector_loop,
)


@vector_loop(reads=1, writes=2)
def exponentials(x):
    return x.exponential(), ()


@vector_loop(reads=2, writes=1, scalars=1, sums=2)
def mixed(x, y, factor):
    return (x.times(factor, y),), (x * y, (-x).at_least(y).at_most(1.0))


@table_loop(shared=1, writes=1, scalars=2)
def scaled(x, other, one, two):
    return (x.times(one, other) / (two + 2.0),), (x.absolute() - 1.0,)


@numba.njit
def run_exponentials(x, less, exp):
    exponentials(address(x), address(less), address(exp), 0, len(x))


@numba.njit
def run_mixed(x, y, factor, out, sums):
    mixed(address(x), address(y), address(out), factor, address(sums), len(x))


@numba.njit
def run_scaled(x, other, out, one, two, largest):
    scaled(
        address(x), address(other), address(out), address(one), address(two), address(largest), len(x), x.shape[1],
        x.shape[1],
    )  # fmt: skip


def drawn(*shape, scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def test_widths():
    assert [padded(n) for n in (0, 1, 16, 17, 48)] == [0, 16, 16, 32, 48]
    assert PADDING % LANES == 0
    # Rows of a matrix do not lie a power of two apart.
    assert [spread(n) for n in (16, 48, 64, 128, 256)] == [16, 48, 80, 144, 272]


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 10.0, 80.0])
def test_the_exponential_to_its_last_digits(scale):
    x = np.clip(np.concatenate([np.linspace(-scale, scale, 4090), drawn(6, scale=scale)]), -85, 85).astype(np.float32)
    less, exp = np.empty_like(x), np.empty_like(x)
    run_exponentials(x, less, exp)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(exp, np.exp(exact), rtol=3e-7)
    np.testing.assert_allclose(less, np.expm1(exact), rtol=3e-7, atol=1e-45)


def test_the_exponential_of_no_number_is_none():
    x = np.full(16, np.nan, dtype=np.float32)
    less, exp = np.empty_like(x), np.empty_like(x)
    run_exponentials(x, less, exp)
    assert np.isnan(less).all() and np.isnan(exp).all()


@pytest.mark.parametrize("n", [16, 32, 48, 160])
def test_a_loop_writes_elements_and_adds_to_sums(n):
    x, y, factor = drawn(n), drawn(n, seed=1), np.float32(0.7)
    out, sums = np.empty_like(x), np.array([3.0, -1.0])
    run_mixed(x, y, factor, out, sums)
    np.testing.assert_allclose(out, x.astype(float) * factor + y, atol=2e-7)
    expected = [3 + (x.astype(float) * y).sum(), -1 + np.minimum(np.maximum(-x, y), 1).astype(float).sum()]
    np.testing.assert_allclose(sums, expected, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_table_meets_shared_rows_and_its_own_scalars(rows):
    x, other = drawn(rows, 48), drawn(48, seed=1)
    one, two = drawn(rows, seed=2), np.abs(drawn(rows, seed=3))
    out, largest = np.empty_like(x), np.full(1, np.nan)
    run_scaled(x, other, out, one, two, largest)
    np.testing.assert_allclose(out, (x * one[:, None].astype(float) + other) / (two[:, None] + 2), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(largest[0], (np.abs(x) - 1).max(), rtol=1e-6)


def test_the_largest_is_not_below_zero():
    x, largest = np.zeros((2, 16), np.float32), np.ones(1)
    run_scaled(x, x[0].copy(), np.empty_like(x), x[:, 0].copy(), x[:, 0].copy(), largest)
    assert largest[0] == 0

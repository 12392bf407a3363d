"""Matrix products of any shape, against float64, and the bits of a row in any company."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from cherimoya_assets.analysis.mutagenesis.compiled.products import ROWS, multiply
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import address


@numba.njit
def product(A, k, B, C, columns, add):
    multiply(
        len(A), k, columns, address(A), A.shape[1], address(B), B.shape[1], address(C), C.shape[1], add
    )  # fmt: skip


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("columns", [16, 32, 48, 64, 80, 96, 112, 256])
@pytest.mark.parametrize("k", [1, 2, 17, 48])
@pytest.mark.parametrize("rows", [1, 2, 3, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 3, 50])
def test_any_shape_and_nothing_beside_it(rows, k, columns):
    """With more columns in memory than take part, on all three sides."""
    A, B, C = drawn(rows, k + 3), drawn(k, columns + 16, seed=1), drawn(rows, columns + 32, seed=2)
    truth = A[:, :k].astype(np.float64) @ B[:, :columns]
    for add in (False, True):
        found = C.copy()
        product(A, k, B, found, columns, add)
        np.testing.assert_allclose(found[:, :columns], truth + add * C[:, :columns].astype(float), atol=2e-5)
        np.testing.assert_array_equal(found[:, columns:], C[:, columns:])


@pytest.mark.parametrize("columns", [16, 48, 64, 160])
def test_a_row_has_the_same_bits_in_any_company(columns):
    A, B = drawn(40, 48), drawn(48, columns, seed=1)
    together = np.empty((40, columns), np.float32)
    product(A, 48, B, together, columns, False)
    for rows in (slice(0, 1), slice(7, 9), slice(3, 16), slice(39, 40)):
        alone = np.empty((len(A[rows]), columns), np.float32)
        product(A[rows].copy(), 48, B, alone, columns, False)
        np.testing.assert_array_equal(alone, together[rows])


def test_no_number_stays_in_its_row_and_column():
    A, B, C = drawn(8, 4), drawn(4, 32, seed=1), np.empty((8, 32), np.float32)
    A[3, 2], B[1, 20] = np.nan, np.inf
    product(A, 4, B, C, 32, False)
    assert np.isnan(C[3]).all()
    assert not np.isfinite(C[:, 20]).any()
    others = np.delete(np.delete(C, 3, axis=0), 20, axis=1)
    assert np.isfinite(others).all()

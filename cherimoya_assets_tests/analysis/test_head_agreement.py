"""Correlations along loci, against scipy one locus at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from cherimoya_assets.analysis.head_agreement import head_agreement


def heads(n=7, w=40):
    rng = np.random.default_rng(1)
    first = rng.normal(size=(n, w)).astype(np.float32)
    return first, (first * rng.normal(size=(n, 1)) + rng.normal(size=(n, w))).astype(np.float32)


def test_equals_scipy_locus_by_locus():
    first, second = heads()
    found = head_agreement(first, second)
    np.testing.assert_allclose(
        found["pearson"], [pearsonr(*pair).statistic for pair in zip(first, second, strict=True)], atol=1e-6
    )
    np.testing.assert_allclose(
        found["spearman"], [spearmanr(*pair).statistic for pair in zip(first, second, strict=True)], atol=1e-9
    )


def test_equal_values_share_their_mean_rank():
    first, second = (np.round(values * 2) / 2 for values in heads(w=100))
    expected = [spearmanr(*pair).statistic for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(head_agreement(first, second)["spearman"], expected, atol=1e-9)


def test_same_and_opposite_heads():
    first, _ = heads()
    np.testing.assert_allclose(head_agreement(first, first), 1)
    np.testing.assert_allclose(head_agreement(first, -first), -1)


def test_a_constant_locus_has_no_correlation_and_disturbs_no_other():
    first, second = heads()
    undisturbed = head_agreement(first, second)
    second[2] = 0.1
    found = head_agreement(first, second)
    assert found.loc[2].isna().all()
    assert found.drop(index=2).equals(undisturbed.drop(index=2))


@pytest.mark.parametrize("shape", [(0, 400), (0, 0), (3, 0)])
def test_nothing_to_compare_is_valid(shape):
    found = head_agreement(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    assert len(found) == shape[0]
    assert found.isna().all(axis=None)
    assert list(found.dtypes) == [np.float64, np.float64]


def test_other_loci_are_refused():
    with pytest.raises(ValueError, match="not of the same loci"):
        head_agreement(np.zeros((3, 4), np.float32), np.zeros((2, 4), np.float32))

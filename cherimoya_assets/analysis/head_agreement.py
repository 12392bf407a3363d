"""How far two heads of a model look at the same bases.

What belongs here: comparing two sets of contributions at the same loci. What does not: computing them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def head_agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> pd.DataFrame:
    """Correlate the projected contributions of two heads along each locus.

    Args:
        first, second: float (n, w), the same loci in the same order.

    Returns:
        Columns pearson and spearman (float64), one row a locus; NaN where either head has the same contribution at
        every base, because a correlation with a constant is not defined.

    Raises:
        ValueError: the shapes differ.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"contributions of shapes {first.shape} and {second.shape} are not of the same loci")
    if first.size == 0:
        empty = np.full(len(first), np.nan)
        return pd.DataFrame({"pearson": empty, "spearman": empty})
    ranks = (pd.DataFrame(values).rank(axis=1).to_numpy() for values in (first, second))
    return pd.DataFrame({"pearson": _correlation(first, second), "spearman": _correlation(*ranks)})


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    a, b = (values.astype(np.float64) for values in (a, b))
    varies = (np.ptp(a, axis=1) > 0) & (np.ptp(b, axis=1) > 0)
    a, b = (values - values.mean(axis=1, keepdims=True) for values in (a, b))
    correlation = np.full(len(a), np.nan)
    np.divide((a * b).sum(axis=1), np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)), out=correlation, where=varies)
    return correlation

"""Marginal effects in brief: what a motif does on average, and how sure that is.

What belongs here: averages over backgrounds. What does not: predictions.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

CONFIDENCE = 0.95


def effect_summary(table: pd.DataFrame, head: str = "counts") -> pd.DataFrame:
    """Average the effect of each motif over the backgrounds.

    Args:
        table: One row a motif, background, head and group: columns motif, head, group, before, after.
        head: The head to look at. For counts, `after - before` is a change of log counts.

    Returns:
        Columns motif, group, mean (of after - before), low, high (95% interval of the mean by Student's t; NaN with
        fewer than two backgrounds), backgrounds (int64), in the order of `table`.
    """
    from scipy.stats import t

    rows = table[table["head"] == head]
    delta = rows["after"].astype(np.float64) - rows["before"].astype(np.float64)
    grouped = delta.groupby([rows["motif"], rows["group"]], sort=False)
    summary = grouped.agg(["mean", "std", "size"]).reset_index()
    n = summary["size"].to_numpy(dtype=np.int64)
    reach = np.full(len(n), np.nan)
    several = n > 1
    quantile = t.ppf((1 + CONFIDENCE) / 2, n[several] - 1)
    reach[several] = quantile * summary["std"].to_numpy()[several] / np.sqrt(n[several])
    return pd.DataFrame(
        {
            "motif": summary["motif"],
            "group": summary["group"],
            "mean": summary["mean"],
            "low": summary["mean"] - reach,
            "high": summary["mean"] + reach,
            "backgrounds": n,
        }
    )

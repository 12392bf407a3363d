"""How wrong the windowed effects of a sequence are, said from what was predicted and from a few edits that were
checked.

What lives here: which edits are drawn to be checked, and what their errors say of all others. What must not: computing
them.

`kriging.py` predicts a standard deviation for each edit's error. Errors follow it over four orders of magnitude, up
to a factor, the *scale*, that differs from sequence to sequence and head to head. It is known from the nodes before
anything is checked, about as well as from six checked edits, which is how much it counts beside the checked ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]

MARGIN = 3.0
"""Of the reported error above the estimated one. With it, the true error of a locus is above the reported one in less
than 1 % of loci (benchmarks/RESULTS.md, Calibration)."""

ROUNDING = 5e-6
"""No relative error below this is reported, unless a smaller one was asked for: what float32 passes over the whole
sequence, the field's own, are off by at the worst loci."""

LEAST_CERTAIN, DRAWN = 4, 6
"""Edits that are checked: those with the largest deviations, where a single edit can be far off, and some of all
others."""

KNOWN = 6.0
"""Checked edits that the prediction from the nodes is worth."""


def drawn(deviations: Doubles) -> tuple[Rows, Doubles]:
    """Draw the edits to check: the least certain, and others with probabilities in proportion to their deviations.

    Systematic sampling without chance: along the edits in the order of their deviations, one every so many. The
    smallest deviations are represented as well.

    Returns:
        The edits' rows, and the probability with which each was to be drawn.
    """
    order = np.argsort(-deviations, kind="stable")
    certain, others = order[:LEAST_CERTAIN], order[LEAST_CERTAIN:]
    if len(others) <= DRAWN:
        return order, np.ones(len(order))
    weights = np.maximum(deviations[others], deviations.max() * 1e-9)
    if not np.isfinite(weights).all() or not weights.any():
        weights = np.ones(len(others))
    probability, sure = np.zeros(len(others)), np.zeros(len(others), dtype=bool)
    while True:
        left = DRAWN - int(sure.sum())
        probability = np.where(sure, 1.0, max(left, 0) * weights / max(float(weights[~sure].sum()), 1e-300))
        if not (probability[~sure] >= 1).any():
            break
        sure |= probability >= 1
    upto = np.cumsum(probability)
    marks = np.arange(DRAWN) + 0.5
    places = np.unique(np.searchsorted(upto, marks[marks < upto[-1]]))
    return np.concatenate([certain, others[places]]), np.concatenate([np.ones(len(certain)), probability[places]])


def learned(scale: float, deviations: Doubles, errors: Doubles) -> float:
    """The scale with what the errors of checked edits, in units of their deviations, add to what was known of it."""
    usable = deviations > 0
    seen = np.square(errors[usable] / deviations[usable]).sum()
    return float(np.sqrt((KNOWN * scale**2 + seen) / (KNOWN + usable.sum())))


def reported(left: Doubles, scale: float, errors: Doubles, probability: Doubles) -> float:
    """An upper estimate of the L2 norm of the errors of edits that are not computed densely.

    The larger of two: what their deviations say, and what the checked edits would say if nothing had been predicted.

    Args:
        left: the deviations of those edits, the checked ones not among them. scale: as `learned` from the check.
        errors: of the checked edits, and `probability` as `drawn` gives it.
    """
    predicted = scale**2 * float(np.square(left).sum())
    # Horvitz and Thompson (1952), less the checked edits themselves, whose dense values are kept.
    measured = float((np.square(errors) * (1 / probability - 1)).sum())
    return MARGIN * float(np.sqrt(np.maximum(predicted, measured)))

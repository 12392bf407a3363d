"""From changes of predictions to scores: what the field's wrappers of the two heads would have changed by.

What lives here: cherimoya's LogCountWrapper and ProfileWrapper as differences. What must not: predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def counts_effects(log_counts: torch.Tensor, changes: torch.Tensor, group: int | None) -> torch.Tensor:
    """How the log counts change: float64 (E,), of one signal group or the mean of all.

    Args:
        log_counts: (n_groups,), the reference's; where it is no number, neither is its change.
        changes: (E, n_groups).
    """
    import torch

    changes = torch.where(log_counts.isfinite(), changes.double(), torch.nan)
    return (changes if group is None else changes[:, group : group + 1]).mean(dim=1)


def profile_effects(
    logits: torch.Tensor, changes: torch.Tensor, signal_groups: tuple[int, ...], group: int | None
) -> torch.Tensor:
    """How the profile score changes: float64 (E,).

    The score is sum(y softmax(y)), y the logits less their mean, over the outputs and positions of a signal group, or
    of all. With p the reference's softmax, q the changed one and d the change of y, the difference is
    sum(q d) + sum((q - p) y), in which q - p = p (expm1(d) - m) / (1 + m), m = sum(p expm1(d)), is not a difference of
    nearly equal numbers. A constant may be added to d; with sum(p d) = 0, m is not negative, and 1 + m not a difference
    either.

    Args:
        logits: (n_outputs, length), the reference's. changes: (E, n_outputs, length).
    """
    import torch

    start = 0 if group is None else sum(signal_groups[:group])
    end = len(logits) if group is None else start + signal_groups[group]
    y = logits[start:end].double().flatten()
    y = y - y.mean()
    p = torch.softmax(y, dim=0)
    d = changes[:, start:end].double().flatten(1)
    d = d - (d @ p)[:, None]
    growth = torch.expm1(d)
    m = growth @ p
    apart = p * (growth - m[:, None]) / (1 + m[:, None])
    # y has the mean of its changes taken off; that leaves q alone, which sums to one.
    return ((apart + p) * d).sum(dim=1) - d.mean(dim=1) + apart @ y

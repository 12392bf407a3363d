"""From changes of predictions to scores: what the field's wrappers of the two heads would have changed by.

What lives here: cherimoya's LogCountWrapper and ProfileWrapper as differences. What must not: predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def counts_effects(log_counts: torch.Tensor, group: int | None) -> torch.Tensor:
    """(E, n_groups) changes of log counts to float64 (E,): one signal group's, or the mean of all."""
    return (log_counts if group is None else log_counts[:, group : group + 1]).double().mean(dim=1)


def profile_effects(
    logits: torch.Tensor, changes: torch.Tensor, signal_groups: tuple[int, ...], group: int | None
) -> torch.Tensor:
    """How the profile score changes: float64 (E,).

    The score is sum(y softmax(y)), y the logits less their mean, over the outputs and positions of a signal group, or
    of all. With p the reference's softmax, q the changed one and d the change of y, the difference is
    sum(q d) + sum((q - p) y), in which q - p = p (expm1(d) - m) / (1 + m), m = sum(p expm1(d)), is not a difference of
    nearly equal numbers.

    Args:
        logits: (n_outputs, length), the reference's. changes: (E, n_outputs, length).
    """
    import torch

    start = 0 if group is None else sum(signal_groups[:group])
    end = len(logits) if group is None else start + signal_groups[group]
    y = logits[start:end].double().flatten()
    y = y - y.mean()
    d = changes[:, start:end].double().flatten(1)
    p = torch.softmax(y, dim=0)
    growth = torch.expm1(d)
    m = growth @ p
    apart = p * (growth - m[:, None]) / (1 + m[:, None])
    # The mean of d moves every y by the same amount and leaves q alone; q sums to one.
    return ((apart + p) * d).sum(dim=1) - d.mean(dim=1) + apart @ y

"""Changes of the two heads' scores from changes of predictions.

What lives here: cherimoya's LogCountWrapper as a difference, and `read_out.py`'s formula in torch's operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.mutagenesis.profile_score import ProfileScore


def counts_effects(log_counts: torch.Tensor, group: int | None) -> torch.Tensor:
    """Of changes of the log counts (E, groups), those of one signal group or their mean over all: (E,)."""
    return (log_counts if group is None else log_counts[:, group : group + 1]).mean(dim=1)


def profile_effects(score: ProfileScore, changes: torch.Tensor) -> torch.Tensor:
    """How the profile score changes: float64 (E,), of changes of the logits (E, n_outputs, length)."""
    import torch

    p, y = (torch.from_numpy(values).to(changes.device) for values in (score.softmax, score.score))
    d = changes.flatten(1)[:, score.first : score.last].double()
    d = d - (d @ p)[:, None]
    growth = torch.expm1(d)
    m = growth @ p
    apart = p * (growth - m[:, None]) / (1 + m[:, None])
    # y has the mean of its changes taken off; that leaves q alone, which sums to one.
    return ((apart + p) * d).sum(dim=1) - d.mean(dim=1) + apart @ y

"""What a Cherimoya says of a sequence, written out step by step in float64, and what an edit changes of it.

The truth that mutagenesis is tested against. It shares no code with the package, nor with cherimoya: convolutions are
sums of shifted products, and every edit is a forward pass of its own. `test_dense_truth.py` holds it to cherimoya's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from cherimoya_assets.analysis.mutagenesis import LocalEdit

EPSILON = 1e-3
AT_ONCE = 16


def predictions(module: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, outputs, length) and log counts (n, groups) of one-hot (n, 4, L), control tracks at zero."""
    parts = [_forward(module, torch.from_numpy(X[k : k + AT_ONCE]).double()) for k in range(0, len(X), AT_ONCE)]
    logits, log_counts, _ = zip(*parts, strict=True)
    return torch.cat(logits).numpy(), torch.cat(log_counts).numpy()


def statistics(module: Any, X: np.ndarray) -> np.ndarray:
    """Mean and reciprocal standard deviation of each block's convolved input in turn: (n, 2 blocks)."""
    return torch.stack(_forward(module, torch.from_numpy(X).double())[2], dim=1).numpy()


def scores(module: Any, logits: np.ndarray, log_counts: np.ndarray, group: int | None) -> dict[str, np.ndarray]:
    """What LogCountWrapper (n, groups or 1) and ProfileWrapper (n, 1) make of predictions."""
    edges = np.concatenate([[0], np.cumsum(module.signal_groups)])
    first, last = (0, edges[-1]) if group is None else list(pairwise(edges))[group]
    y = logits[:, first:last].reshape(len(logits), -1)
    y = y - y.mean(axis=1, keepdims=True)
    p = np.exp(y - y.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    counts = log_counts if group is None else log_counts[:, [group]]
    return {"counts": counts, "profile": (p * y).sum(axis=1, keepdims=True)}


def edited(X: np.ndarray, edits: Sequence[LocalEdit]) -> np.ndarray:
    """(4, L) with each edit made: (E, 4, L)."""
    sequences = np.stack([X] * len(edits))
    for sequence, edit in zip(sequences, edits, strict=True):
        for k in range(edit.bases.shape[1]):
            sequence[:, edit.start + k] = edit.bases[:, k]
    return sequences


def effects(module: Any, X: np.ndarray, edits: Sequence[LocalEdit], group: int | None) -> dict[str, np.ndarray]:
    """Head to the change (E,) of its score by each edit, a mean over the wrapper's outputs."""
    before = scores(module, *predictions(module, X[None]), group)
    after = scores(module, *predictions(module, edited(X, edits)), group)
    return {head: (after[head] - before[head]).mean(axis=1) for head in after}


def hypothetical(module: Any, X: np.ndarray, positions: Sequence[int], group: int | None) -> dict[str, np.ndarray]:
    """Head to (4, positions): the change that each base makes at each position, less its mean over the alphabet."""
    edits = [LocalEdit(int(p), np.eye(4, dtype=np.int8)[:, [base]]) for p in positions for base in range(4)]
    other = [k for k, edit in enumerate(edits) if not np.array_equal(edit.bases[:, 0], X[:, edit.start])]
    found = {}
    for head, changes in effects(module, X, [edits[k] for k in other], group).items():
        table = np.zeros(len(edits))
        table[other] = changes
        found[head] = table.reshape(-1, 4).T - table.reshape(-1, 4).mean(axis=1)
    return found


def relative_error(found: np.ndarray, truth: np.ndarray) -> float:
    """In the L2 norm, over everything."""
    assert found.shape == truth.shape
    assert np.linalg.norm(truth) > 0
    return float(np.linalg.norm(found.astype(np.float64) - truth) / np.linalg.norm(truth))


def gelu(u: torch.Tensor) -> torch.Tensor:
    """torch's `approximate="tanh"`."""
    return 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))


def _forward(module: Any, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    statistics: list[torch.Tensor] = []
    weights = {name: tensor.detach().double() for name, tensor in module.state_dict().items()}
    x = gelu(_convolved(X.transpose(1, 2), weights["iconv.weight"]) + weights["iconv.bias"])
    for k in range(module.n_layers):
        left, middle, right = weights[f"blocks.{k}.conv_weight"]
        d, length = 2**k, x.shape[1]
        padded = torch.nn.functional.pad(x, (0, 0, d, d))
        h = left * padded[:, :length] + middle * x + right * padded[:, 2 * d :]
        mean = h.mean(dim=(1, 2), keepdim=True)
        variance = (h - mean).square().mean(dim=(1, 2), keepdim=True)
        n = (h - mean) / (variance + EPSILON).sqrt()
        statistics += [mean.flatten(), 1 / (variance + EPSILON).sqrt().flatten()]
        hidden = gelu(n @ weights[f"blocks.{k}.linear1.weight"].T)
        x = x + module.residual_scale * (hidden @ weights[f"blocks.{k}.linear2.weight"].T)
    inner = slice(module.trimming, x.shape[1] - module.trimming)
    channels = x.shape[2]
    # A control track of zeros adds nothing to the logits, nor, as log(0 + 1), to the log counts.
    logits = _convolved(x, weights["fconv.weight"][:, :channels]) + weights["fconv.bias"]
    log_counts = x[:, inner].mean(dim=1) @ weights["linear.weight"][:, :channels].T + weights["linear.bias"]
    return logits[:, inner].transpose(1, 2), log_counts, statistics


def _convolved(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(n, L, C) by (outputs, C, odd width) to (n, L, outputs), zero beyond both ends."""
    width, length = weight.shape[2], x.shape[1]
    padded = torch.nn.functional.pad(x, (0, 0, width // 2, width // 2))
    return sum(padded[:, k : k + length] @ weight[:, :, k].T for k in range(width))

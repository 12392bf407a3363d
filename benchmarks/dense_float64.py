"""The truth for the benchmarks: a Cherimoya's forward pass in float64, written plainly, once for every edit.

cherimoya's own pass casts to float32 inside its blocks, so it cannot be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import conv1d, gelu

BATCH = 32


def dense_scores(module: Any, X: np.ndarray, positions: Sequence[int], group: int) -> dict[str, np.ndarray]:
    """Hypothetical scores of both heads at some positions of one sequence, float64 (4, positions)."""
    weights = {name: tensor.double() for name, tensor in module.state_dict().items()}
    sequence = torch.from_numpy(X).double()
    edited = sequence.repeat(4 * len(positions), 1, 1)
    for k, position in enumerate(positions):
        for base in range(4):
            edited[4 * k + base, :, position] = 0
            edited[4 * k + base, base, position] = 1
    with torch.no_grad():
        scores = [predict(module, weights, edited[k : k + BATCH], group) for k in range(0, len(edited), BATCH)]
    tables = {head: torch.cat([part[head] for part in scores]).view(-1, 4).T.numpy() for head in scores[0]}
    # The base that is there leaves the sequence as it is: differences to it are the effects.
    return {head: table - table.mean(axis=0) for head, table in tables.items()}


def predict(module: Any, weights: dict[str, torch.Tensor], X: torch.Tensor, group: int) -> dict[str, torch.Tensor]:
    """Log counts of a group and its profile score, (n,) each, controls zero."""
    x = gelu(conv1d(X, weights["iconv.weight"], weights["iconv.bias"], padding=10), approximate="tanh")
    for i, block in enumerate(module.blocks):
        taps = weights[f"blocks.{i}.conv_weight"]
        h = conv1d(x, taps.T[:, None], padding=block.dilation, dilation=block.dilation, groups=x.shape[1])
        h = h - h.mean(dim=(1, 2), keepdim=True)
        h = h / (h.square().mean(dim=(1, 2), keepdim=True) + 1e-3).sqrt()
        hidden = gelu(h.transpose(1, 2) @ weights[f"blocks.{i}.linear1.weight"].T, approximate="tanh")
        x = x + block.residual_scale * (hidden @ weights[f"blocks.{i}.linear2.weight"].T).transpose(1, 2)
    kept = slice(module.trimming, X.shape[2] - module.trimming)
    channels = x.shape[1]
    logits = conv1d(x, weights["fconv.weight"][:, :channels], weights["fconv.bias"], padding=37)[:, :, kept]
    log_counts = x[:, :, kept].mean(dim=2) @ weights["linear.weight"][:, :channels].T + weights["linear.bias"]
    first = sum(module.signal_groups[:group])
    y = logits[:, first : first + module.signal_groups[group]].flatten(1)
    y = y - y.mean(dim=1, keepdim=True)
    return {"counts": log_counts[:, group], "profile": (y * y.softmax(dim=1)).sum(dim=1)}

"""The truth for the benchmarks: a Cherimoya's forward pass in float64, written plainly, once for every edit.

cherimoya's own pass casts to float32 inside its blocks, so it cannot be asked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.nn.functional import gelu, pad

BATCH = 6
"""Edits at once: what a core's cache holds of the state."""


def dense_scores(module: Any, X: np.ndarray, positions: Sequence[int], group: int) -> dict[str, np.ndarray]:
    """Hypothetical scores of both heads at some positions of one sequence, float64 (4, positions)."""
    letters = [(int(p), base) for p in positions for base in range(4) if not X[base, p]]
    edited = np.stack([X] * (len(letters) + 1))
    for sequence, (position, base) in zip(edited[1:], letters, strict=True):
        sequence[:, position] = 0
        sequence[base, position] = 1
    columns = {position: k for k, position in enumerate(positions)}
    found = {}
    for head, scores in predict(module, edited, group).items():
        table = np.zeros((4, len(positions)))
        for (position, base), score in zip(letters, scores[1:], strict=True):
            table[base, columns[position]] = score - scores[0]
        found[head] = table - table.mean(axis=0)
    return found


def predict(module: Any, X: np.ndarray, group: int) -> dict[str, np.ndarray]:
    """Log counts of a group and its profile score, float64 (n,) each, of one-hot (n, 4, L), controls zero."""
    weights = {name: tensor.double() for name, tensor in module.state_dict().items()}
    parts = [torch.from_numpy(X[k : k + BATCH]).double() for k in range(0, len(X), BATCH)]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(lambda part: forward(module, weights, part, group), parts))
    finally:
        torch.set_num_threads(before)
    return {head: np.concatenate([part[head] for part in found]) for head in found[0]}


@torch.no_grad()
def forward(module: Any, weights: dict[str, torch.Tensor], X: torch.Tensor, group: int) -> dict[str, np.ndarray]:
    """Of a batch."""
    x = gelu(convolved(X.transpose(1, 2), weights["iconv.weight"]) + weights["iconv.bias"], approximate="tanh")
    length = x.shape[1]
    for i, block in enumerate(module.blocks):
        left, middle, right = weights[f"blocks.{i}.conv_weight"]
        d = int(block.dilation)
        around = pad(x, (0, 0, d, d))
        h = left * around[:, :length] + middle * x + right * around[:, 2 * d :]
        h = h - h.mean(dim=(1, 2), keepdim=True)
        h = h / (h.square().mean(dim=(1, 2), keepdim=True) + 1e-3).sqrt()
        hidden = gelu(h @ weights[f"blocks.{i}.linear1.weight"].T, approximate="tanh")
        x = x + block.residual_scale * (hidden @ weights[f"blocks.{i}.linear2.weight"].T)
    kept = slice(module.trimming, length - module.trimming)
    channels = x.shape[2]
    logits = (convolved(x, weights["fconv.weight"][:, :channels]) + weights["fconv.bias"])[:, kept]
    log_counts = x[:, kept].mean(dim=1) @ weights["linear.weight"][:, :channels].T + weights["linear.bias"]
    first = sum(module.signal_groups[:group])
    y = logits[:, :, first : first + module.signal_groups[group]].flatten(1)
    y = y - y.mean(dim=1, keepdim=True)
    return {"counts": log_counts[:, group].numpy(), "profile": (y * y.softmax(dim=1)).sum(dim=1).numpy()}


def convolved(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(n, L, C) by (outputs, C, odd width) to (n, L, outputs), zero beyond both ends."""
    width, length = weight.shape[2], x.shape[1]
    around = pad(x, (0, 0, width // 2, width // 2))
    found: torch.Tensor = sum(around[:, k : k + length] @ weight[:, :, k].T for k in range(width))  # type: ignore[assignment]
    return found

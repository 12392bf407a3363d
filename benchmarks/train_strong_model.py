"""Train a Cherimoya on a simulated experiment whose single bases move log counts by 3 to 5, from this repository alone.

    .venv/bin/python benchmarks/train_strong_model.py activator --out activator.torch

Worlds are in `strong_worlds.py`. The optimisers and rates are those of `cherimoya fit`; targets are expected counts, so
that a few thousand steps make effects as strong as those of a factor's ChIP-exo.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from cherimoya import Cherimoya
from cherimoya.losses import _mixture_loss
from strong_worlds import WORLDS, Windows

MUON_RATE, ADAM_RATE = 0.025, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--in-window", type=int, default=554)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    groups = [2] if WORLDS[arguments.world].stranded else [1]
    model = Cherimoya(
        n_filters=arguments.filters,
        n_layers=arguments.layers,
        signal_groups=groups,
        compile=False,
        random_state=arguments.seed,
    )
    train(model, arguments)
    model.eval()
    print(f"held out: log counts correlate {correlation(model, arguments):.3f} with what is expected")
    model.save(str(arguments.out))


def train(model: Cherimoya, arguments: argparse.Namespace) -> None:
    windows = Windows(arguments.world, arguments.seed)
    matrices = [p for name, p in model.named_parameters() if "linear" in name and p.ndim == 2 and "blocks" in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    optimisers = [torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.03), torch.optim.AdamW(others, lr=ADAM_RATE)]
    began = told = time.monotonic()
    out = arguments.in_window - 2 * model.trimming
    with torch.no_grad():
        model.linear.bias.fill_(float(np.log(windows.world.baseline)))
    for step in range(arguments.steps):
        X = windows.sequences(arguments.batch, arguments.in_window, out)
        y = windows.expected(X, out)
        rate = min(1.0, (step + 1) / 50) * 0.5 * (1 + np.cos(np.pi * step / arguments.steps))
        for optimiser, full in zip(optimisers, (MUON_RATE, ADAM_RATE), strict=True):
            optimiser.param_groups[0]["lr"] = rate * full
            optimiser.zero_grad()
        model.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits, log_counts = model(torch.from_numpy(X).float())
        profile, counts = _mixture_loss(y, logits.float(), log_counts.float(), signal_groups=model.signal_groups)
        # The profile's loss grows with the counts.
        (profile.mean() / y.sum(dim=(1, 2)).mean() + counts.mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        if time.monotonic() - told > 30 or step == arguments.steps - 1:
            told = time.monotonic()
            left = (told - began) / (step + 1) * (arguments.steps - step - 1)
            print(
                f"step {step + 1} of {arguments.steps}: counts {counts.mean().item():.3f}, {left:.0f} s left",
                flush=True,
            )
            model.save(str(arguments.out))


def correlation(model: Cherimoya, arguments: argparse.Namespace, n: int = 200) -> float:
    """Pearson's r of predicted with expected log counts of windows that were not trained on."""
    windows, out = Windows(arguments.world, arguments.seed + 1), arguments.in_window - 2 * model.trimming
    X = windows.sequences(n, arguments.in_window, out)
    with torch.no_grad():
        predicted = torch.cat([model(torch.from_numpy(X[k : k + 8]).float())[1][:, 0] for k in range(0, n, 8)])
    return float(np.corrcoef(predicted.numpy(), torch.log1p(windows.expected(X, out).sum(dim=(1, 2))).numpy())[0, 1])


if __name__ == "__main__":
    main()

"""Train a larger Cherimoya on what the demo's model knows, from the files of this repository alone.

    .venv/bin/python benchmarks/train_model.py --minutes 60 --out default.torch

The demo's cut sites are not in the repository, so the targets are the demo model's own predictions: two neighbouring
500-bp profiles, softmaxed and multiplied by their counts, cover the middle of a longer window. A student that fits them
has learned the motifs that decide them, which is what a benchmark of attributions needs (random weights prove nothing).
Steps are taken on shorter crops first, where they are cheaper, and on the whole window for the last third of the time.

Printed every minute: profile cross entropy and count error on the batch, and, at the end, the correlation of the
student's log counts with the teacher's on chromosomes that it never saw.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from cherimoya import Cherimoya

from cherimoya_assets.analysis.genome import Genome, open_genome
from cherimoya_assets.analysis.loci import read_loci
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.one_hot import encode
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.experiment import read_experiment

TILE, TEACHER_WINDOW = 500, 718
HELD_OUT = ("chrV", "chrXV", "chrXVI")
JITTER = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--filters", type=int, default=128)
    parser.add_argument("--layers", type=int, default=9)
    parser.add_argument("--in-window", type=int, default=2114)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    student = Cherimoya(n_filters=arguments.filters, n_layers=arguments.layers, compile=False, random_state=0)
    train(student, arguments)
    student.eval()
    print(f"held out: log counts correlate {held_out_correlation(student, arguments.in_window):.3f} with the teacher's")
    student.save(str(arguments.out))


def train(student: Cherimoya, arguments: argparse.Namespace) -> None:
    """Fit the teacher's predictions for the given time."""
    windows = Windows(held_out=False)
    matrices = [p for name, p in student.named_parameters() if "linear" in name and p.ndim == 2 and "blocks" in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in student.parameters() if id(p) not in chosen]
    # The optimisers and rates of `cherimoya fit`.
    optimisers = [torch.optim.Muon(matrices, lr=0.025, weight_decay=0.03), torch.optim.AdamW(others, lr=1e-3)]
    began = told = time.monotonic()
    budget, step = arguments.minutes * 60, 0
    shorter = 2 * student.trimming + 400
    while (spent := (time.monotonic() - began) / budget) < 1:
        width = arguments.in_window if spent > 0.67 else min(shorter, arguments.in_window)
        X, y = windows.batch(arguments.batch, width, width - 2 * student.trimming)
        warm = min(1.0, (step + 1) / 50)
        for optimiser, rate in zip(optimisers, (0.025, 1e-3), strict=True):
            optimiser.param_groups[0]["lr"] = rate * warm * (0.5 * (1 + np.cos(np.pi * spent)))
            optimiser.zero_grad()
        student.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits, log_counts = student(X)
        log_p = torch.log_softmax(logits[:, 0].float(), dim=-1)
        target = y / y.sum(dim=-1, keepdim=True)
        profile_loss = -(target * log_p).sum(dim=-1).mean()
        count_loss = ((log_counts[:, 0].float() - torch.log1p(y.sum(dim=-1))) ** 2).mean()
        (profile_loss + count_loss).backward()
        for optimiser in optimisers:
            optimiser.step()
        step += 1
        if time.monotonic() - told > 60:
            told = time.monotonic()
            entropy = -(target * torch.log(target)).sum(dim=-1).mean()
            divergence = (profile_loss - entropy).item()
            print(f"step {step}, {width} bp: profile KL {divergence:.4f}, counts {count_loss.item():.4f}", flush=True)
            student.save(str(arguments.out))


class Windows:
    """Sequences around the demo's peaks and negatives, and what the demo's model expects there."""

    def __init__(self, *, held_out: bool) -> None:
        experiment = read_experiment(DEMO_EXPERIMENT)
        cache = Path.home() / ".cache" / "cherimoya_assets_benchmarks"
        self.genome: Genome = open_genome(experiment.sequences, cache)
        self.teacher = load_model(next(iter(experiment.model.values())))
        loci = read_loci([*experiment.loci, *experiment.negatives], self.genome.chrom_sizes)
        self.loci = loci[loci["chrom"].isin(HELD_OUT) == held_out].reset_index(drop=True)
        self.random = np.random.default_rng(0)

    def batch(self, n: int, width: int, out: int, jitter: int = JITTER) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, 4, width) sequences and (n, out) expected cuts a base; every second one reverse-complemented."""
        X, y = np.zeros((n, 4, width), dtype=np.int8), torch.zeros((n, out))
        filled = 0
        while filled < n:
            row = self.loci.iloc[int(self.random.integers(len(self.loci)))]
            centre = (row["start"] + row["end"]) // 2 + int(self.random.integers(-jitter, jitter + 1))
            reach = max(width // 2, TEACHER_WINDOW) + 1
            if centre < reach or centre + reach > self.genome.chrom_sizes[row["chrom"]]:
                continue
            X[filled] = encode(self.genome.fetch(row["chrom"], centre - width // 2, centre + width - width // 2))
            y[filled] = self._expected(row["chrom"], centre, out)
            if self.random.random() < 0.5:
                X[filled], y[filled] = X[filled][::-1, ::-1], y[filled].flip(0)
            filled += 1
        return torch.from_numpy(X).float(), y

    def _expected(self, chrom: str, centre: int, out: int) -> torch.Tensor:
        starts = [centre - TILE, centre]
        margin = (TEACHER_WINDOW - TILE) // 2
        tiles = np.stack(
            [encode(self.genome.fetch(chrom, start - margin, start - margin + TEACHER_WINDOW)) for start in starts]
        )
        logits, log_counts = self.teacher.predict(tiles)
        expected = (torch.softmax(logits[:, 0], dim=-1) * torch.expm1(log_counts)).flatten()
        left = TILE - out // 2
        return expected[left : left + out].clamp_min(1e-6)


def held_out_correlation(student: Cherimoya, width: int, n: int = 200) -> float:
    """Pearson's r of the student's log counts with the teacher's on chromosomes left out of training."""
    windows = Windows(held_out=True)
    X, y = windows.batch(n, width, width - 2 * student.trimming, jitter=0)
    with torch.no_grad():
        predicted = torch.cat([student(X[k : k + 8])[1][:, 0] for k in range(0, n, 8)])
    return float(np.corrcoef(predicted.numpy(), torch.log1p(y.sum(dim=-1)).numpy())[0, 1])


if __name__ == "__main__":
    main()

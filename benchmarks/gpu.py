"""Mutagenesis of Cherimoyas on a GPU: the engine's general path against the dense one, paired in one run.

    python benchmarks/gpu.py

Needs no network. The models are those of `models/`, and one of cherimoya's default size with random weights. The dense
contestant is tangermeme with cherimoya's own kernels, at the batch size that the memory holds, both heads from one
pass; errors are relative, over a part of one locus, against a forward pass in float64.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import numpy as np
import torch
from cherimoya import Cherimoya
from dense_float64 import dense_scores
from machine import describe, in_turns, ratio
from strong_worlds import Windows
from windows import HELD_OUT

from cherimoya_assets.analysis.cherimoya_model import CherimoyaModel
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.mutagenesis import saturation_mutagenesis
from cherimoya_assets.analysis.sequence_model import SequenceModel

HEADS = ("counts", "profile")
MODELS = {"activator": 554, "repressor": 718, "pair": 1114}
"""Of `models/`, with the width of their input in bp."""

WIDTH, PART = 400, 40
"""bp that are mutated, and bp of one locus that are compared with float64."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--loci", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(describe(), flush=True)
    folder = Path(__file__).with_name("models")
    for name, length in MODELS.items():
        file = SimpleNamespace(path=folder / f"{name}.torch", kind="cherimoya", trusted=False, sha256=None)
        compare(name, load_model(file, arguments.device), length, name, arguments)
    compare("default size", default_model(arguments.device), 2114, "pair", arguments)


def default_model(device: str) -> SequenceModel:
    """cherimoya's defaults, every weight moved by 10 % of its layer's spread: no head is flat."""
    module = Cherimoya(compile=False, random_state=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            spread = float(weight.std()) if weight.numel() > 1 else 0.0
            weight += torch.randn(weight.shape, generator=generator) * (0.1 * spread or 0.01)
    groups = tuple(module.signal_groups)
    return CherimoyaModel(
        module.to(device).eval(), groups, module.n_control_tracks, module.trimming, Path("default.torch"), ""
    )


def compare(name: str, model: SequenceModel, length: int, world: str, arguments: argparse.Namespace) -> None:
    """Speed in turns, then errors."""
    X = Windows(world, HELD_OUT).sequences(arguments.loci, length, length - 2 * model.trimming)
    start = length // 2 - WIDTH // 2
    run = partial(saturation_mutagenesis, model, X, start, start + WIDTH, HEADS, device=arguments.device)
    windowed, dense = run(), run(tolerance=0)
    seconds = in_turns({"dense": partial(run, tolerance=0), "windowed": run}, arguments.rounds)
    speeds = {way: len(X) / median(took) for way, took in seconds.items()}
    print(f"{name}: {len(X)} loci of {length} bp, {WIDTH} bp mutated")
    print(f"  loci/s     dense {speeds['dense']:.2f}, windowed {speeds['windowed']:.2f}")
    print(f"  ratio      dense to windowed {ratio(seconds['dense'], seconds['windowed'])}")
    positions = range(length // 2 - PART // 2, length // 2 + PART // 2)
    truth = dense_scores(model.module.cpu(), X[0], positions, 0)
    model.module.to(arguments.device)
    for head in HEADS:
        errors = {
            way: np.linalg.norm(found.scores[head][0][:, [p - start for p in positions]] - truth[head])
            / np.linalg.norm(truth[head])
            for way, found in {"dense": dense, "windowed": windowed}.items()
        }
        print(f"  {head:<9}  error dense {errors['dense']:.1e}, windowed {errors['windowed']:.1e}", flush=True)
    print(f"  report     {dict(windowed.report)}", flush=True)


if __name__ == "__main__":
    main()

"""Models and the sequences that they are asked about: the demo's peaks, or held-out windows of a simulated world."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from strong_worlds import WORLDS, Windows

from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.loci import KEPT, place_windows, read_loci
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.one_hot import encode
from cherimoya_assets.analysis.sequence_model import SequenceModel
from cherimoya_assets.demo import DEMO_EXPERIMENT

HELD_OUT = 1_000
"""Added to a seed, that no window is one that a model was trained on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, of which sequences."""
    parser.add_argument("--model", type=Path, default=DEMO_EXPERIMENT.parent / "model.torch")
    parser.add_argument("--world", choices=WORLDS, default=None, help="what its windows are; the demo's peaks without")
    parser.add_argument("--in-window", type=int, default=718)
    parser.add_argument("--width", type=int, default=400, help="bp in the middle that are mutated")
    parser.add_argument("--seed", type=int, default=0)


def chosen(arguments: argparse.Namespace) -> tuple[SequenceModel, tuple[int, int]]:
    """The model, and the positions that are mutated."""
    model = load_model(SimpleNamespace(path=arguments.model, kind="cherimoya", trusted=False, sha256=None))
    start = arguments.in_window // 2 - arguments.width // 2
    return model, (start, start + arguments.width)


def some_windows(arguments: argparse.Namespace, model: SequenceModel, n: int) -> np.ndarray:
    """One-hot int8 (n, 4, in_window)."""
    if arguments.world:
        windows = Windows(arguments.world, arguments.seed + HELD_OUT)
        return windows.sequences(n, arguments.in_window, arguments.in_window - 2 * model.trimming)
    folder = DEMO_EXPERIMENT.parent
    genome = open_genome(folder / "sacCer3.fa.gz", Path.home() / ".cache" / "cherimoya_assets_benchmarks")
    loci = read_loci([folder / "peaks.narrowPeak"], genome.chrom_sizes)
    placed = place_windows(loci, genome.chrom_sizes, arguments.in_window, None, list(genome.chrom_sizes))
    rows = placed[placed["status"] == KEPT].sample(n, random_state=arguments.seed)
    windows = zip(rows["chrom"], rows["window_start"], strict=True)
    return np.stack([encode(genome.fetch(chrom, int(at), int(at) + arguments.in_window)) for chrom, at in windows])

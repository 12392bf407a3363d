"""Windowed mutagenesis against tangermeme's, paired in one run, with the errors of both against dense float64.

    .venv/bin/python benchmarks/mutagenesis.py                                   # the demo's model, 718 bp
    .venv/bin/python benchmarks/mutagenesis.py --model default.torch --in-window 2114 --loci 2

tangermeme runs at the best of several batch sizes, with its default (`fast=True`, which falls back for a Cherimoya) or
with `fast=False`, whichever is faster; both are tried first on a part of a locus. It attributes the counts head, as
`cherimoya attribute` does; windowed mutagenesis is timed for both heads and for the counts alone.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import numpy as np
import torch
from dense_float64 import dense_scores
from machine import describe, in_turns, ratio
from tangermeme.saturation_mutagenesis import saturation_mutagenesis as tangermeme_mutagenesis

from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.loci import KEPT, place_windows, read_loci
from cherimoya_assets.analysis.models import SequenceModel, load_model
from cherimoya_assets.analysis.mutagenesis import saturation_mutagenesis
from cherimoya_assets.analysis.mutagenesis.windowed.network import Network, read_network
from cherimoya_assets.analysis.one_hot import encode
from cherimoya_assets.demo import DEMO_EXPERIMENT

BATCHES = (8, 16, 32, 64, 128)
HEADS = ("counts", "profile")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=DEMO_EXPERIMENT.parent / "model.torch")
    parser.add_argument("--in-window", type=int, default=718)
    parser.add_argument("--width", type=int, default=400, help="bp in the middle that are mutated")
    parser.add_argument("--loci", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--accuracy-loci", type=int, default=0, help="loci compared with dense float64, all edits")
    parser.add_argument("--every", type=int, default=1, help="of the compared positions, every so manieth")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = load_model(SimpleNamespace(path=arguments.model, kind="cherimoya", trusted=False, sha256=None))
    network = read_network(model.module, torch.float32, "cpu")
    print(describe())
    print(f"model      {arguments.model.name}: {len(network.blocks)} blocks, {network.n_filters} filters")
    start = arguments.in_window // 2 - arguments.width // 2
    span = (start, start + arguments.width)
    if arguments.loci:
        X = some_loci(arguments.in_window, arguments.loci, arguments.seed)
        speed(model, network, X, span, arguments.rounds)
    if arguments.accuracy_loci:
        accuracy(model, some_loci(arguments.in_window, arguments.accuracy_loci, arguments.seed), span, arguments.every)


def some_loci(in_window: int, n: int, seed: int) -> np.ndarray:
    """One-hot windows, int8 (n, 4, in_window), around some of the demo's peaks."""
    experiment = DEMO_EXPERIMENT.parent
    genome = open_genome(experiment / "sacCer3.fa.gz", Path.home() / ".cache" / "cherimoya_assets_benchmarks")
    loci = read_loci([experiment / "peaks.narrowPeak"], genome.chrom_sizes)
    placed = place_windows(loci, genome.chrom_sizes, in_window, None, list(genome.chrom_sizes))
    rows = placed[placed["status"] == KEPT].sample(n, random_state=seed)
    windows = zip(rows["chrom"], rows["window_start"], strict=True)
    return np.stack([encode(genome.fetch(chrom, int(first), int(first) + in_window)) for chrom, first in windows])


def speed(model: SequenceModel, network: Network, X: np.ndarray, span: tuple[int, int], rounds: int) -> None:
    """Paired seconds for the same loci."""
    batch, fast = best_of_tangermeme(model, X[:1], span)
    ours = partial(saturation_mutagenesis, model, X, *span)
    saturation_mutagenesis(model, X[:1], span[0], span[0] + 24, HEADS)  # compiles
    seconds = in_turns(
        {
            "tangermeme": partial(tangermeme, model, X, span, batch, fast),
            "both": partial(ours, HEADS),
            "counts": partial(ours, ("counts",)),
        },
        rounds,
    )
    print(f"loci       {len(X)} of {X.shape[2]} bp, {span[1] - span[0]} bp mutated, {rounds} rounds")
    print(f"tangermeme {median(seconds['tangermeme']) / len(X):.2f} s a locus, batch {batch}, fast={fast}, counts")
    print(f"windowed   {median(seconds['both']) / len(X):.3f} s a locus, both heads")
    print(f"windowed   {median(seconds['counts']) / len(X):.3f} s a locus, counts alone")
    print(f"ratio      tangermeme to both heads   {ratio(seconds['tangermeme'], seconds['both'])}")
    print(f"ratio      tangermeme to counts alone {ratio(seconds['tangermeme'], seconds['counts'])}")
    print(f"ratio      both heads to counts alone {ratio(seconds['both'], seconds['counts'])}")
    windowed, dense = products(network, X.shape[2], span)
    rate = windowed * len(X) / median(seconds["both"]) / 1e9
    fewer, largest = dense / windowed, peak_rate()
    print(
        f"products   {windowed / 1e9:.1f} GFLOP a locus in the windows of its edits, {fewer:.1f} times fewer than dense"
    )
    print(f"           {rate:.0f} GFLOP/s of them, everything included; one large product reaches {largest:.0f} here")
    profile(partial(ours, HEADS))


def best_of_tangermeme(model: SequenceModel, X: np.ndarray, span: tuple[int, int]) -> tuple[int, bool]:
    """Batch size and `fast` of its quickest run on a part of a locus."""
    part, times = (span[0], span[0] + max(32, (span[1] - span[0]) // 8)), {}
    for fast in (True, False):
        for batch in BATCHES:
            began = time.perf_counter()
            tangermeme(model, X, part, batch, fast)
            times[batch, fast] = time.perf_counter() - began
    return min(times, key=lambda setting: times[setting])


def tangermeme(model: SequenceModel, X: np.ndarray, span: tuple[int, int], batch: int, fast: bool) -> torch.Tensor:
    with warnings.catch_warnings():
        # That its fast path does not apply to this model is what it says, each time.
        warnings.simplefilter("ignore")
        scores: torch.Tensor = tangermeme_mutagenesis(
            model.counts_wrapper(0),
            torch.from_numpy(X),
            start=span[0],
            end=span[1],
            batch_size=batch,
            hypothetical=True,
            device="cpu",
            fast=fast,
        )
    return scores


def accuracy(model: SequenceModel, X: np.ndarray, span: tuple[int, int], every: int) -> None:
    """Relative L2 error of each locus against dense float64, of windowed mutagenesis and of tangermeme in float32."""
    result = saturation_mutagenesis(model, X, *span, HEADS)
    positions = list(range(*span, every))
    columns = [position - span[0] for position in positions]
    errors: dict[str, list[float]] = {}
    strongest: dict[str, list[float]] = {}
    for row, sequence in enumerate(X):
        truth = dense_scores(model.module, sequence, positions, group=0)
        dense32 = tangermeme(model, sequence[None], span, 32, False)[0].numpy() if row < 3 else None
        for head in HEADS:
            strongest.setdefault(head, []).append(float(np.abs(truth[head]).max()))
            errors.setdefault(head, []).append(relative(result.scores[head][row][:, columns], truth[head]))
        if dense32 is not None:
            errors.setdefault("tangermeme, counts", []).append(relative(dense32[:, columns], truth["counts"]))
    print(f"accuracy   {len(X)} loci, {len(positions)} positions each, against dense float64")
    for name, found in errors.items():
        print(f"           {name}: median {np.median(found):.1e}, largest {max(found):.1e}, of {len(found)}")
    for head, found in strongest.items():
        print(f"           strongest {head} score of a locus: {min(found):.3g} to {max(found):.3g}")
    said = result.report
    for head in HEADS:
        print(f"           its own estimate, {head}: at most {said[f'{head}_error_max']:.1e}")
    print(f"           loci with more nodes {said['loci_with_more_nodes']}, gone dense {said['loci_gone_dense']}")


def relative(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def products(network: Network, length: int, span: tuple[int, int]) -> tuple[float, float]:
    """Floating-point operations of the matrix products of one locus: the edits' windows, and dense passes."""
    c, h = network.n_filters, network.n_hidden
    width, rows = network.stem.shape[2], 0
    for block in network.blocks:
        width = min(length, width + 2 * block.dilation)
        rows += width
    edits = 3 * (span[1] - span[0])
    return edits * rows * 4.0 * c * h, edits * len(network.blocks) * length * 4.0 * c * h


def peak_rate() -> float:
    """GFLOP/s of a large float32 product."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times) / 1e9


def profile(run: partial[object]) -> None:
    """Where the time goes: the largest of the functions' own times, of one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    profiler = cProfile.Profile(time.process_time)
    import cherimoya_assets.analysis.mutagenesis.windowed.saturation as windowed

    # In the thread of the profiler.
    alone, windowed.each_alone = windowed.each_alone, lambda work, n, _: ((k, work(k)) for k in range(n))
    try:
        profiler.runcall(run)
    finally:
        windowed.each_alone = alone
        torch.set_num_threads(threads)
    stats = pstats.Stats(profiler)
    total = stats.total_tt
    rows = sorted(((own, name) for name, (_, _, own, _, _) in stats.stats.items()), reverse=True)
    print("profile    share of one thread's time")
    for own, (file, _, function) in rows[:12]:
        print(f"           {own / total:5.1%}  {Path(file).name}: {function}")


if __name__ == "__main__":
    main()

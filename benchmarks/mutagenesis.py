"""Windowed mutagenesis of a Cherimoya against tangermeme's, paired in one run.

    .venv/bin/python benchmarks/mutagenesis.py                                   # the demo's model, 718 bp
    .venv/bin/python benchmarks/mutagenesis.py --model benchmarks/models/activator.torch --world activator \\
        --in-window 554

tangermeme runs at the best of several batch sizes, with its default (`fast=True`, which falls back for a Cherimoya) or
with `fast=False`, whichever is faster; both are tried first on a part of a locus. It attributes the counts head, as
`cherimoya attribute` does; windowed mutagenesis is timed for the counts alone, for both heads, and for one locus by
itself. How accurate it is: `calibration.py`.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import describe, in_turns, ratio
from tangermeme_at_its_best import best_of_tangermeme, tangermeme
from windows import add_arguments, chosen, some_windows

from cherimoya_assets.analysis.mutagenesis import saturation_mutagenesis
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.kernels import CpuKernels, CpuSequence
from cherimoya_assets.analysis.sequence_model import SequenceModel

HEADS = ("counts", "profile")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--loci", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model, span = chosen(arguments)
    X = some_windows(arguments, model, arguments.loci)
    print(describe())
    weights = CpuKernels(model.module).weights
    print(f"model      {arguments.model.name}: {len(weights.dilations)} blocks, {len(weights.counts)} filters")
    speed(model, X, span, arguments.rounds)
    products(model, X, span)
    phases(model, X, span)


def speed(model: SequenceModel, X: np.ndarray, span: tuple[int, int], rounds: int) -> None:
    """Paired seconds for the same loci."""
    wrapper = model.counts_wrapper(0)
    batch, fast = best_of_tangermeme(wrapper, X[:1], span)
    ours = partial(saturation_mutagenesis, model, X, *span)
    ours(HEADS)  # compiles
    seconds = in_turns(
        {
            "tangermeme": partial(tangermeme, wrapper, X, span, batch, fast),
            "both": partial(ours, HEADS),
            "counts": partial(ours, ("counts",)),
            "one by one": lambda: [saturation_mutagenesis(model, x[None], *span, HEADS) for x in X],
        },
        rounds,
    )
    print(f"loci       {len(X)} of {X.shape[2]} bp, {span[1] - span[0]} bp mutated, {rounds} rounds")
    print(f"tangermeme {median(seconds['tangermeme']) / len(X):.3f} s a locus, batch {batch}, fast={fast}, counts")
    for name, what in (("counts", "counts alone"), ("both", "both heads"), ("one by one", "both heads, one by one")):
        print(f"windowed   {median(seconds[name]) / len(X):.3f} s a locus, {what}")
    print(f"ratio      tangermeme to counts alone           {ratio(seconds['tangermeme'], seconds['counts'])}")
    print(f"ratio      tangermeme to both heads             {ratio(seconds['tangermeme'], seconds['both'])}")
    print(f"ratio      tangermeme to both heads, one by one {ratio(seconds['tangermeme'], seconds['one by one'])}")


def products(model: SequenceModel, X: np.ndarray, span: tuple[int, int]) -> None:
    """How much of what large products reach on these cores the sweep reaches, everything in it included."""
    weights = CpuKernels(model.module).weights
    c, hidden, length = len(weights.counts), int(model.module.blocks[0].linear1.weight.shape[0]), X.shape[2]
    width, rows = len(weights.stem), 0
    for dilation in weights.dilations:
        width = min(length, width + 2 * int(dilation))
        rows += width
    edits = 3 * (span[1] - span[0])
    windowed, dense = (edits * n * 4.0 * c * hidden for n in (rows, len(weights.dilations) * length))
    with timed() as seconds:
        saturation_mutagenesis(model, X[:1], *span, ("counts",))
    rate, largest = windowed / seconds["sweep of all edits"] / 1e9, peak_rate()
    print(
        f"products   {windowed / 1e9:.1f} GFLOP a locus in the windows of edits, {dense / windowed:.1f} times fewer "
        "than dense"
    )
    print(f"           {rate:.0f} GFLOP/s of them in the sweep; one large product reaches {largest:.0f} here")


def peak_rate() -> float:
    """GFLOP/s of a large float32 product."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times) / 1e9


def phases(model: SequenceModel, X: np.ndarray, span: tuple[int, int]) -> None:
    """Where the time goes: what is done for a locus, one locus after the other, each on all cores."""
    with timed() as seconds:
        began = time.perf_counter()
        for x in X:
            saturation_mutagenesis(model, x[None], *span, HEADS)
        total = time.perf_counter() - began
    seconds["choosing nodes and dense edits, correcting, checking"] = total - sum(seconds.values())
    print("phases     share of the time of a locus, both heads")
    for name, took in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"           {took / total:5.1%}  {name}")


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds of the calls of one sequence at a time, by what they are for."""
    seconds: dict[str, float] = defaultdict(float)

    def watched(name: Any, function: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                seconds[name(args, named) if callable(name) else name] += time.perf_counter() - began

        return call

    def kind(args: Any, named: Any) -> str:
        if named.get("dense"):
            return "dense edits"
        return "sweep of all edits" if args[3] else "pilot"

    def begun(*args: Any) -> CpuSequence:
        sequence = begin(*args)
        # First-order fields are made when the metric is first asked for: here, so that no time is counted twice.
        assert sequence.metric.size
        return sequence

    begin, add_nodes, sweep = CpuKernels.begin, CpuSequence.add_nodes, CpuSequence.sweep
    CpuKernels.begin = watched("unedited sequence and first-order fields", begun)  # type: ignore[method-assign]
    CpuSequence.add_nodes = watched("nodes", add_nodes)  # type: ignore[method-assign]
    CpuSequence.sweep = watched(kind, sweep)  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        CpuKernels.begin, CpuSequence.add_nodes, CpuSequence.sweep = begin, add_nodes, sweep  # type: ignore[method-assign]


if __name__ == "__main__":
    main()

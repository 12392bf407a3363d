"""Windowed mutagenesis of BPNet and ChromBPNet against tangermeme's, its fast path included, paired in one run.

    .venv/bin/python benchmarks/bpnet_mutagenesis.py
    .venv/bin/python benchmarks/bpnet_mutagenesis.py --kind chrombpnet

The weights are random: time does not depend on them. tangermeme runs at the best of several batch sizes, with
`fast=True` (which it is made to try however short the job is) or `fast=False`, whichever is quicker.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bpnetlite.bpnet import BPNet, CountWrapper, ProfileWrapper
from bpnetlite.chrombpnet import ChromBPNet
from machine import describe, in_turns, ratio
from tangermeme_at_its_best import best_of_tangermeme, fast_path_for_any_job, tangermeme

from cherimoya_assets.analysis.models import FAMILIES
from cherimoya_assets.analysis.mutagenesis import saturation_mutagenesis


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", choices=("bpnet", "chrombpnet"), default="bpnet")
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--in-window", type=int, default=2114)
    parser.add_argument("--width", type=int, default=400)
    parser.add_argument("--loci", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    trimming = (arguments.in_window - 1000) // 2
    module: torch.nn.Module = network(arguments.filters, arguments.layers, trimming)
    if arguments.kind == "chrombpnet":
        # The field's bias network: four layers of 128 filters.
        module = ChromBPNet(network(128, 4, trimming), module, "benchmark")
    model = FAMILIES[arguments.kind](module.eval(), (1,), 0, trimming, Path("random.torch"), "")
    letters = np.random.default_rng(0).integers(0, 4, (arguments.loci, arguments.in_window))
    X = np.ascontiguousarray(np.eye(4, dtype=np.int8)[letters].transpose(0, 2, 1))
    start = arguments.in_window // 2 - arguments.width // 2
    span = (start, start + arguments.width)
    print(describe())
    print(
        f"model      {arguments.kind}, {arguments.layers} layers, {arguments.filters} filters; {len(X)} loci of "
        f"{arguments.in_window} bp, {arguments.width} bp mutated, {arguments.rounds} rounds"
    )
    ours = partial(saturation_mutagenesis, model, X, *span)
    ours(("counts", "profile"))  # compiles
    for head, wrapper in (("counts", CountWrapper(module)), ("profile", ProfileWrapper(module))):
        with fast_path_for_any_job():
            batch, fast = best_of_tangermeme(wrapper, X[:1], span)
            seconds = in_turns(
                {
                    "tangermeme": partial(tangermeme, wrapper, X, span, batch, fast),
                    "ours": partial(ours, (head,)),
                    "both": partial(ours, ("counts", "profile")),
                },
                arguments.rounds,
            )
        print(f"tangermeme {median(seconds['tangermeme']) / len(X):.2f} s a locus, batch {batch}, fast={fast}, {head}")
        print(f"windowed   {median(seconds['ours']) / len(X):.3f} s a locus, {head}")
        print(f"windowed   {median(seconds['both']) / len(X):.3f} s a locus, both heads")
        print(f"ratio      {head} to {head}        {ratio(seconds['tangermeme'], seconds['ours'])}")
        print(f"ratio      {head} to both heads  {ratio(seconds['tangermeme'], seconds['both'])}")


def network(filters: int, layers: int, trimming: int) -> BPNet:
    return BPNet(n_filters=filters, n_layers=layers, trimming=trimming, n_control_tracks=0, verbose=False)


if __name__ == "__main__":
    main()

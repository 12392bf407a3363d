"""Marginalization of the demo against bpnet-lite's `marginalization_report`, paired in one run, drawing included.

    .venv/bin/python benchmarks/marginalization.py                    # JASPAR's fungal motifs x 100 backgrounds
    .venv/bin/python benchmarks/marginalization.py --motifs 20 --rounds 2

Both predict before and after each motif is inserted into each background, and draw their report. bpnet-lite predicts
the background once more for every motif.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bpnetlite.marginalize import marginalization_report
from machine import describe, in_turns, ratio

from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.loci import interleave, place_windows, read_loci
from cherimoya_assets.analysis.marginalization import draw_backgrounds, marginalization_effects
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.one_hot import encode
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.reports.marginalization import write_marginalization_report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--motifs", type=int, default=None, help="only the first so many motifs")
    parser.add_argument("--backgrounds", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    experiment = read_experiment(DEMO_EXPERIMENT)
    genome = open_genome(experiment.sequences, Path.home() / ".cache" / "cherimoya_assets_benchmarks")
    model = load_model(next(iter(experiment.model.values())))
    motifs = dict(list(read_motifs(experiment.motifs).items())[: arguments.motifs])
    chroms = list(genome.chrom_sizes)
    loci = interleave(read_loci(experiment.negatives, genome.chrom_sizes), chroms)
    placed = place_windows(loci, genome.chrom_sizes, experiment.in_window, None, chroms)
    backgrounds = draw_backgrounds(
        genome, placed, experiment.in_window, n_loci=arguments.backgrounds, shuffle=True, random_state=0
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        meme = folder / "motifs.meme"
        text = experiment.motifs.read_text().split("MOTIF ")
        meme.write_text("MOTIF ".join(text[: len(motifs) + 1]))
        X = np.stack(
            [
                encode(genome.fetch(chrom, int(start), int(start) + experiment.in_window))
                for chrom, start in zip(backgrounds.table["chrom"], backgrounds.table["window_start"], strict=True)
            ]
        )

        def ours(name: str) -> None:
            effects = marginalization_effects(
                {"model": model},
                genome,
                backgrounds,
                motifs,
                chrom="",
                in_window=experiment.in_window,
                batch_size=None,
                device="cpu",
                dtype="float32",
            )
            (folder / name).mkdir(exist_ok=True)
            write_marginalization_report(effects, motifs, folder / name, minimal=True, title="demo")

        def theirs(name: str) -> None:
            marginalization_report(
                model.with_controls(),
                str(meme),
                torch.from_numpy(X).float(),
                output_dir=str(folder / name) + "/",
                batch_size=64,
                attributions=False,
                minimal=True,
                device="cpu",
                verbose=False,
            )

        ours("compiles")
        seconds = in_turns({"theirs": partial(theirs, "theirs"), "ours": partial(ours, "ours")}, arguments.rounds)
    print(describe())
    print(
        f"work       {len(motifs)} motifs x {len(backgrounds.table)} backgrounds, {experiment.in_window} bp; the report"
    )
    print(f"bpnet-lite {median(seconds['theirs']):.1f} s")
    print(f"ours       {median(seconds['ours']):.1f} s")
    print(f"ratio      {ratio(seconds['theirs'], seconds['ours'])}")


if __name__ == "__main__":
    main()

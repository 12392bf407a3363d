"""Motifs put into backgrounds, against dense float64: what marginalization's windowed edits are worth on a model.

    .venv/bin/python benchmarks/insertion_accuracy.py --model benchmarks/models/activator.torch --world activator \\
        --in-window 554

Every motif of the demo's database goes into the middle of every background, windows of the world that are shuffled by
dinucleotide; what is compared is the change of the log counts and of the profile score.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from dense_float64 import predict
from machine import describe
from tangermeme.ersatz import dinucleotide_shuffle
from windows import add_arguments, chosen, some_windows

from cherimoya_assets.analysis.marginalization import consensus_sequence, insertions
from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.mutagenesis import TOLERANCE
from cherimoya_assets.analysis.mutagenesis.edits import edited
from cherimoya_assets.analysis.mutagenesis.windowed.chosen import kernels_for
from cherimoya_assets.analysis.mutagenesis.windowed.engine import edit_effects
from cherimoya_assets.demo import DEMO_EXPERIMENT


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--backgrounds", type=int, default=20)
    arguments = parser.parse_args()
    model, _ = chosen(arguments)
    windows = some_windows(arguments, model, arguments.backgrounds)
    shuffled = dinucleotide_shuffle(torch.from_numpy(windows).float(), n=1, random_state=arguments.seed)
    motifs = read_motifs(DEMO_EXPERIMENT.parent / "JASPAR2024_CORE_fungi.meme")
    edits = insertions(arguments.in_window, [consensus_sequence(matrix) for matrix in motifs.values()])
    kernels = kernels_for(model.module, "cpu", Batch(1))
    found: dict[str, list[tuple[float, float, float, float]]] = {"counts": [], "profile": []}
    print(describe())
    for k, X in enumerate(shuffled[:, 0].numpy().astype(np.int8)):
        effects = edit_effects(kernels, X, edits, tuple(found), group=0, tolerance=TOLERANCE)
        for head, scores in predict(model.module, edited(X, edits), group=0).items():
            truth = scores[1:] - scores[0]
            error = np.linalg.norm(effects.scores[head] - truth) / np.linalg.norm(truth)
            check = effects.check
            found[head].append((np.abs(truth).max(), error, check.errors[head], check.dense[head]))
        print(f"background {k + 1} of {len(shuffled)}", flush=True)
    print(
        f"| model | head | {len(edits)} motifs x backgrounds | strongest effect, median / largest "
        "| true error, median / largest | reported, median / largest | reported below true | dense edits, median |"
    )
    for head, rows in found.items():
        effect, true, said, dense = np.array(rows).T
        print(
            f"| {arguments.model.stem} | {head} | {len(rows)} | {np.median(effect):.2f} / {effect.max():.2f} "
            f"| {np.median(true):.1e} / {true.max():.1e} | {np.median(said):.1e} / {said.max():.1e} "
            f"| {int((said < true).sum())} | {np.median(dense):.0f} |"
        )


if __name__ == "__main__":
    main()

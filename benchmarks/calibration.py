"""Every edit of many loci against dense float64: how wrong windowed mutagenesis is, and what it says of that itself.

    .venv/bin/python benchmarks/calibration.py --loci 40                                  # the demo's model
    .venv/bin/python benchmarks/calibration.py --model benchmarks/models/activator.torch --world activator \\
        --in-window 554 --loci 80

Prints a row of the table in RESULTS.md for each head. `--keep FILE` adds the loci with the largest errors to a file,
with their truth, for the tests.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from dense_float64 import dense_scores
from machine import describe
from windows import add_arguments, chosen, some_windows

from cherimoya_assets.analysis.mutagenesis import TOLERANCE, saturation_mutagenesis

HEADS = ("counts", "profile")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--loci", type=int, default=40)
    parser.add_argument("--keep", type=Path, default=None, help="file that the worst loci are added to")
    parser.add_argument("--worst", type=int, default=4, help="how many of them")
    arguments = parser.parse_args()
    model, span = chosen(arguments)
    X = some_windows(arguments, model, arguments.loci)
    print(describe())
    rows, truths = [], []
    began = time.monotonic()
    for k, sequence in enumerate(X):
        result = saturation_mutagenesis(model, sequence[None], *span, HEADS)
        truth = dense_scores(model.module, sequence, range(*span), group=0)
        truths.append(truth)
        rows.append(
            {
                head: (
                    float(np.ptp(truth[head], axis=0).max()),
                    float(np.linalg.norm(result.scores[head][0] - truth[head]) / np.linalg.norm(truth[head])),
                    float(result.report[f"{head}_error_max"]),
                    int(result.report["dense_edits"]),
                )
                for head in HEADS
            }
        )
        left = (time.monotonic() - began) / (k + 1) * (len(X) - k - 1)
        print(f"locus {k + 1} of {len(X)}, {left:.0f} s left: {rows[-1]}", flush=True)
    print(
        "| model | head | loci | largest effect of one base, median over loci / largest | true error, median / largest "
        "| reported, median / largest | above the tolerance; twice it | reported below true | dense edits, median |"
    )
    for head in HEADS:
        effect, true, said, dense = np.array([row[head] for row in rows]).T
        print(
            f"| {arguments.model.stem} | {head} | {len(rows)} | {np.median(effect):.2f} / {effect.max():.2f} "
            f"| {np.median(true):.1e} / {true.max():.1e} | {np.median(said):.1e} / {said.max():.1e} "
            f"| {int((true > TOLERANCE).sum())}; {int((true > 2 * TOLERANCE).sum())} | {int((said < true).sum())} "
            f"| {np.median(dense):.0f} |"
        )
    if arguments.keep:
        worst = np.argsort([-max(row[head][1] for head in HEADS) for row in rows], kind="stable")[: arguments.worst]
        keep(arguments.keep, arguments.model.stem, X[worst], span, [truths[k] for k in worst])


def keep(file: Path, name: str, X: np.ndarray, span: tuple[int, int], truths: list[dict[str, np.ndarray]]) -> None:
    """Add loci and their truth, float64 (n, 4, positions), in place of what the file has of this model."""
    tables = dict(np.load(file)) if file.exists() else {}
    tables |= {f"{name}/X": X, f"{name}/span": np.array(span)}
    tables |= {f"{name}/{head}": np.stack([truth[head] for truth in truths]) for head in HEADS}
    np.savez_compressed(file, **tables)


if __name__ == "__main__":
    main()

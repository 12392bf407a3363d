"""A folder of small experiments on one genome of many small contigs: much for Dagster to do, little to compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from cherimoya_assets_tests.tiny_experiment import ATTR_WINDOW, IN_WINDOW, tiny_experiment

CONTIG = 1000
LOCI = 2
"""On every contig of every experiment."""


def many_experiments(folder: Path, experiments: int, chromosomes: int) -> Path:
    """Write `load01`, `load02` and so on with their files into `folder`; returns the folder of experiment files.

    All share the genome, the model and the motifs. Each has peaks of its own, so that no two have the same result.
    """
    shared = tiny_experiment(folder / "shared").parent
    random = np.random.default_rng(0)
    chroms = [f"chr{number}" for number in range(1, chromosomes + 1)]
    genome = folder / "genome.fa"
    genome.write_text("".join(f">{chrom}\n{''.join(random.choice(list('ACGT'), CONTIG))}\n" for chrom in chroms))
    files = folder / "experiments"
    files.mkdir()
    for number in range(1, experiments + 1):
        peaks = folder / f"peaks{number:02d}.bed"
        starts = [200 + 7 * number + 300 * locus for locus in range(LOCI)]
        peaks.write_text("".join(f"{chrom}\t{start}\t{start + 40}\n" for chrom in chroms for start in starts))
        content = {
            "name": f"load{number:02d}",
            "sequences": str(genome),
            "loci": str(peaks),
            "negatives": str(peaks),
            "model": str(shared / "model.torch"),
            "motifs": str(shared / "motifs.meme"),
            "in_window": IN_WINDOW,
            "attr_window": ATTR_WINDOW,
            "device": "cpu",
            "modisco": {"window": ATTR_WINDOW, "size": 10, "trim_size": 10},
            "marginalize": {"n_loci": 4},
        }
        (files / f"load{number:02d}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return files

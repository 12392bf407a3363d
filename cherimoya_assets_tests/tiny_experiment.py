"""An experiment without biology that computes in seconds: random sequence, a random small Cherimoya. For plumbing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

CHROMS = {"chrA": 3000, "chrB": 2500, "chrC": 2000}
IN_WINDOW, ATTR_WINDOW = 150, 20
PEAKS = {"chrA": [300, 900, 1500], "chrB": [400, 1200], "chrC": []}
EDGE_PEAK = ("chrB", 2460)
"""One locus whose window reaches over its chromosome's end."""

MEME = """\
MEME version 4

ALPHABET= ACGT

MOTIF one
letter-probability matrix: alength= 4 w= 5
1 0 0 0
0 1 0 0
0 0 1 0
0 0 0 1
1 0 0 0

MOTIF two
letter-probability matrix: alength= 4 w= 4
0.7 0.1 0.1 0.1
0.1 0.7 0.1 0.1
0.1 0.1 0.7 0.1
0.1 0.1 0.1 0.7
"""


def tiny_experiment(folder: Path, changes: Mapping[str, object] | None = None) -> Path:
    """Write the experiment with all its files into `folder`; returns the experiment file."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    fasta = []
    for chrom, size in CHROMS.items():
        bases = "".join(random.choice(list("ACGT"), size))
        fasta.append(f">{chrom}\n" + "\n".join(bases[i : i + 60] for i in range(0, size, 60)))
    (folder / "genome.fa").write_text("\n".join(fasta) + "\n")
    peaks = [(chrom, start) for chrom, starts in PEAKS.items() for start in starts]
    (folder / "peaks.bed").write_text(_bed([*peaks, EDGE_PEAK]))
    (folder / "negatives.bed").write_text(_bed([(chrom, start) for chrom in CHROMS for start in (600, 1000, 1400)]))
    (folder / "motifs.meme").write_text(MEME)
    _save_model(folder / "model.torch")
    content = {
        "name": "tiny",
        "sequences": "genome.fa",
        "loci": "peaks.bed",
        "negatives": "negatives.bed",
        "model": "model.torch",
        "motifs": "motifs.meme",
        "in_window": IN_WINDOW,
        "attr_window": ATTR_WINDOW,
        "device": "cpu",
        "modisco": {"window": ATTR_WINDOW, "size": 10, "trim_size": 10},
        "marginalize": {"n_loci": 4},
        **(changes or {}),
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _bed(rows: list[tuple[str, int]]) -> str:
    return "".join(f"{chrom}\t{start}\t{start + 40}\n" for chrom, start in rows)


def _save_model(path: Path) -> None:
    import torch
    from cherimoya import Cherimoya

    model = Cherimoya(n_filters=8, n_layers=2, compile=False, random_state=0)
    # Fresh output layers are zero, and so would every attribution be.
    with torch.no_grad():
        for layer in (model.fconv, model.linear):
            layer.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
    model.save(str(path))

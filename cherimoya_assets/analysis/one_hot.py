"""One-hot windows of one chromosome with the table of all its loci.

What lives here: sequence to one-hot. What must not: choosing windows (`loci.py`). The arrays equal
`tangermeme.io.extract_loci(..., ignore=all other letters)` followed by cherimoya's drop of windows with unknown bases.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cherimoya_assets.analysis.genome import Genome
from cherimoya_assets.analysis.loci import HAS_N, KEPT, PLACED_COLUMNS

_ROW = np.full(256, 4, dtype=np.int8)
for _index, _letter in enumerate(b"ACGT"):
    _ROW[_letter] = _index


@dataclass(frozen=True)
class SequenceBlock:
    """The windows of one chromosome.

    Attributes:
        chrom: its name.
        one_hot: int8, (n, 4, in_window), rows A, C, G, T; row k belongs to row k of `kept`.
        loci: every locus of the chromosome, lost ones too, in cherimoya's order: `locus_id`, `source`, `chrom`,
            `start`, `end`, `window_start` (0-based), `status`.
    """

    chrom: str
    one_hot: NDArray[np.int8]
    loci: pd.DataFrame

    @property
    def kept(self) -> pd.DataFrame:
        """The loci that have a row in `one_hot`, in its order."""
        return self.loci[self.loci["status"] == KEPT].reset_index(drop=True)

    def write(self, folder: Path) -> None:
        np.savez_compressed(folder / "one_hot.npz", self.one_hot)
        self.loci.to_parquet(folder / "loci.parquet", index=False)
        (folder / "chrom.txt").write_text(self.chrom)

    @classmethod
    def read(cls, folder: Path) -> Self:
        with np.load(folder / "one_hot.npz", allow_pickle=False) as archive:
            one_hot = archive["arr_0"]
        loci = pd.read_parquet(folder / "loci.parquet").astype(PLACED_COLUMNS)
        return cls((folder / "chrom.txt").read_text(), one_hot, loci)


def one_hot_sequences(genome: Genome, loci: pd.DataFrame, chrom: str, in_window: int) -> SequenceBlock:
    """Encode the windows of the loci of one chromosome.

    Args:
        genome: where the sequence comes from.
        loci: placed loci (`place_windows`) of this chromosome.
        chrom: its name.
        in_window: width of the model's input in bp.

    Returns:
        The block; loci whose window holds anything but A, C, G, T have status "N" and no row.
    """
    loci = loci.reset_index(drop=True)
    candidates = np.flatnonzero((loci["status"] == KEPT).to_numpy())
    rows = np.zeros((len(candidates), 4, in_window), dtype=np.int8)
    known = np.ones(len(candidates), dtype=bool)
    starts = loci["window_start"].to_numpy()
    for k, row in enumerate(candidates):
        encoded = encode(genome.fetch(chrom, int(starts[row]), int(starts[row]) + in_window))
        known[k] = bool(encoded.any(axis=0).all())
        rows[k] = encoded
    status = loci["status"].to_numpy(dtype=object, copy=True)
    status[candidates[~known]] = HAS_N
    return SequenceBlock(chrom, np.ascontiguousarray(rows[known]), loci.assign(status=status).astype(PLACED_COLUMNS))


def encode(sequence: str) -> NDArray[np.int8]:
    """One-hot encode upper-case text: int8, (4, length), rows A, C, G, T; any other letter is a column of zeros."""
    index = _ROW[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
    encoded = np.zeros((5, len(index)), dtype=np.int8)
    encoded[index, np.arange(len(index))] = 1
    return encoded[:4]

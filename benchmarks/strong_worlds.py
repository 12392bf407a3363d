"""Simulated experiments in which single bases matter a lot, and windows of them.

A *world* says what factors do: windows of the demo's genome get sites planted that are drawn from JASPAR's matrices,
and what an experiment would count there follows from the occupancy of every site of every factor, planted or not.
Each occupied site adds counts, in a footprint around it, of two strands or one; that of a repressor takes away nearly
all else. Occupancy is a logistic function of the matrix's log-odds, as of a factor that binds at equilibrium and helps
itself a little: one base that matters decides whether a site is occupied.

The demo's ATAC-seq moves by 0.3 log counts at the most where one base is changed; these move by 3 to 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cherimoya_assets.analysis.genome import Genome, open_genome
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.one_hot import encode
from cherimoya_assets.demo import DEMO_EXPERIMENT

FOOTPRINT = 12
"""Half the distance, in bp, of a footprint's two maxima; each is as wide."""


@dataclass(frozen=True)
class Factor:
    """A matrix of the demo's database and what its occupied sites do.

    Attributes:
        motif: part of the matrix's name.
        counts: that one fully occupied site adds around itself.
        represses: which part of the background within `REACH` bp an occupied site takes away.
    """

    motif: str
    counts: float
    represses: float = 0.0


@dataclass(frozen=True)
class World:
    """What is counted without a site, over the whole output, and the factors that change it."""

    baseline: float
    factors: tuple[Factor, ...]
    stranded: bool = False


REACH = 300
"""How far a repressor reaches, in bp: over most of what is counted."""

STEEPNESS, HALF_OCCUPIED = 1.5, 2.5
"""Of the occupancy, and how far below the best site, in units of log-odds (nat), it is one half."""

WORLDS = {
    "activator": World(20.0, (Factor("REB1", 2_000.0),), stranded=True),
    "pair": World(15.0, (Factor("REB1", 1_500.0), Factor("ABF1", 900.0))),
    "repressor": World(10_000.0, (Factor("REB1", 100.0, represses=0.995),)),
}


class Windows:
    """Sequences with planted sites, and what is counted there on average."""

    def __init__(self, world: str, seed: int) -> None:
        folder = DEMO_EXPERIMENT.parent
        self.world = WORLDS[world]
        self.genome: Genome = open_genome(
            folder / "sacCer3.fa.gz", Path.home() / ".cache" / "cherimoya_assets_benchmarks"
        )
        database = read_motifs(folder / "JASPAR2024_CORE_fungi.meme")
        self.matrices = [next(m for name, m in database.items() if f.motif in name) for f in self.world.factors]
        self.random = np.random.default_rng(seed)
        self.chroms = [chrom for chrom, size in self.genome.chrom_sizes.items() if size > 10_000]

    def sequences(self, n: int, width: int, centre: int) -> np.ndarray:
        """One-hot int8 (n, 4, width); 0 to 3 sites of each factor in the middle `centre` bp, on either strand."""
        X = np.stack([self._background(width) for _ in range(n)])
        for sequence in X:
            for matrix in self.matrices:
                for _ in range(self.random.choice(4, p=(0.3, 0.4, 0.2, 0.1))):
                    site = self._instance(matrix)
                    start = (width - centre) // 2 + int(self.random.integers(centre - site.shape[1] + 1))
                    sequence[:, start : start + site.shape[1]] = site
        return X

    def expected(self, X: np.ndarray, out: int) -> torch.Tensor:
        """Counts (n, strands, out) expected in the middle of the windows."""
        sequences = torch.from_numpy(X).float()
        length = X.shape[2]
        left = (length - out) // 2
        strands = 2 if self.world.stranded else 1
        background = torch.full((len(X), strands, length), self.world.baseline / out / strands)
        counts = torch.zeros_like(background)
        for factor, matrix in zip(self.world.factors, self.matrices, strict=True):
            occupied = self._occupancy(sequences, matrix)
            counts += factor.counts * _footprint(occupied, strands)
            if factor.represses:
                near = torch.nn.functional.max_pool1d(occupied[:, None], 2 * REACH + 1, 1, REACH)
                background = background * (1 - factor.represses * near)
        return (background + counts)[:, :, left : left + out]

    def _background(self, width: int) -> np.ndarray:
        while True:
            chrom = self.chroms[int(self.random.integers(len(self.chroms)))]
            start = int(self.random.integers(self.genome.chrom_sizes[chrom] - width))
            window = encode(self.genome.fetch(chrom, start, start + width))
            if window.sum() == width:
                return window[::-1, ::-1].copy() if self.random.random() < 0.5 else window

    def _instance(self, matrix: np.ndarray) -> np.ndarray:
        letters = [self.random.choice(4, p=column / column.sum()) for column in matrix.T]
        site = np.eye(4, dtype=np.int8)[:, letters]
        return site[::-1, ::-1] if self.random.random() < 0.5 else site

    @staticmethod
    def _occupancy(X: torch.Tensor, matrix: np.ndarray) -> torch.Tensor:
        """(n, length), of the site whose centre a position is, of the better strand."""
        odds = np.log((matrix + 0.01) / (matrix + 0.01).sum(axis=0) / 0.25)
        best = float(odds.max(axis=0).sum())
        both = torch.from_numpy(np.stack([odds, odds[::-1, ::-1]])).float()
        scores = torch.nn.functional.conv1d(X, both, padding=matrix.shape[1] // 2)[:, :, : X.shape[2]]
        occupied: torch.Tensor = torch.sigmoid(STEEPNESS * (scores.amax(dim=1) - (best - HALF_OCCUPIED)))
        return torch.where(occupied > 1e-3, occupied, 0.0)


def _footprint(occupied: torch.Tensor, strands: int) -> torch.Tensor:
    """Where the counts of occupied sites fall, (n, strands, length): 5' ends on either side, as of an exonuclease."""
    reach = torch.arange(-3 * FOOTPRINT, 3 * FOOTPRINT + 1, dtype=torch.float32)
    sides = [torch.exp(-0.5 * ((reach - side * FOOTPRINT) / (FOOTPRINT / 3)) ** 2) for side in (-1, 1)]
    shapes = torch.stack(sides if strands == 2 else [sides[0] + sides[1]])
    shapes = shapes / shapes.sum()
    # A correlation with the mirrored shape spreads each site.
    return torch.nn.functional.conv1d(occupied[:, None], shapes.flip(1)[:, None], padding=3 * FOOTPRINT)

"""A genome with planted motifs, and attributions that show them: what TF-MoDISco finds in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.analysis.genome import Genome, open_genome
from cherimoya_assets.analysis.modisco import ModiscoPatterns, PooledAttributions, discover_patterns, pool_blocks
from cherimoya_assets.experiment.model import ModiscoParameters

WIDTH = 100
SPACING = 130
MOTIFS = {"ATTACCCGGA": 1.0, "GTCACGTGACTT": 1.0, "GCGGAAATACCG": -1.0, "TGAAACAGTTCA": -1.0}
"""Planted in turn, with the sign of their contributions; with one motif of a sign TF-MoDISco sees only background."""

CHROMS = {"chrI": 240, "chrII": 160}
"""Loci of each."""

PARAMETERS = ModiscoParameters(window=96)
"""A window narrower than what is attributed: the crop counts."""


@dataclass(frozen=True)
class Planted:
    """A genome, the attributions of its loci in an order that mixes chromosomes, and the patterns in them.

    said: what modisco-lite printed.
    """

    genome: Genome
    pooled: PooledAttributions
    patterns: ModiscoPatterns
    said: tuple[str, ...]


def planted(folder: Path) -> Planted:
    """Patterns of both signs, with seqlets on both strands."""
    genome = planted_genome(folder)
    blocks = planted_blocks(genome)
    mixed = chain.from_iterable(zip_longest(*(block.locus_id for block in blocks)))
    pooled = pool_blocks(blocks, [locus for locus in mixed if locus is not None])
    said: list[str] = []
    return Planted(genome, pooled, discover_patterns(pooled, PARAMETERS, log=said.append), tuple(said))


def planted_genome(folder: Path) -> Genome:
    """One motif in every locus, on either strand, in random sequence."""
    rng = np.random.default_rng(0)
    records = []
    for chrom, loci in CHROMS.items():
        codes = rng.integers(0, 4, loci * SPACING + WIDTH)
        for number in range(loci):
            motif = _codes(list(MOTIFS)[number % len(MOTIFS)])
            place = number * SPACING + int(rng.integers(30, WIDTH - 30 - len(motif)))
            codes[place : place + len(motif)] = motif if rng.random() < 0.5 else 3 - motif[::-1]
        records.append(f">{chrom}\n" + "".join("ACGT"[code] for code in codes) + "\n")
    (folder / "planted.fa").write_text("".join(records))
    return open_genome(folder / "planted.fa", folder / "cache")


def planted_blocks(genome: Genome) -> list[AttributionBlock]:
    """Attributions of every locus, centred over the alphabet: noise, and strong contributions where a motif stands."""
    rng = np.random.default_rng(1)
    blocks = []
    for chrom, loci in CHROMS.items():
        starts = np.arange(loci, dtype=np.int64) * SPACING
        sequences = [genome.fetch(chrom, start, start + WIDTH) for start in starts.tolist()]
        codes = np.stack([_codes(text) for text in sequences])
        one_hot = (codes[:, np.newaxis] == np.arange(4)[:, np.newaxis]).astype(np.int8)
        scores = rng.normal(0, 0.02, one_hot.shape)
        for row, text in enumerate(sequences):
            for motif, sign in MOTIFS.items():
                for word in (motif, _reverse_complement(motif)):
                    at = text.find(word)
                    if at >= 0:
                        scores[row, _codes(word), np.arange(at, at + len(word))] += sign * rng.uniform(0.3, 0.6)
        scores -= scores.mean(axis=1, keepdims=True)
        names = np.array([f"{chrom}:{start}" for start in starts], dtype=np.str_)
        blocks.append(AttributionBlock(chrom, "counts", scores.astype(np.float32), one_hot, names, starts))
    return blocks


def _codes(text: str) -> np.ndarray:
    return np.array(["ACGT".index(base) for base in text])


def _reverse_complement(text: str) -> str:
    return text[::-1].translate(str.maketrans("ACGT", "TGCA"))

"""Versions of input files by chromosome: what a result of one chromosome stands on, and nothing else of the file.

What belongs here: which part of an input a chromosome reads, as a hash. What does not: which asset reads which input
(`assets/versions.py`). A version is of the content as it is read, so that comments, line ends, compression, columns
that nobody reads, the case of bases and the order of rows are no part of it. Every locus has its id, by which results
are joined, so a file that was sorted anew says nothing new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cherimoya_assets.analysis.genome import Genome
from cherimoya_assets.analysis.hashing import combined_sha256, remembered
from cherimoya_assets.analysis.loci import interleave, read_loci

ROW = ["source", "start", "end"]


@dataclass(frozen=True)
class LociVersions:
    """Versions of the loci of an experiment.

    Attributes:
        chroms: of each chromosome's rows, in no order.
        order: of the order of all rows, for what takes the first of them.
        elsewhere: of how many loci lie on which chromosomes that are not selected.
    """

    chroms: Mapping[str, str]
    order: str
    elsewhere: str


def loci_versions(paths: Sequence[Path], chroms: Sequence[str], cache: Path) -> LociVersions:
    """Versions of loci whose rows are numbered: peaks, negatives.

    A row is its file's number, start and end.

    Args:
        paths: one file for each source of loci.
        chroms: the selected chromosomes.
        cache: folder in which versions are remembered.

    Raises:
        Problems: malformed lines, as from `read_loci`.
        InputError: a file is missing or cannot be decompressed.
    """

    def compute() -> dict[str, object]:
        everything = read_loci(paths)
        loci = interleave(everything, chroms)
        others = everything.loc[~everything["chrom"].isin(list(chroms)), "chrom"].value_counts(sort=False)
        return {
            "chroms": {chrom: _rows(_sorted(loci[loci["chrom"] == chrom])) for chrom in chroms},
            "order": combined_sha256(*loci["chrom"], _rows(loci[ROW])),
            "elsewhere": combined_sha256(*sorted(f"{chrom} {n}" for chrom, n in others.items())),
        }

    if missing := [path for path in paths if not path.is_file()]:
        # The reader has the sentence for it.
        read_loci(missing)
    found = remembered(paths, cache, combined_sha256("loci in no order", *chroms), compute)
    return LociVersions(found["chroms"], found["order"], found["elsewhere"])


def region_versions(paths: Sequence[Path], chroms: Sequence[str], cache: Path) -> dict[str, str]:
    """Versions of regions that are a set: exclusion lists. Order, repeats and the file that names one do not matter.

    Raises:
        Problems: malformed lines, as from `read_loci`.
        InputError: a file is missing or cannot be decompressed.
    """

    def compute() -> dict[str, str]:
        regions = read_loci(paths)[["chrom", "start", "end"]].drop_duplicates().sort_values(["chrom", "start", "end"])
        return {chrom: _rows(regions.loc[regions["chrom"] == chrom, ["start", "end"]]) for chrom in chroms}

    if missing := [path for path in paths if not path.is_file()]:
        read_loci(missing)
    found: dict[str, str] = remembered(paths, cache, combined_sha256("regions", *chroms), compute)
    return found


def contig_versions(genome: Genome, cache: Path) -> dict[str, str]:
    """The sha256 of every contig's bases in upper case: the width of lines and soft-masking are no part of it."""

    def compute() -> dict[str, str]:
        return {chrom: _bases(genome, chrom) for chrom in genome.chrom_sizes}

    found: dict[str, str] = remembered([genome.fasta], cache, "contigs", compute)
    return found


def contigs_version(genome: Genome) -> str:
    """The version of the contigs' names, sizes and order, without their bases."""
    return combined_sha256(*(f"{chrom} {size}" for chrom, size in genome.chrom_sizes.items()))


def _sorted(loci: pd.DataFrame) -> pd.DataFrame:
    return loci[ROW].sort_values(ROW)


def _rows(table: pd.DataFrame) -> str:
    return hashlib.sha256(table.to_numpy(dtype="<i8").tobytes()).hexdigest()


def _bases(genome: Genome, chrom: str) -> str:
    digest = hashlib.sha256()
    for piece in genome.pieces(chrom):
        digest.update(piece)
    return digest.hexdigest()

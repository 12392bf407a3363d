"""The nearest known motif of each seqlet, by tomtom-lite.

What belongs here: matching seqlets to a motif database, and the text that memelite's `ttl` prints for them. What does
not: reading the database (motifs.py), calling seqlets (seqlets.py).

Follows `ttl -f FASTA -b BED -t MEME` of memelite 0.5 (Schreiber), which `cherimoya pipeline` runs on its seqlets: the
sequence of the seqlet, not its attribution, against every motif (TOMTOM, Gupta et al. 2007). A seqlet's result depends
on the motif database and on no other seqlet, so chromosomes can be annotated one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cherimoya_assets.analysis import seqlets as calls
from cherimoya_assets.analysis.tables import typed_table
from cherimoya_assets.errors import InputError

if TYPE_CHECKING:
    from cherimoya_assets.analysis.genome import Genome
    from cherimoya_assets.analysis.seqlets import SeqletTable

MATCH_COLUMNS = {
    "motif": "str",
    "score": "float64",
    "p_motif": "float64",
    "offset": "int64",
    "overlap": "int64",
    "strand": "str",
}
COLUMNS = {**calls.COLUMNS, **MATCH_COLUMNS}


@dataclass(frozen=True, eq=False)
class AnnotatedSeqlets:
    """The seqlets of one chromosome, each with its nearest motif.

    table: the rows and columns of the SeqletTable, and motif (its name in the database), score (-ln p, infinite where
        p is 0), p_motif, strand ("-": the motif's reverse complement matches), overlap (bp), and offset as memelite
        counts it: bp of the motif, turned where strand is "-", that lie before the seqlet's first base. The motif
        begins at start - offset.
    """

    chrom: str
    table: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write the table into an existing, empty folder; equal tables give equal bytes."""
        (folder / "chrom.txt").write_text(self.chrom + "\n", encoding="utf-8")
        self.table.to_parquet(folder / "annotated_seqlets.parquet", index=False)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The table that `write` wrote into `folder`."""
        chrom = (folder / "chrom.txt").read_text(encoding="utf-8").removesuffix("\n")
        return cls(chrom, pd.read_parquet(folder / "annotated_seqlets.parquet"))


def annotate_seqlets(
    seqlets: SeqletTable,
    genome: Genome,
    motifs: Mapping[str, NDArray[np.float64]],
    *,
    n_score_bins: int = 100,
    n_median_bins: int = 1000,
    n_target_bins: int = 100,
    n_cache: int = 250,
    reverse_complement: bool = True,
    n_jobs: int = -1,
) -> AnnotatedSeqlets:
    """Match every seqlet to its nearest motif.

    Args:
        seqlets: the seqlets of one chromosome.
        genome: where their sequences are read.
        motifs: name to probabilities (4, width), rows A, C, G, T.
        n_score_bins, n_median_bins, n_target_bins, n_cache, reverse_complement: as in memelite.tomtom; the defaults are
            those of `cherimoya pipeline`.
        n_jobs: threads, -1 for all; more than there are is all. It never changes a result.

    Raises:
        InputError: there are no motifs, or a seqlet reaches over an end of its chromosome.
    """
    if not motifs:
        raise InputError("The motif database is empty, so seqlets cannot be annotated. Use another file.")
    if not len(seqlets.table):
        return AnnotatedSeqlets(seqlets.chrom, typed_table(COLUMNS))
    names = np.array(list(motifs), dtype=object)
    matches = _nearest(
        _encoded(seqlets, genome),
        list(motifs.values()),
        n_score_bins=n_score_bins,
        n_median_bins=n_median_bins,
        n_target_bins=n_target_bins,
        n_cache=n_cache,
        reverse_complement=reverse_complement,
        n_jobs=n_jobs,
    )
    p, _, offset, overlap, strand, motif = matches
    columns = (
        names[motif.astype(np.int64)],
        [-math.log(value) if value > 0 else math.inf for value in p],
        p,
        offset.astype(np.int64),
        overlap.astype(np.int64),
        np.where(strand == 1, "-", "+"),
    )
    found = dict(zip(MATCH_COLUMNS, columns, strict=True))
    return AnnotatedSeqlets(
        seqlets.chrom, typed_table(COLUMNS, {**{name: seqlets.table[name] for name in calls.COLUMNS}, **found})
    )


def ttl_text(
    tables: Sequence[AnnotatedSeqlets], order: Sequence[str], chroms: Sequence[str], motifs: Sequence[str]
) -> str:
    """The text that `ttl` prints when it is run once on the `seqlets.bed` of all chromosomes.

    One line a seqlet, tab-separated and padded with blanks: chrom, start, end, motif, -ln p to six digits.

    Args:
        tables: the annotated seqlets of all chromosomes.
        order: ids of all loci in cherimoya's order (see seqlets.in_cherimoya_order).
        chroms: names of all chromosomes in the FASTA, motifs: names of all motifs in the database; columns are as wide
            as the longest.
    """
    rows = calls.in_cherimoya_order([table.table for table in tables], order)
    if not len(rows):
        return ""
    chrom_width, motif_width = max(map(len, chroms)), max(map(len, motifs))
    start_width, end_width = (len(str(int(rows[name].max()))) for name in ("start", "end"))
    wanted = zip(*(rows[name] for name in ("chrom", "start", "end", "motif", "score")), strict=True)
    return "".join(
        f"{chrom:{chrom_width}}\t{start:{start_width}}\t{end:{end_width}}\t{motif:{motif_width}}\t{score:6.6}\n"
        for chrom, start, end, motif, score in wanted
    )


def _encoded(seqlets: SeqletTable, genome: Genome) -> list[NDArray[np.int8]]:
    """The one-hot encoding (4, length) of each seqlet; a base that is not A, C, G or T has no 1, as `ttl` reads N."""
    from memelite.utils import one_hot_encode

    size = genome.chrom_sizes[seqlets.chrom]
    starts, ends = seqlets.table["start"].to_numpy(), seqlets.table["end"].to_numpy()
    outside = (starts < 0) | (ends > size) | (starts >= ends)
    if outside.any():
        i = int(outside.argmax())
        raise InputError(
            f"The seqlet {seqlets.chrom}:{starts[i]}-{ends[i]} is outside {seqlets.chrom} ({size} bp): the "
            "seqlets were called on another genome. Call them again."
        )
    first = int(starts.min())
    text = genome.fetch(seqlets.chrom, first, int(ends.max()))
    text = text.translate({code: "N" for code in map(ord, set(text)) if chr(code) not in "ACGT"})
    return [one_hot_encode(text[start - first : end - first]) for start, end in zip(starts, ends, strict=True)]


def _nearest(queries: list[NDArray[np.int8]], targets: list[NDArray[np.float64]], **arguments: Any) -> NDArray[Any]:
    """memelite.tomtom's p, score, offset, overlap, strand and target of each query's nearest target, (6, queries)."""
    import numba
    from memelite.tomtom import tomtom
    from memelite.utils import one_hot_encode

    # numba sets its options as attributes when it is imported, where mypy cannot see them.
    arguments["n_jobs"] = min(arguments["n_jobs"], numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    # tomtom refuses queries of which none has a base; one more query, left out of the result, keeps runs of N valid.
    results = tomtom([*queries, one_hot_encode("ACGT")], targets, n_nearest=1, **arguments)
    return np.asarray(results)[:, : len(queries), 0]

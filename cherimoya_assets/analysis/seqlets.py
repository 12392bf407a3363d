"""Seqlets: spans of high attribution, called one chromosome at a time against one null of all chromosomes.

What belongs here: the null, the calls in genome coordinates, and the order in which `cherimoya seqlets` writes them.
What does not: naming seqlets by motif (annotation.py) and the seqlets of TF-MoDISco (modisco.py), which are others.

Follows `tangermeme.seqlet.recursive_seqlets` (Schreiber), the caller behind `cherimoya seqlets`: only positive seqlets,
and p-values that rank spans and are no error rates. A p-value is relative to all values that the null was built from,
so the null is pooled first; the calls on the chromosomes are then the rows of one call on everything, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cherimoya_assets.analysis.tables import typed_table
from cherimoya_assets.errors import InputError

if TYPE_CHECKING:
    from cherimoya_assets.analysis.attributions import AttributionBlock

COLUMNS = {
    "locus_id": "str",
    "chrom": "str",
    "start": "int64",
    "end": "int64",
    "attribution": "float64",
    "p-value": "float64",
    "example_idx": "int64",
}


@dataclass(frozen=True, eq=False)
class SeqletNull:
    """The distribution of sums of attribution values that p-values are relative to.

    rcdfs: float64 (max_seqlet_len + 1, n_bins * max_seqlet_len + 1); rcdfs[k, i] = P(sum of k binned values >= i).
        None where there were no values or all were equal: then there are no seqlets.
    xmin, bin_width: bin b holds values in [xmin + b * bin_width, xmin + (b + 1) * bin_width).
    n_values: how many values were pooled.
    """

    rcdfs: NDArray[np.float64] | None
    xmin: np.float32
    bin_width: float
    n_bins: int
    max_seqlet_len: int
    n_values: int

    def write(self, folder: Path) -> None:
        """Write the null into an existing, empty folder; equal nulls give equal bytes."""
        tables: dict[str, Any] = {} if self.rcdfs is None else {"rcdfs": self.rcdfs}
        np.savez_compressed(
            folder / "seqlet_null.npz",
            xmin=np.float32(self.xmin),
            bin_width=np.float64(self.bin_width),
            n_bins=np.int64(self.n_bins),
            max_seqlet_len=np.int64(self.max_seqlet_len),
            n_values=np.int64(self.n_values),
            **tables,
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The null that `write` wrote into `folder`."""
        with np.load(folder / "seqlet_null.npz", allow_pickle=False) as stored:
            return cls(
                rcdfs=stored.get("rcdfs"),
                xmin=np.float32(stored["xmin"]),
                bin_width=float(stored["bin_width"]),
                n_bins=int(stored["n_bins"]),
                max_seqlet_len=int(stored["max_seqlet_len"]),
                n_values=int(stored["n_values"]),
            )


@dataclass(frozen=True, eq=False)
class SeqletTable:
    """The seqlets of one chromosome.

    table: one row a seqlet, with the columns locus_id, chrom, start and end (genome, 0-based, half-open), attribution
        (sum over the span), p-value, example_idx (row of the attribution block). The rows are in the order of calling:
        by row of the block, and within one from the longest called span to the shortest.
    """

    chrom: str
    table: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write the table into an existing, empty folder; equal tables give equal bytes."""
        (folder / "chrom.txt").write_text(self.chrom + "\n", encoding="utf-8")
        self.table.to_parquet(folder / "seqlets.parquet", index=False)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The table that `write` wrote into `folder`."""
        chrom = (folder / "chrom.txt").read_text(encoding="utf-8").removesuffix("\n")
        return cls(chrom, pd.read_parquet(folder / "seqlets.parquet"))


def seqlet_null(
    projected: Sequence[NDArray[np.float32]], *, max_seqlet_len: int = 25, n_bins: int = 1000
) -> SeqletNull:
    """The null of the attributions of all chromosomes.

    Args:
        projected: float32 (n, width) arrays, one a chromosome, the attribution of the base that is there. Their order
            does not matter: the bins span the pooled minimum and maximum, and counts add up.
        max_seqlet_len: the longest span that will be called against the null, in bp.
        n_bins: bins of the histogram.

    Raises:
        InputError: a value is not finite.
        InstallationError: tangermeme has no such functions (see tangermeme_private).
    """
    from cherimoya_assets.analysis.tangermeme_private import null_tables

    values = np.concatenate([np.zeros(0, np.float32), *(np.asarray(block, np.float32).ravel() for block in projected)])
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise InputError(
            f"{bad} of {len(values)} attribution values are not finite, so seqlets have no null; "
            "compute the attributions again (float32 overflows less than float16)."
        )
    tables = null_tables(values, max_seqlet_len, n_bins) if len(values) else None
    if tables is None:
        smallest = values[0] if len(values) else np.float32(0)
        return SeqletNull(None, smallest, 0.0, n_bins, max_seqlet_len, len(values))
    xmin, bin_width, rcdfs = tables
    return SeqletNull(rcdfs, xmin, bin_width, n_bins, max_seqlet_len, len(values))


def call_seqlets(
    block: AttributionBlock,
    null: SeqletNull,
    *,
    threshold: float = 0.01,
    min_seqlet_len: int = 4,
    max_seqlet_len: int = 25,
    additional_flanks: int = 3,
) -> SeqletTable:
    """The seqlets of one chromosome against the pooled null.

    Args:
        block: the attributions of one chromosome.
        null: the null of all chromosomes, built for spans of at least `max_seqlet_len`.
        threshold: p-value below which a span, and every span inside it, must be.
        min_seqlet_len, max_seqlet_len: shortest and longest span called, in bp.
        additional_flanks: bp added to both sides of a called span, never past the attributed window. Flanks of
            neighbouring seqlets may overlap.

    Raises:
        ValueError: the null was built for shorter spans, or the threshold is no p-value.
        InstallationError: tangermeme has no such functions (see tangermeme_private).
    """
    from cherimoya_assets.analysis.tangermeme_private import decode_seqlets

    # tangermeme checks it in the half that is not called here; above 1, or NaN, its loop would find no end.
    if not threshold <= 1:
        raise ValueError(f"the threshold must be a p-value of at most 1, not {threshold}")
    if max_seqlet_len > null.max_seqlet_len:
        raise ValueError(f"the null covers spans of at most {null.max_seqlet_len} bp, asked for {max_seqlet_len}")
    projected = np.ascontiguousarray(block.projected, dtype=np.float32)
    if null.rcdfs is None or not len(projected):
        return SeqletTable(block.chrom, typed_table(COLUMNS))
    row, start, end, attribution, p_value = decode_seqlets(
        projected,
        null.rcdfs,
        null.xmin,
        null.bin_width,
        threshold=threshold,
        min_seqlet_len=min_seqlet_len,
        max_seqlet_len=max_seqlet_len,
        additional_flanks=additional_flanks,
        n_bins=null.n_bins,
    )
    offset = np.asarray(block.window_start, dtype=np.int64)[row]
    columns = (
        np.asarray(block.locus_id)[row],
        np.full(len(row), block.chrom),
        offset + start,
        offset + end,
        attribution,
        p_value,
        row,
    )
    return SeqletTable(block.chrom, typed_table(COLUMNS, dict(zip(COLUMNS, columns, strict=True))))


def cherimoya_seqlets_bed(tables: Sequence[SeqletTable], order: Sequence[str]) -> str:
    """The text of the `seqlets.bed` that `cherimoya seqlets` writes when it is run once on all chromosomes.

    Tab-separated, no header: chrom, start, end, attribution, p-value. `order` is as in `in_cherimoya_order`.
    """
    rows = in_cherimoya_order([table.table for table in tables], order)
    text: str = rows[["chrom", "start", "end", "attribution", "p-value"]].to_csv(sep="\t", index=False, header=False)
    return text


def in_cherimoya_order(tables: Sequence[pd.DataFrame], order: Sequence[str]) -> pd.DataFrame:
    """The rows of all chromosomes' seqlet tables, in the row order of `cherimoya seqlets` run once on everything.

    That command calls loci in file order, sorts by p-value and then by attribution, both with pandas' default sort,
    which does not keep the order of equal values. The same sorts on the same rows in the same order reproduce it, ties
    included.

    Args:
        tables: data frames with at least the columns of a SeqletTable, in any order of chromosomes.
        order: ids of all loci in cherimoya's order (`interleave`); it may name loci that were not kept.

    Raises:
        ValueError: a table has a locus that `order` lacks.
    """
    filled = [table for table in tables if len(table)]
    if not filled:
        return tables[0].copy() if tables else typed_table(COLUMNS)
    rows = pd.concat(filled, ignore_index=True)
    place = rows["locus_id"].map({locus: i for i, locus in enumerate(order)})
    if place.isna().any():
        raise ValueError(f"locus {rows['locus_id'][place.isna()].iloc[0]} is not in the given order of loci")
    called = rows.iloc[np.argsort(place.to_numpy(), kind="stable")].reset_index(drop=True)
    ranked = called.sort_values("p-value").reset_index(drop=True)
    return ranked.sort_values("attribution", ascending=False).reset_index(drop=True)

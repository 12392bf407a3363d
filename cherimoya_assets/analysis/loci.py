"""Loci: read once a process, each with a stable id and a window, and why each lost one was lost.

What lives here: ids and window arithmetic. What must not: lines of files (`bed.py`, `strict_bed.py`) and sequence
(`genome.py`, `one_hot.py`).
Order and windows follow tangermeme 1.6 (`extract_loci`, `_interleave_loci`), which `cherimoya attribute` uses, so that
row k here is row k there. All coordinates are 0-based and half-open.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd

from cherimoya_assets.analysis.bed import read_plain
from cherimoya_assets.analysis.hashing import file_state
from cherimoya_assets.analysis.strict_bed import read_strictly
from cherimoya_assets.analysis.tables import typed_table

KEPT = "kept"
EDGE = "edge"
HAS_N = "N"
EXCLUDED = "exclusion"
NOT_SELECTED = "chromosome not selected"
STATUSES = (KEPT, EDGE, HAS_N, EXCLUDED, NOT_SELECTED)

PLACED_COLUMNS = {
    "locus_id": "object",
    "source": "int64",
    "chrom": "object",
    "start": "int64",
    "end": "int64",
    "window_start": "int64",
    "status": "object",
}
"""Columns and dtypes of a table of placed loci, in memory and stored."""

EXCLUSION_CHUNK = 100
"""tangermeme marks exclusion regions in chunks of 100 bp: a locus that touches a marked chunk is left out."""

MOST_TABLES, MOST_ROWS = 128, 5_000_000
"""What a process remembers: the rows of each file that it has read, and what it made of files together."""

_read: OrderedDict[tuple[object, ...], pd.DataFrame] = OrderedDict()
_reading = Lock()


def read_loci(paths: Sequence[Path], chrom_sizes: Mapping[str, int] | None = None) -> pd.DataFrame:
    """Read BED or narrowPeak files strictly (plain or gzip, as they are named or not), each once while it is the same.

    Args:
        paths: one file for each source of loci.
        chrom_sizes: chromosome lengths in bp; where given, a locus that begins past the end of its chromosome is an
            error. One that only ends there, as MACS writes them, is kept or lost with its window (`place_windows`).

    Returns:
        One row a locus in file order, sources one after the other: `locus_id` (str, unique: `chrom:start-end`, a
        repeated locus gets `/2`, `/3`), `source` (int64, which file), `chrom` (str), `start`, `end` (int64).

    Raises:
        Problems: lists every malformed line (at most 20 a file).
        InputError: a file is missing or cannot be decompressed.
    """
    states = _states(paths)
    loci = _read.get(states)
    if loci is None or not _within(loci, chrom_sizes):
        known = map(_read.get, states)
        found = [read_plain(path) if table is None else table for path, table in zip(paths, known, strict=True)]
        tables = [table for table in found if table is not None and _within(table, chrom_sizes)]
        if len(tables) < len(paths):
            tables = read_strictly(paths, chrom_sizes)
        loci = _named(tables)
        if states == _states(paths):
            _remember({**dict(zip(states, tables, strict=True)), states: loci})
    return loci.copy()


def interleave(loci: pd.DataFrame, chroms: Sequence[str] | None) -> pd.DataFrame:
    """Select chromosomes, then take the sources' rows in turn, as tangermeme's `_interleave_loci` does.

    Args:
        loci: as from `read_loci`, of all sources.
        chroms: chromosomes to keep, or None for all.

    Returns:
        The same columns with a fresh index; row k is row k of cherimoya's locus table.
    """
    selected = loci if chroms is None else loci[loci["chrom"].isin(list(chroms))]
    n_sources = int(loci["source"].max()) + 1 if len(loci) else 1
    rank = selected.groupby("source").cumcount() * n_sources + selected["source"]
    return selected.iloc[np.argsort(rank.to_numpy(), kind="stable")].reset_index(drop=True)


def place_windows(
    loci: pd.DataFrame,
    chrom_sizes: Mapping[str, int],
    in_window: int,
    exclusion: pd.DataFrame | None,
    chroms: Sequence[str],
) -> pd.DataFrame:
    """Give every locus its model window and say whether it can be used, before its sequence is looked at.

    The window is `[window_start, window_start + in_window)` with `window_start = mid - in_window // 2` and
    `mid = start + (end - start) // 2`, as in tangermeme 1.6.

    Args:
        loci: with `chrom`, `start`, `end`.
        chrom_sizes: chromosome lengths in bp.
        in_window: width of the model's input in bp.
        exclusion: regions (`chrom`, `start`, `end`) whose 100-bp chunks no window may touch, or None.
        chroms: the selected chromosomes.

    Returns:
        The loci with `window_start` (int64) and `status` ("kept", "edge", "exclusion", "chromosome not selected").
    """
    mid = loci["start"] + (loci["end"] - loci["start"]) // 2
    window_start = (mid - in_window // 2).to_numpy(dtype=np.int64)
    window_end = window_start + in_window
    sizes = loci["chrom"].map(dict(chrom_sizes)).fillna(0).to_numpy(dtype=np.int64)
    status = np.full(len(loci), KEPT, dtype=object)
    zones = _exclusion_chunks(exclusion, chrom_sizes)
    chrom_of = loci["chrom"].to_numpy()
    for chrom, marked in zones.items():
        rows = np.flatnonzero(chrom_of == chrom)
        first = np.clip(window_start[rows] // EXCLUSION_CHUNK, 0, len(marked))
        last = np.clip((window_end[rows] - 1) // EXCLUSION_CHUNK + 1, 0, len(marked))
        sums = np.concatenate([[0], np.cumsum(marked)])
        status[rows[sums[last] > sums[first]]] = EXCLUDED
    status[(window_start < 0) | (window_end > sizes)] = EDGE
    status[~loci["chrom"].isin(list(chroms)).to_numpy()] = NOT_SELECTED
    return loci.assign(window_start=window_start, status=status).astype({"status": object})


def loss_ledger(loci: pd.DataFrame) -> pd.DataFrame:
    """How many loci went, and why: `chrom`, `status`, `n`, every status for every chromosome that has loci."""
    chroms = list(dict.fromkeys(loci["chrom"]))
    counts = loci.groupby(["chrom", "status"]).size().to_dict()
    rows = [(chrom, status, int(counts.get((chrom, status), 0))) for chrom in chroms for status in STATUSES]
    ledger = pd.DataFrame(rows, columns=["chrom", "status", "n"])
    return ledger.astype({"chrom": object, "status": object, "n": "int64"})


def _exclusion_chunks(
    exclusion: pd.DataFrame | None, chrom_sizes: Mapping[str, int]
) -> dict[str, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    zones: dict[str, np.ndarray[tuple[int], np.dtype[np.bool_]]] = {}
    if exclusion is None:
        return zones
    for chrom, start, end in exclusion[["chrom", "start", "end"]].itertuples(index=False):
        if chrom in chrom_sizes:
            chunks = zones.setdefault(chrom, np.zeros(chrom_sizes[chrom] // EXCLUSION_CHUNK + 1, dtype=np.bool_))
            chunks[start // EXCLUSION_CHUNK : (end - 1) // EXCLUSION_CHUNK + 1] = True
    return zones


def _states(paths: Sequence[Path]) -> tuple[tuple[object, ...], ...]:
    """What files are remembered by. The suffix says how a file is read, and a link may have another than its target."""
    return tuple((path.suffix, file_state(path)) for path in paths)


def _remember(tables: Mapping[tuple[object, ...], pd.DataFrame]) -> None:
    with _reading:
        for state, table in tables.items():
            _read[state] = table
            _read.move_to_end(state)
        while len(_read) > MOST_TABLES or (len(_read) > 1 and sum(map(len, _read.values())) > MOST_ROWS):
            _read.popitem(last=False)


def _named(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all sources, each with its id."""
    empty = typed_table({"chrom": "object", "start": "int64", "end": "int64"})
    loci = pd.concat([empty, *tables], ignore_index=True)
    source = np.repeat(np.arange(len(tables), dtype=np.int64), [len(table) for table in tables])
    rows = zip(*(loci[name].tolist() for name in ("chrom", "start", "end")), strict=True)
    names = pd.Series([f"{chrom}:{start}-{end}" for chrom, start, end in rows], dtype=object)
    again = names[names.duplicated(keep=False)]
    repeat = again.groupby(again, sort=False).cumcount() + 1
    names[again.index] = again.where(repeat == 1, again + "/" + repeat.astype(str))
    loci.insert(0, "locus_id", names)
    loci.insert(1, "source", source)
    return loci


def _within(loci: pd.DataFrame, chrom_sizes: Mapping[str, int] | None) -> bool:
    """Whether no locus begins past the end of its chromosome, where that is known."""
    if chrom_sizes is None:
        return True
    last = loci.groupby("chrom")["start"].max()
    return all(start < chrom_sizes.get(str(chrom), start + 1) for chrom, start in last.items())

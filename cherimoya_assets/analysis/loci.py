"""Loci: reading them strictly, giving each a stable id and a window, and saying why each lost one was lost.

What lives here: BED-like files and window arithmetic. What must not: sequence (`genome.py`, `one_hot.py`).
Order and windows follow tangermeme 1.6 (`extract_loci`, `_interleave_loci`), which `cherimoya attribute` uses, so that
row k here is row k there. All coordinates are 0-based and half-open.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cherimoya_assets.errors import InputError, Problems

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

LONGEST_LINE = 1 << 20
"""Characters; a line that does not end would be read whole, and a gzip file of 1 MB can hold one of 1 GB."""

MOST_LOCI = 20_000_000
"""Rows of one file: every 150 bp of the human genome. A gzip file of some megabytes can hold more than any memory."""

MOST_PROBLEMS = 20
"""A file of another format is wrong in every line; twenty sentences are enough to see it."""

_HEADER = re.compile(r"#|(track|browser)(\s|$)")

_WHOLE = re.compile(r"\s*-?[0-9]{1,18}\s*")
"""`int` would take 1_000, digits of other scripts and more than int64 holds."""


def read_loci(paths: Sequence[Path], chrom_sizes: Mapping[str, int] | None = None) -> pd.DataFrame:
    """Read BED or narrowPeak files (plain or .gz) strictly.

    Args:
        paths: one file for each source of loci.
        chrom_sizes: chromosome lengths in bp; where given, a locus that ends behind its chromosome is an error.

    Returns:
        One row a locus in file order, sources one after the other: `locus_id` (str, unique: `chrom:start-end`, a
        repeated locus gets `/2`, `/3`), `source` (int64, which file), `chrom` (str), `start`, `end` (int64).

    Raises:
        Problems: lists every malformed line (at most 20 a file).
        InputError: a file is missing or cannot be decompressed.
    """
    rows: list[tuple[int, str, int, int]] = []
    problems: list[str] = []
    for source, path in enumerate(paths):
        found: list[str] = []
        before = len(rows)
        for number, line in _lines(path):
            if len(rows) - before + len(found) >= MOST_LOCI:
                raise InputError(f"{path.name} line {number}: more than {MOST_LOCI:,} rows; this is no file of loci.")
            try:
                rows.append((source, *_locus(line, chrom_sizes)))
            except ValueError as error:
                found.append(f"{path.name} line {number}: {error}")
        problems += found[:MOST_PROBLEMS]
        if len(found) > MOST_PROBLEMS:
            problems.append(f"{path.name}: {len(found) - MOST_PROBLEMS} more lines like these.")
    if problems:
        raise Problems(problems)
    loci = pd.DataFrame(rows, columns=["source", "chrom", "start", "end"])
    loci = loci.astype({"source": "int64", "chrom": object, "start": "int64", "end": "int64"})
    names = loci["chrom"] + ":" + loci["start"].astype(str) + "-" + loci["end"].astype(str)
    repeat = names.groupby(names).cumcount() + 1
    loci.insert(0, "locus_id", names.where(repeat == 1, names + "/" + repeat.astype(str)).astype(object))
    return loci


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


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The interval lines of a file with their numbers, without headers, comments and blank lines."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. Restore it or mend its path in the experiment file.")
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as handle:
            lines = iter(lambda: handle.readline(LONGEST_LINE + 1), "")
            for number, line in enumerate(lines, start=1):
                if len(line) > LONGEST_LINE:
                    raise InputError(f"{path.name} line {number}: longer than 1 MB; a BED file was expected.")
                text = line.rstrip("\r\n")
                if text.strip() and not _HEADER.match(text):
                    yield number, text
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path.name}: cannot be decompressed ({error}). It is named .gz but is not gzip, or it is cut short; "
            "download or compress it again."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: is not text but binary data; a BED file was expected.") from error


def _locus(line: str, chrom_sizes: Mapping[str, int] | None) -> tuple[str, int, int]:
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) < 3:
        raise ValueError(
            f"{len(fields)} column(s), but BED has at least three, separated by tabs: chrom, start, end. Fix the row."
        )
    chrom = fields[0].strip()
    if not chrom or not chrom.isprintable():
        raise ValueError(f"{chrom!r} is no name of a chromosome. Fix the row or remove it.")
    if not (_WHOLE.fullmatch(fields[1]) and _WHOLE.fullmatch(fields[2])):
        raise ValueError(
            f"start {fields[1][:100]!r} and end {fields[2][:100]!r} must be whole numbers. Fix the row or remove it."
        )
    start, end = int(fields[1]), int(fields[2])
    if start < 0:
        raise ValueError(f"start {start} is negative; BED is 0-based. Fix the row or remove it.")
    if end <= start:
        raise ValueError(f"end {end} <= start {start}; BED is 0-based, half-open. Fix the row or remove it.")
    if chrom_sizes is not None and chrom in chrom_sizes and end > chrom_sizes[chrom]:
        raise ValueError(
            f"end {end} is behind the end of {chrom} ({chrom_sizes[chrom]} bp). "
            "Is this file of another genome? Fix the row or remove it."
        )
    return chrom, start, end


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

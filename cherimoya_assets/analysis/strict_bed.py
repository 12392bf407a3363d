"""BED files line by line, strictly: slow, and able to name every line that is wrong.

What lives here: lines to loci, and sentences. What must not: reading what is right (`bed.py`), which takes a tenth of
the time.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from cherimoya_assets.errors import InputError, Problems

LONGEST_LINE = 1 << 20
"""Characters; a line that does not end would be read whole, and a gzip file of 1 MB can hold one of 1 GB."""

MOST_LOCI = 20_000_000
"""Rows of one file: every 150 bp of the human genome. A gzip file of some megabytes can hold more than any memory."""

MOST_PROBLEMS = 20
"""A file of another format is wrong in every line; twenty sentences are enough to see it."""

_GZIP = b"\x1f\x8b"

_HEADER = re.compile(r"#|(track|browser)(\s|$)")

_WHOLE = re.compile(r"\s*-?[0-9]{1,18}\s*")
"""`int` would take 1_000, digits of other scripts and more than int64 holds."""


def read_strictly(paths: Sequence[Path], chrom_sizes: Mapping[str, int] | None) -> list[pd.DataFrame]:
    """The rows of each file: `chrom` (str), `start`, `end` (int64). Arguments and errors as in `loci.read_loci`."""
    tables: list[pd.DataFrame] = []
    problems: list[str] = []
    for path in paths:
        rows: list[tuple[str, int, int]] = []
        found: list[str] = []
        for number, line in _lines(path):
            if len(rows) + len(found) >= MOST_LOCI:
                raise InputError(f"{path.name} line {number}: more than {MOST_LOCI:,} rows; this is not a BED file.")
            if not rows and pairs(line):
                raise InputError(
                    f"{path.name} line {number}: two intervals a row (BEDPE), but one was expected: chrom, start, end. "
                    "Give the file of the peaks that were called, or write the loci as BED."
                )
            try:
                rows.append(_locus(line, chrom_sizes))
            except ValueError as error:
                found.append(f"{path.name} line {number}: {error}")
        problems += found[:MOST_PROBLEMS]
        if len(found) > MOST_PROBLEMS:
            problems.append(f"{path.name}: {len(found) - MOST_PROBLEMS} more lines like these.")
        table = pd.DataFrame(rows, columns=["chrom", "start", "end"])
        tables.append(table.astype({"chrom": object, "start": "int64", "end": "int64"}))
    if problems:
        raise Problems(problems)
    return tables


def pairs(row: str) -> bool:
    """Whether a row holds two intervals, of one chromosome, as BEDPE does."""
    fields = _fields(row)
    second = fields[3:6]
    return len(second) == 3 and second[0] == fields[0] and all(map(_WHOLE.fullmatch, second[1:]))


def opened(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """A file's text in bytes, unpacked where its content is gzip (bgzip is) or its name says so.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as handle:
        packed = handle.read(2) == _GZIP or path.suffix.lower() in (".gz", ".bgz")
    return gzip.open(path) if packed else path.open("rb")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The interval lines of a file with their numbers, without headers, comments and blank lines."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. Restore it or correct its path in the experiment file.")
    try:
        # A byte order mark is no part of the first name; other columns than ours may be in any encoding.
        with io.TextIOWrapper(opened(path), encoding="utf-8-sig", errors="surrogateescape") as handle:
            lines = iter(lambda: handle.readline(LONGEST_LINE + 1), "")
            for number, line in enumerate(lines, start=1):
                if len(line) > LONGEST_LINE:
                    raise InputError(f"{path.name} line {number}: longer than 1 MB; a BED file was expected.")
                text = line.rstrip("\r\n")
                if text.strip() and not _HEADER.match(text):
                    "".join(_fields(text)[:3]).encode()
                    yield number, text
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path.name}: cannot be decompressed ({error}). It is named .gz but is not gzip, or it is cut short; "
            "download or compress it again."
        ) from error
    except UnicodeEncodeError as error:
        raise InputError(f"{path.name}: is not text but binary data; a BED file was expected.") from error


def _fields(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _locus(line: str, chrom_sizes: Mapping[str, int] | None) -> tuple[str, int, int]:
    fields = _fields(line)
    if len(fields) < 3:
        raise ValueError(
            f"{len(fields)} column(s), but BED has at least three, separated by tabs: chrom, start, end. Fix the row."
        )
    chrom = fields[0].strip()
    if not chrom or not chrom.isprintable():
        raise ValueError(f"{chrom!r} is not a chromosome name. Fix the row or remove it.")
    if not (_WHOLE.fullmatch(fields[1]) and _WHOLE.fullmatch(fields[2])):
        raise ValueError(
            f"start {fields[1][:100]!r} and end {fields[2][:100]!r} must be whole numbers. Fix the row or remove it."
        )
    start, end = int(fields[1]), int(fields[2])
    if start < 0:
        raise ValueError(f"start {start} is negative; BED is 0-based. Fix the row or remove it.")
    if end <= start:
        raise ValueError(f"end {end} <= start {start}; BED is 0-based, half-open. Fix the row or remove it.")
    # MACS extends peaks past the end; whether such a window fits is decided with all others. None begins there.
    if chrom_sizes is not None and chrom in chrom_sizes and start >= chrom_sizes[chrom]:
        raise ValueError(
            f"start {start} is past the end of {chrom} ({chrom_sizes[chrom]} bp). "
            "Is this file for another genome? Fix the row or remove it."
        )
    return chrom, start, end

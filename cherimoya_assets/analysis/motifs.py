"""Motif databases: MEME minimal motif format, read strictly.

What lives here: reading position weight matrices. What must not: matching them (`annotation.py`). For a valid file the
values equal `memelite.io.read_meme` and `tangermeme.io.read_meme`. A motif's name is the user's text and is kept as it
is; whoever draws it or names a file after it must escape it.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.errors import InputError, Problems

SUM_TOLERANCE = 0.02
"""Databases print 2 to 6 digits; four values of two digits are off by at most 0.02."""

LARGEST = 1 << 28
"""Bytes; all of JASPAR has 2 MB."""

LONGEST_NAME = 500

_WIDTH = re.compile(r"\bw=\s*(\S+)")
_ALPHABET_LENGTH = re.compile(r"\balength=\s*(\S+)")


def read_motifs(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read every motif of a MEME file.

    Returns:
        Name to probabilities, shape (4, width), rows A, C, G, T, in file order. The name is every word after `MOTIF`,
        joined by one blank, as memelite reads it (`MA0271.1 ARG80`).

    Raises:
        InputError: the file is missing, is not MEME, or has no motifs.
        Problems: every malformed motif, with its line.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Restore it or correct `motifs` in the experiment file.")
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path.name}: larger than {LARGEST >> 20} MB; this is not a motif database.")
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: is not text but binary data; a MEME file was expected.") from error
    if not any(line.startswith("MEME version") for line in lines):
        raise InputError(f"{path.name} line 1: expected `MEME version 4` (or 5); this is not a MEME motif file.")
    motifs: dict[str, NDArray[np.float64]] = {}
    first_line: dict[str, int] = {}
    problems: list[str] = []
    alphabet = next((line.split("=", 1)[1].strip() for line in lines if line.startswith("ALPHABET=")), "ACGT")
    if alphabet != "ACGT":
        raise InputError(f"{path.name}: alphabet {alphabet}; only DNA (ALPHABET= ACGT) can be matched.")
    at = 0
    while at < len(lines):
        if not lines[at].startswith("MOTIF"):
            at += 1
            continue
        where, name = f"{path.name} line {at + 1}", " ".join(lines[at][5:].split())
        end = next((k for k in range(at + 1, len(lines)) if lines[k].startswith("MOTIF")), len(lines))
        try:
            if not name or not name.isprintable():
                raise ValueError("the motif has no printable name. Name it.")
            if len(name) > LONGEST_NAME:
                raise ValueError(
                    f"the motif's name has {len(name):,} characters. Give it one of {LONGEST_NAME} at most."
                )
            if name in first_line:
                raise ValueError(
                    f"motif {name!r} is already on line {first_line[name]}. Names must differ; rename one."
                )
            first_line[name] = at + 1
            motifs[name] = _matrix(lines, at + 1, end)
        except ValueError as error:
            problems.append(f"{where}: {error}")
        at = end
    if problems:
        raise Problems(problems)
    if not motifs:
        raise InputError(f"{path.name}: contains no motifs. A motif starts with a line `MOTIF name`.")
    return motifs


def _matrix(lines: list[str], start: int, end: int) -> NDArray[np.float64]:
    header = next((k for k in range(start, end) if lines[k].startswith("letter-probability matrix")), None)
    if header is None:
        raise ValueError("no `letter-probability matrix:` line follows. Add the motif's probabilities.")
    length = _ALPHABET_LENGTH.search(lines[header])
    if length and length[1] != "4":
        raise ValueError(f"alength= {length[1]} in line {header + 1}; DNA motifs have 4 columns.")
    declared = _WIDTH.search(lines[header])
    if declared is None or not re.fullmatch(r"[0-9]{1,9}", declared[1]) or int(declared[1]) < 1:
        raise ValueError(f"line {header + 1} must give the width, as in `w= 8`.")
    rows: list[list[float]] = []
    for k in range(header + 1, end):
        if not lines[k].strip() or lines[k].startswith("URL"):
            if rows:
                break
            continue
        try:
            row = [float(value) for value in lines[k].split()]
        except ValueError:
            raise ValueError(f"line {k + 1}: {lines[k].strip()!r} is not four numbers.") from None
        if len(row) != 4 or not all(0 <= value <= 1 for value in row):
            raise ValueError(f"line {k + 1}: expected four probabilities between 0 and 1, found {lines[k].strip()!r}.")
        if abs(sum(row) - 1) > SUM_TOLERANCE:
            raise ValueError(f"line {k + 1}: the probabilities sum to {sum(row):.3f}, not 1.")
        rows.append(row)
    if len(rows) != int(declared[1]):
        raise ValueError(f"{len(rows)} rows follow, but line {header + 1} says w= {declared[1]}.")
    return np.array(rows, dtype=np.float64).T.copy()

"""Motif databases: MEME minimal motif format, read strictly.

What lives here: reading position weight matrices. What must not: matching them (`annotation.py`). For a valid file the
values equal `memelite.io.read_meme` and `tangermeme.io.read_meme`. A motif's name is the user's text and is kept as it
is; whoever draws it or names a file after it must escape it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.errors import InputError, Problems

SUM_TOLERANCE = 0.02
"""Databases print 2 to 6 digits; four values of two digits are off by at most 0.02."""

SUM_LIMIT = 0.05
"""What is further off was no probability. In between, a matrix is taken as it is, and `uneven` names it."""

ROUNDING = 1e-5
"""How far a program that normalizes in float32 gets past 0 and 1."""

LARGEST = 1 << 28
"""Bytes; all of JASPAR has 2 MB."""

LONGEST_NAME = 500

ALPHABETS = ("ACGT", "ACGU")
"""U stands where T does, and a matrix of RNA is read as that of DNA, as memelite does."""

_BINARY = re.compile("[\0\udc80-\udcff]")
_MOTIF = re.compile(r"MOTIF(\s|$)")
_WIDTH = re.compile(r"\bw=\s*(\S+)")
_ALPHABET_LENGTH = re.compile(r"\balength=\s*(\S+)")


def read_motifs(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read every motif of a MEME file: minimal motif format (versions 4 and 5), or what the program MEME prints.

    Version, alphabet, `alength=` and `w=` may be missing; without `w=`, an empty line ends a matrix.

    Returns:
        Name to probabilities, shape (4, width), rows A, C, G, T, in file order. The name is every word after `MOTIF`,
        joined by one blank, as memelite reads it (`MA0271.1 ARG80`).

    Raises:
        InputError: the file is missing, is not MEME, or has no motifs, or none of DNA.
        Problems: every malformed motif, with its line.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Restore it or correct `motifs` in the experiment file.")
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path.name}: larger than {LARGEST >> 20} MB; this is not a motif database.")
    # Comments and links may be in any encoding.
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    lines = text.splitlines()
    starts = [at for at, line in enumerate(lines) if _MOTIF.match(line)]
    if not starts and _BINARY.search(text):
        raise InputError(f"{path.name}: is not text but binary data; a MEME file was expected.")
    if not starts and not any(line.startswith("MEME version") for line in lines):
        raise InputError(f"{path.name} line 1: expected `MEME version 4` (or 5); this is not a MEME motif file.")
    alphabet = next((line.split("=", 1)[1].strip() for line in lines if line.startswith("ALPHABET=")), ALPHABETS[0])
    if alphabet not in ALPHABETS:
        raise InputError(f"{path.name}: alphabet {alphabet}; only DNA (ALPHABET= ACGT) can be matched.")
    motifs: dict[str, NDArray[np.float64]] = {}
    first_line: dict[str, int] = {}
    problems: list[str] = []
    for at, end in pairwise([*starts, len(lines)]):
        where, name = f"{path.name} line {at + 1}", " ".join(lines[at][5:].split())
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
    if problems:
        raise Problems(problems)
    if not motifs:
        raise InputError(f"{path.name}: contains no motifs. A motif starts with a line `MOTIF name`.")
    return motifs


def uneven(motifs: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """The motifs with a position whose probabilities do not sum to 1, by more than their digits explain.

    Args:
        motifs: as from `read_motifs`.

    Returns:
        Name to the sum that is furthest from 1.
    """
    sums = {name: matrix.sum(axis=0) for name, matrix in motifs.items()}
    furthest = {name: float(each[np.abs(each - 1).argmax()]) for name, each in sums.items()}
    return {name: total for name, total in furthest.items() if abs(total - 1) > SUM_TOLERANCE + ROUNDING}


def _matrix(lines: list[str], start: int, end: int) -> NDArray[np.float64]:
    header = next((k for k in range(start, end) if lines[k].startswith("letter-probability matrix")), None)
    if header is None:
        raise ValueError("no `letter-probability matrix:` line follows. Add the motif's probabilities.")
    length = _ALPHABET_LENGTH.search(lines[header])
    if length and length[1] != "4":
        raise ValueError(f"alength= {length[1]} in line {header + 1}; DNA motifs have 4 columns.")
    declared = _WIDTH.search(lines[header])
    if declared and (not re.fullmatch(r"[0-9]{1,9}", declared[1]) or int(declared[1]) < 1):
        said = declared[1] if len(declared[1]) < 20 else f"{declared[1][:20]}..."
        raise ValueError(f"line {header + 1}: w= {said} is not a width. Correct it, as in `w= 8`, or remove it.")
    width = int(declared[1]) if declared else None
    rows: list[list[float]] = []
    for k in range(header + 1, end):
        text = lines[k].strip()
        if not text or text.startswith("URL"):
            if rows:
                break
            continue
        if len(rows) == width and not _number(text.split()[0]):
            # The program MEME goes on with a line of dashes.
            break
        rows.append(_row(text, k + 1))
    if not rows or width not in (None, len(rows)):
        said = f"says w= {width}" if width else "begins a matrix"
        raise ValueError(f"{len(rows)} rows follow, but line {header + 1} {said}.")
    return np.array(rows, dtype=np.float64).T.copy()


def _row(text: str, number: int) -> list[float]:
    if not all(map(_number, text.split())):
        raise ValueError(f"line {number}: {text!r} is not four numbers.")
    row = [float(value) for value in text.split()]
    if len(row) != 4 or not all(-ROUNDING <= value <= 1 + ROUNDING for value in row):
        raise ValueError(f"line {number}: expected four probabilities between 0 and 1, found {text!r}.")
    if abs(sum(row) - 1) > SUM_LIMIT + ROUNDING:
        raise ValueError(f"line {number}: the probabilities sum to {sum(row):.3f}, not 1.")
    return row


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

"""How many rows of an input were added and removed, for the words in which `drift` says what changed.

What belongs here: keeping the rows of a version and comparing two versions. What does not: what a version is
(`input_versions.py`). Rows are kept under their version, which is a hash of them: a record is never out of date. The
records are a cache; without one the words have no numbers.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.loci import interleave, read_loci


def remember_rows(paths: Sequence[Path], versions: Mapping[str, str], cache: Path) -> None:
    """Keep the rows of every chromosome of BED files under the version that it has now.

    Args:
        paths: the files.
        versions: of each selected chromosome, as `loci_versions` or `region_versions` gives them.
        cache: folder of the records.
    """
    if all(_entry(cache, version).is_file() for version in versions.values()):
        return
    loci = interleave(read_loci(paths), tuple(versions))
    for chrom, version in versions.items():
        rows = loci.loc[loci["chrom"] == chrom, ["source", "start", "end"]].to_numpy(np.int64)
        entry = _entry(cache, version)
        entry.parent.mkdir(parents=True, exist_ok=True)
        temporary = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
        with temporary.open("wb") as handle:
            np.save(handle, rows, allow_pickle=False)
        os.replace(temporary, entry)


def rows_changed(before: str, after: str, cache: Path) -> str:
    """What happened to the rows between two versions, in words; empty where one of them is not remembered."""
    old, new = _recall(cache, before), _recall(cache, after)
    if old is None or new is None:
        return ""
    ours, theirs = (Counter(map(tuple, rows.tolist())) for rows in (old, new))
    added, removed = (theirs - ours).total(), (ours - theirs).total()
    words = [f"{added:,} {_rows(added)} added"] if added else []
    if removed:
        words.append(f"{removed:,} removed" if added else f"{removed:,} {_rows(removed)} removed")
    return ", ".join(words)


def _rows(n: int) -> str:
    return "row" if n == 1 else "rows"


def _entry(cache: Path, version: str) -> Path:
    return cache / "rows" / f"{version}.npy"


def _recall(cache: Path, version: str) -> NDArray[np.int64] | None:
    try:
        return np.asarray(np.load(_entry(cache, version), allow_pickle=False), np.int64)
    except (OSError, ValueError):
        return None

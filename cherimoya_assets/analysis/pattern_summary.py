"""TF-MoDISco's patterns in brief: trimmed, counted, each with the nearest known motif.

What belongs here: reading the field's h5 and matching patterns. What does not: finding patterns, or drawing them.
Trimming and matching are those of modisco-lite 3's report (`tomtomlite_dataframe`), so both show the same motif.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.errors import StorageError

if TYPE_CHECKING:
    import h5py

METACLUSTERS = ("pos_patterns", "neg_patterns")


@dataclass(frozen=True)
class PatternSummary:
    """One pattern: base frequencies `ppm` and contribution weights `cwm`, float64 (w, 4), columns A, C, G, T, both
    trimmed to the same positions."""

    name: str
    n_seqlets: int
    ppm: NDArray[np.float64]
    cwm: NDArray[np.float64]


def summarize_patterns(h5: bytes, trim_threshold: float = 0.3) -> list[PatternSummary]:
    """Read the patterns of a TF-MoDISco result, positive ones first, each group in TF-MoDISco's order.

    Args:
        h5: The bytes of the result file.
        trim_threshold: Positions at either end are cut off while their summed absolute contribution is below this
            part of the highest one.
    """
    import h5py

    summaries = []
    with h5py.File(BytesIO(h5), "r") as file:
        check_self_contained(file)
        for metacluster in METACLUSTERS:
            group = file.get(metacluster, {})
            for name in sorted(group, key=lambda pattern: int(pattern.rsplit("_", 1)[1])):
                ppm, cwm = (np.asarray(group[name][part], np.float64) for part in ("sequence", "contrib_scores"))
                score = np.abs(cwm).sum(axis=1)
                high = np.flatnonzero(score >= score.max() * trim_threshold)
                kept = slice(int(high[0]), int(high[-1]) + 1)
                n_seqlets = int(np.asarray(group[name]["seqlets"]["n_seqlets"]).sum())
                summaries.append(PatternSummary(f"{metacluster}.{name}", n_seqlets, ppm[kept], cwm[kept]))
    return summaries


def check_self_contained(file: h5py.Group) -> None:
    """Refuse what HDF5 would fetch from another file: a result that somebody sent would read the reader's own files.

    Raises:
        StorageError: a link leads elsewhere, or numbers lie in another file.
    """
    import h5py

    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise StorageError(f"TF-MoDISco's file: {name} is a link, which that tool does not make. Make it again.")
        item = file[name]
        if isinstance(item, h5py.Group):
            check_self_contained(item)
        elif item.external or item.is_virtual:
            raise StorageError(f"TF-MoDISco's file: the numbers of {name} are stored in another file. Make it again.")


def nearest_motifs(
    patterns: Sequence[PatternSummary], motifs: Mapping[str, NDArray[np.float64]]
) -> list[tuple[str, float]]:
    """The nearest motif of each pattern and its tomtom-lite p-value.

    Args:
        patterns: As from `summarize_patterns`.
        motifs: Motif name to base frequencies (4, w); at least one.
    """
    from memelite import tomtom

    if not patterns:
        return []
    p_values, _, _, _, _, nearest = tomtom(
        [pattern.ppm.T for pattern in patterns], list(motifs.values()), n_nearest=1, n_jobs=1
    )
    names = list(motifs)
    return [(names[int(i)], float(p)) for i, p in zip(nearest[:, 0], p_values[:, 0], strict=True)]

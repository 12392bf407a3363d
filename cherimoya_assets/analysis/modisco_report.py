"""modisco-lite's descriptive report of the patterns, matched to the motif database by tomtom-lite.

What belongs here: what goes into the report, and running what draws it. What does not: finding patterns (modisco.py),
and the drawing itself (modisco_drawing.py, which runs in a process of its own).

Follows `modisco report --lite` of modisco-lite 3. Without `--lite` the report needs the program `tomtom` of the MEME
suite, which is never called here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis import modisco_drawing
from cherimoya_assets.analysis.child_process import ChildError, available_cpus, run_child
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.errors import CherimoyaAssetsError

if TYPE_CHECKING:
    from cherimoya_assets.analysis.modisco import ModiscoPatterns


def modisco_report(
    patterns: ModiscoPatterns,
    motif_file: Path | None,
    folder: Path,
    *,
    n_matches: int = 3,
    trim_threshold: float = 0.3,
    n_examples: int = 10,
) -> None:
    """Write `report.html`, which carries all of its images, and the images as files beside it.

    Args:
        patterns: what was found; no patterns are valid, and the page says that there are none.
        motif_file: MEME file of known motifs; None leaves the matches out.
        folder: an existing folder. It may be moved afterwards.
        n_matches: matches shown of each pattern; no more than there are motifs.
        trim_threshold: positions at the ends of a pattern whose contribution is below this part of its highest are left
            out, of the trimmed logo and of what is matched.
        n_examples: seqlets shown of each pattern.

    Files are named after patterns, which TF-MoDISco numbers, and never after motifs.

    Raises:
        InputError: the motif file cannot be read. Problems: motifs in it are malformed.
        CherimoyaAssetsError: modisco-lite failed; the message has its last lines.
    """
    motifs = {} if motif_file is None else read_motifs(motif_file)
    with TemporaryDirectory(prefix="modisco_report_") as scratch:
        work = Path(scratch)
        (work / "patterns.h5").write_bytes(patterns.h5)
        (work / "motifs.meme").write_text(numbered_meme(motifs))
        request: dict[str, Any] = {
            "folder": str(folder.resolve()),
            "motifs": list(motifs),
            "n_matches": n_matches,
            "trim_threshold": trim_threshold,
            "n_examples": n_examples,
            "processes": available_cpus(),
        }
        (work / "request.json").write_text(json.dumps(request))
        # -P: the modules beside the script must not be taken for libraries.
        command = [sys.executable, "-P", modisco_drawing.__file__]
        environment = {"MPLBACKEND": "Agg", "NUMBA_NUM_THREADS": str(available_cpus())}
        try:
            run_child(command, folder=work, environment=environment)
        except ChildError as failure:
            raise CherimoyaAssetsError(
                f"modisco-lite could not draw the report of the patterns: it {failure.describe()}"
            ) from failure


def numbered_meme(motifs: Mapping[str, NDArray[np.float64]]) -> str:
    """The motifs as a MEME file in which they are named 0, 1, ..., with every digit of their probabilities.

    modisco-lite looks a motif's logo up by the first word of its name, finds none for `MA0363.3 REB1`, and must never
    see a name like `../x`; the names come back where the page escapes them.
    """
    parts = ["MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\n"]
    for number, matrix in enumerate(motifs.values()):
        parts.append(f"MOTIF {number}\nletter-probability matrix: alength= 4 w= {matrix.shape[1]} nsites= 1 E= 0\n")
        parts += [" ".join(repr(float(value)) for value in column) + "\n" for column in matrix.T]
        parts.append("\n")
    return "".join(parts)

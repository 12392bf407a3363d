"""In-silico mutagenesis: bases replaced in a sequence, and what the model then says.

What lives here: the two functions that a scientist calls. How they are computed is an engine's (`engines.py`): a
Cherimoya goes through `cherimoya_engine.py`, BPNet and ChromBPNet through `bpnet_engine.py`, both on windows around the
edits, and everything else through tangermeme's dense one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.attribution_method import Asked
from cherimoya_assets.analysis.locus_by_locus import collect
from cherimoya_assets.analysis.mutagenesis.edits import EditedPredictions, LocalEdit
from cherimoya_assets.analysis.mutagenesis.engines import TOLERANCE, Engine, engine_for
from cherimoya_assets.analysis.mutagenesis.result import MutagenesisResult

if TYPE_CHECKING:
    from cherimoya_assets.analysis.sequence_model import SequenceModel


__all__ = [
    "TOLERANCE",
    "EditedPredictions",
    "Engine",
    "LocalEdit",
    "MutagenesisResult",
    "engine_for",
    "local_edit_effects",
    "saturation_mutagenesis",
]


def saturation_mutagenesis(
    model: SequenceModel,
    X: NDArray[np.int8],
    start: int,
    end: int,
    outputs: Sequence[str] = ("counts", "profile"),
    *,
    group: int | None = 0,
    tolerance: float = TOLERANCE,
    batch_size: int | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> MutagenesisResult:
    """Hypothetical attributions of the positions `[start, end)` of every sequence.

    They are what `tangermeme.saturation_mutagenesis.saturation_mutagenesis` gives with `hypothetical=True`: the change
    in prediction that each base makes, less the mean over the alphabet.

    Args:
        model: the model, loaded.
        X: int8 (n, 4, L), one-hot without unknown bases; n may be 0.
        start, end: positions in the sequence, 0-based and half-open.
        outputs: "counts", "profile" or both; both cost one sweep.
        group: the model's signal group, or None for all of them.
        tolerance: largest relative error of a locus that is accepted of windowed mutagenesis of a Cherimoya, which
            checks itself; 0 for the dense engine.
        batch_size: edited sequences computed together, where that matters; None takes what suits the device.
        dtype: "float32", or "bfloat16" or "float16" under autocast, which is dense.
        device: where to compute.
        progress: called with (loci done, loci in all) after each locus.

    Returns:
        Scores that do not depend, bit for bit, on which other sequences are in `X`.
    """
    engine = engine_for(
        model, length=X.shape[2], tolerance=tolerance, batch_size=batch_size, dtype=dtype, device=device
    )
    asked = Asked(start, end, tuple(outputs), group)
    scores, report = collect(engine.each_locus(X, asked), asked.shape(len(X)), outputs, progress)
    return MutagenesisResult(scores, report.pop("engine"), report)


def local_edit_effects(
    model: SequenceModel,
    X: NDArray[np.int8],
    edits: Sequence[LocalEdit],
    *,
    tolerance: float = TOLERANCE,
    dtype: str = "float32",
    device: str = "cpu",
) -> EditedPredictions:
    """Predictions of one sequence before and after each of its edits.

    Args:
        model: the model, loaded. Whoever has many sequences makes one engine for all of them, with `engine_for`.
        X: int8 (4, L), one-hot.
        edits: each within the sequence; there may be none.
        tolerance, dtype, device: as in `saturation_mutagenesis`.

    Raises:
        DeviceError: the device has not the memory for one edited sequence at a time.
    """
    engine = engine_for(model, length=X.shape[1], tolerance=tolerance, dtype=dtype, device=device)
    return engine.predictions(X, edits)

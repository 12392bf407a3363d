"""In-silico mutagenesis: bases replaced in a sequence, and what the model then says.

What lives here: the two functions that the project calls. Each picks an engine, a module or package beside this one:
`windowed` for a Cherimoya in float32, tangermeme's dense one for everything else. What must not: an engine's inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, collect
from cherimoya_assets.analysis.mutagenesis.local_edits import (
    TOLERANCE,
    EditedPredictions,
    LocalEdit,
    is_windowed,
    local_edit_effects,
)
from cherimoya_assets.analysis.mutagenesis.result import MutagenesisResult

if TYPE_CHECKING:
    from cherimoya_assets.analysis.models import SequenceModel


__all__ = [
    "TOLERANCE",
    "EditedPredictions",
    "LocalEdit",
    "MutagenesisResult",
    "local_edit_effects",
    "locus_by_locus",
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
        tolerance: largest relative error that is accepted of windowed mutagenesis, which checks itself; 0 for the dense
            engine.
        batch_size: edited sequences computed together; None takes what suits the device.
        dtype: "float32", or "bfloat16" or "float16" under autocast, which is dense.
        device: where to compute.
        progress: called with (loci done, loci in all) after each locus.

    Returns:
        Scores that do not depend, bit for bit, on which other sequences are in `X`.
    """
    work = locus_by_locus(
        model,
        X,
        start,
        end,
        outputs,
        group=group,
        tolerance=tolerance,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
    )
    scores, report = collect(work, (len(X), 4, end - start), outputs, progress)
    return MutagenesisResult(scores, report.pop("engine"), report)


def locus_by_locus(
    model: SequenceModel,
    X: NDArray[np.int8],
    start: int,
    end: int,
    outputs: Sequence[str],
    *,
    group: int | None,
    tolerance: float,
    batch_size: int | None,
    dtype: str,
    device: str,
    stretch: int | None = None,
) -> LocusByLocus:
    """The same as `saturation_mutagenesis`, handed over locus by locus while it is computed.

    With `stretch`, no locus is begun before the stretch of so many before it is done.
    """
    if is_windowed(model, tolerance, dtype):
        from cherimoya_assets.analysis.mutagenesis.windowed.saturation import each_locus as windowed_locus

        return windowed_locus(
            model,
            X,
            start,
            end,
            outputs,
            group=group,
            tolerance=tolerance,
            batch_size=batch_size,
            device=device,
            stretch=stretch,
        )
    from cherimoya_assets.analysis.mutagenesis.tangermeme_engine import each_locus

    return each_locus(
        model,
        X,
        start,
        end,
        outputs,
        group=group,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
    )

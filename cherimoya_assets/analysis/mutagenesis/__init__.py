"""In-silico saturation mutagenesis: every base of a span replaced by every other, and what the model then says.

What lives here: the one function that the project calls, and its result. What must not: an engine's inside; each engine
is a module beside this one. All give what `tangermeme.saturation_mutagenesis.saturation_mutagenesis` gives with
`hypothetical=True`: the change in prediction, centred over the alphabet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.mutagenesis.result import MutagenesisResult

if TYPE_CHECKING:
    from cherimoya_assets.analysis.models import SequenceModel


__all__ = ["MutagenesisResult", "saturation_mutagenesis"]


def saturation_mutagenesis(
    model: SequenceModel,
    X: NDArray[np.int8],
    start: int,
    end: int,
    outputs: Sequence[str] = ("counts", "profile"),
    *,
    group: int | None = 0,
    batch_size: int | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> MutagenesisResult:
    """Hypothetical attributions of the positions `[start, end)` of every sequence.

    Args:
        model: the model, loaded.
        X: int8 (n, 4, L), one-hot without unknown bases; n may be 0.
        start, end: positions in the sequence, 0-based and half-open.
        outputs: "counts", "profile" or both; both cost one sweep.
        group: the model's signal group, or None for all of them.
        batch_size: sequences in one forward pass; None takes what suits the device.
        dtype: "float32", or "bfloat16" or "float16" under autocast.
        device: where to compute.
        progress: called with (loci done, loci in all) after each locus.

    Returns:
        Scores that do not depend, bit for bit, on which other sequences are in `X`.
    """
    from cherimoya_assets.analysis.mutagenesis.tangermeme_engine import mutate

    return mutate(
        model,
        X,
        start,
        end,
        outputs,
        group=group,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        progress=progress,
    )

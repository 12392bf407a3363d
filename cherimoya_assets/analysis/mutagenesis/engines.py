"""How mutagenesis of a model is computed: the face of every engine, and which one it is.

What lives here: that choice, the only place that makes it. An engine is a module beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.attribution_method import LocusEngine

if TYPE_CHECKING:
    from cherimoya_assets.analysis.mutagenesis.edits import EditedPredictions, LocalEdit
    from cherimoya_assets.analysis.sequence_model import SequenceModel

TOLERANCE = 5e-4
"""Largest relative error of a locus that is accepted, by the engine's own upper estimate of it."""


class Engine(LocusEngine, Protocol):
    """A model, ready for edits of sequences: "windowed" or "tangermeme"."""

    def predictions(self, X: NDArray[np.int8], edits: Sequence[LocalEdit]) -> EditedPredictions:
        """Predictions of one sequence, (4, L), before and after each of its edits; there may be none.

        Raises:
            DeviceError: the device has not the memory for one edited sequence at a time.
        """


def engine_for(
    model: SequenceModel,
    *,
    length: int,
    tolerance: float = TOLERANCE,
    batch_size: int | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> Engine:
    """The engine for sequences of `length` bp; see `saturation_mutagenesis` for the arguments."""
    if dtype == "float32" and tolerance > 0:
        windowed = model.windowed_engine(length=length, tolerance=tolerance, batch_size=batch_size, device=device)
        if windowed is not None:
            return windowed
    from cherimoya_assets.analysis.mutagenesis.tangermeme_engine import TangermemeEngine

    return TangermemeEngine(model, length=length, batch_size=batch_size, dtype=dtype, device=device)

"""How mutagenesis of a model is computed: the face of every engine, and which one it is.

What lives here: that choice, the only place that makes it. An engine is a module beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cherimoya_assets.analysis.locus_by_locus import LocusByLocus
    from cherimoya_assets.analysis.models import SequenceModel
    from cherimoya_assets.analysis.mutagenesis.edits import EditedPredictions, LocalEdit

TOLERANCE = 5e-4
"""Largest relative error of a locus that is accepted, by the engine's own upper estimate of it."""


class Engine(Protocol):
    """A model, ready for edits of sequences.

    Attributes:
        name: "windowed" or "tangermeme". version: raised whenever the same edits get other numbers.
        alone: whether every sum stays in one thread, so that sequences are computed side by side on a CPU, and the
            number of threads changes nothing.
    """

    name: str
    version: int
    alone: bool

    def each_locus(
        self,
        X: NDArray[np.int8],
        start: int,
        end: int,
        outputs: Sequence[str],
        *,
        group: int | None,
        stretch: int | None = None,
    ) -> LocusByLocus:
        """Hypothetical attributions of `[start, end)` of sequences (n, 4, L), handed over while they are computed.

        With `stretch`, no locus is begun before the stretch of so many before it is done.
        """

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
        if model.kind == "cherimoya" and bool(model.module.n_layers):
            from cherimoya_assets.analysis.mutagenesis.cherimoya_engine import CherimoyaEngine

            return CherimoyaEngine(model, length=length, tolerance=tolerance, batch_size=batch_size, device=device)
        if model.kind != "cherimoya" and device == "cpu":
            from cherimoya_assets.analysis.mutagenesis.bpnet_engine import BPNetEngine
            from cherimoya_assets.analysis.mutagenesis.convolutional.network import networks_of

            networks = networks_of(model.module)
            if networks is not None:
                return BPNetEngine(networks)
    from cherimoya_assets.analysis.mutagenesis.tangermeme_engine import TangermemeEngine

    return TangermemeEngine(model, length=length, batch_size=batch_size, dtype=dtype, device=device)

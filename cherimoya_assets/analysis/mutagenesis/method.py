"""Saturation mutagenesis as a method of attribution: its parameter, and what is checked of its scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cherimoya_assets.analysis.attribution_method import AttributionMethod, Verdict
from cherimoya_assets.analysis.mutagenesis.engines import TOLERANCE, Engine, engine_for

if TYPE_CHECKING:
    from cherimoya_assets.analysis.sequence_model import SequenceModel

CENTRED_TOLERANCE = 1e-5
"""Of the largest score. Every engine centres in float32 or float64, whatever dtype the model computes in, which leaves
about 1e-7; a hundred times that is a real offset."""


class SaturationMutagenesis(AttributionMethod):
    """The change in prediction that each base makes, less the mean over the alphabet.

    What `tangermeme.saturation_mutagenesis.saturation_mutagenesis` gives with `hypothetical=True`.

    Attributes:
        tolerance: largest relative error of a locus that is accepted of windowed mutagenesis, which checks itself; 0
            for the dense engine.
    """

    name, title = "saturation_mutagenesis", "saturation mutagenesis"
    keys: ClassVar = {"tolerance": "mutagenesis_tolerance"}
    checks = ("centred", "matches_dense")

    tolerance: Annotated[float, Field(ge=0)] = TOLERANCE

    def engine(self, model: SequenceModel, *, length: int, batch_size: int | None, dtype: str, device: str) -> Engine:
        """See `AttributionMethod.engine`."""
        return engine_for(
            model, length=length, tolerance=self.tolerance, batch_size=batch_size, dtype=dtype, device=device
        )

    def verdicts(self, head: str, scores: NDArray[np.float32], folds: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
        """Whether scores are centred, and whether the error of windowed mutagenesis, by its own estimate, is small."""
        finite = bool(np.isfinite(scores).all())
        largest = float(np.abs(scores).max()) if scores.size else 0.0
        offset = float(np.abs(scores.astype(np.float64).mean(axis=1)).max()) if scores.size else 0.0
        centred = Verdict(
            "centred",
            finite and offset <= CENTRED_TOLERANCE * max(largest, 1e-12),
            f"largest mean over the alphabet {offset:.2g}, largest score {largest:.2g}",
        )
        worst = self.facts(head, folds).get("mutagenesis_error_max")
        if worst is None:
            seen = "computed densely: as exact as the model's own predictions on its device"
            return [centred, Verdict("matches_dense", True, seen)]
        dense, edits = (sum(int(fold.get(name, 0)) for fold in folds.values()) for name in ("dense_edits", "edits"))
        part = f"{dense} of {edits} edits dense"
        seen = f"largest relative error of a locus {worst:.2g}, tolerance {self.tolerance:g}; {part}"
        return [centred, Verdict("matches_dense", worst <= self.tolerance, seen)]

    def facts(self, head: str, folds: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        """The errors of windowed mutagenesis over all folds; nothing where it was not used."""
        windowed = [fold for fold in folds.values() if f"{head}_error_max" in fold]
        if not windowed:
            return {}
        return {
            "mutagenesis_error_max": max(float(fold[f"{head}_error_max"]) for fold in windowed),
            "mutagenesis_error_median": float(np.median([fold[f"{head}_error_median"] for fold in windowed])),
            "dense_edits": sum(int(fold["dense_edits"]) for fold in windowed),
        }

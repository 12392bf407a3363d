"""Windowed mutagenesis of a Cherimoya.

What lives here: many sequences at once, and what their checks say together. What must not: how an edit is computed
(`windowed/`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.attribution_method import Asked
from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, ScoredLocus
from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.mutagenesis.edits import EditedPredictions, LocalEdit, Substitutions
from cherimoya_assets.analysis.mutagenesis.windowed.chosen import kernels_for
from cherimoya_assets.analysis.mutagenesis.windowed.engine import Check, edit_effects
from cherimoya_assets.analysis.mutagenesis.windowed.kernels import full_precision
from cherimoya_assets.analysis.mutagenesis.windowed.memory import edits_at_once
from cherimoya_assets.analysis.side_by_side import each_alone

if TYPE_CHECKING:
    from cherimoya_assets.analysis.sequence_model import SequenceModel

MOST_NAMED = 20
"""Loci that a sentence about fallbacks lists before it says how many more there are."""

COSTLY = 0.25
"""A locus with more than this part of its edits dense is named: it costs about twice what others do."""


class CherimoyaEngine:
    """A Cherimoya in float32. See `engines.Engine`."""

    name, version, alone = "windowed", 2, True

    def __init__(
        self, model: SequenceModel, *, length: int, tolerance: float, batch_size: int | None, device: str
    ) -> None:
        self.tolerance, self.device = tolerance, device
        self.batch = Batch(batch_size or edits_at_once(model.module, length, device))
        self.kernels = kernels_for(model.module, device, self.batch)

    def each_locus(self, X: NDArray[np.int8], asked: Asked, stretch: int | None = None) -> LocusByLocus:
        """See `engines.Engine`."""

        def attribute(row: int) -> ScoredLocus:
            substitutions = Substitutions(X[row], asked.start, asked.end)
            effects = edit_effects(
                self.kernels,
                X[row],
                substitutions.edits,
                asked.outputs,
                group=asked.group,
                tolerance=self.tolerance,
                norm=lambda values: float(np.linalg.norm(substitutions.hypothetical(values))),
            )
            return ScoredLocus(row, substitutions.scores(effects.scores), asdict(effects.check))

        def loci() -> Generator[ScoredLocus, None, None]:
            if asked.end <= asked.start:
                nothing = np.zeros((4, 0), dtype=np.float32)
                yield from (ScoredLocus(row, dict.fromkeys(asked.outputs, nothing)) for row in range(len(X)))
                return
            with full_precision():
                for _, locus in each_alone(attribute, len(X), self.device, stretch):
                    yield locus

        def summarize(checks: Mapping[int, Mapping[str, Any]]) -> Mapping[str, Any]:
            return summary({row: Check(**check) for row, check in checks.items()}, asked.outputs, self.tolerance)

        return LocusByLocus({"engine": self.name, "batch_size": self.batch.size}, loci(), summarize)

    def predictions(self, X: NDArray[np.int8], edits: Sequence[LocalEdit]) -> EditedPredictions:
        """See `engines.Engine`."""
        # A switch of the whole process; on a CPU, where several threads are here at once, it changes nothing.
        with full_precision() if self.device != "cpu" else nullcontext():
            effects = edit_effects(
                self.kernels, X, edits, ("counts", "profile"), group=None, tolerance=self.tolerance, keep_logits=True
            )
        check = effects.check
        report = {"engine": self.name, "error": max(check.errors.values()), "dense": max(check.dense.values())}
        return EditedPredictions.of_changes(
            effects.logits, effects.log_counts, effects.logit_changes, effects.log_count_changes, report
        )


def summary(checks: Mapping[int, Check], outputs: Sequence[str], tolerance: float) -> dict[str, float | int | str]:
    """What the checks of all sequences, by their rows, say together."""
    found: dict[str, float | int | str] = {
        "tolerance": tolerance,
        "edits": sum(check.edits for check in checks.values()),
        "dense_edits": sum(_dense(check) for check in checks.values()),
    }
    for head in outputs:
        errors = [check.errors[head] for check in checks.values()]
        found[f"{head}_error_max"] = max(errors, default=0.0)
        found[f"{head}_error_median"] = float(np.median(errors)) if errors else 0.0
    costly = {
        row: _dense(check) for row, check in checks.items() if check.nodes and _dense(check) > COSTLY * check.edits
    }
    found["loci_mostly_dense"] = len(costly)
    if costly:
        worst = max(sorted(costly), key=lambda row: costly[row])
        rows = ", ".join(str(row) for row in sorted(costly)[:MOST_NAMED])
        more = f" and {len(costly) - MOST_NAMED} more" if len(costly) > MOST_NAMED else ""
        found["fallback"] = (
            f"at {len(costly)} of {len(checks)} loci more than a quarter of the edits had to be computed densely (row "
            f"{worst}: {costly[worst]} of {checks[worst].edits}); the scores are within the tolerance of "
            f"{tolerance:g}, but took longer: rows {rows}{more}"
        )
    return found


def _dense(check: Check) -> int:
    return max(check.dense.values(), default=0)

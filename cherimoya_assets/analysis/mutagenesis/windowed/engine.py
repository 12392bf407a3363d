"""Local edits of a sequence with the windowed engine: planned, swept, checked, and dense where the model will not do.

What lives here: the plan for one sequence. What must not: arithmetic (`kernels.py` and what stands behind it), and
which edits there are (`cherimoya_engine.py` and marginalization decide that).

The steps. A *pilot*, edits at every eighth place, with the first-order model and without heads, gives shift vectors;
*nodes* are chosen among them, and the model is made exact at them; all edits are *swept*. Then, for each head by
itself: the edits that the model is least certain of are computed *densely*, with the whole sequence as their window,
where no model is needed, as many as it takes until what is predicted of all others is within the tolerance; what
these edits were off by corrects the others that shift alike (`kriging.py`). A few of all others, drawn by their
uncertainty, are computed densely too: that is the *check* (`certainty.py`). While it says that the tolerance is
missed, more edits go the dense way. Dense values are kept, whyever they were computed. Nothing is decided by other
sequences, so that the numbers of one do not depend, bit for bit, on its company.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.mutagenesis.edit_table import EditTable, edit_table
from cherimoya_assets.analysis.mutagenesis.edits import LocalEdit
from cherimoya_assets.analysis.mutagenesis.windowed import certainty, kriging
from cherimoya_assets.analysis.mutagenesis.windowed.kernels import Kernels, SequenceAtWork, Swept
from cherimoya_assets.analysis.side_by_side import one_blas_thread

NODES = (8, 12)
"""Nodes: the second number where the first leaves more than `CLOSE`. Each costs as much as a forward pass."""

CLOSE = 2.5e-4
"""What the interpolation may leave of the pilot's shifts, root mean square, beside what these shifts do."""

PILOT_EVERY = 8
"""One place of so many is in the pilot. A motif is about as wide, and all its bases shift in about one direction."""

FEW_EDITS = 32
"""Up to so many edits the dense way is the shorter one: the model costs as much as some 30 forward passes."""

AT_ONCE = 48
"""Edits that go dense before the check is asked again, at first; twice as many each time after."""

Norm = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Check:
    """How the effects of one sequence were verified.

    Attributes:
        errors: head to the relative L2 error of all effects, an upper estimate (see `certainty.MARGIN`).
        dense: head to how many edits were computed densely, the checked ones among them. edits: of all.
        nodes: of the model; 0 where it was not needed.
    """

    errors: Mapping[str, float]
    dense: Mapping[str, int]
    edits: int
    nodes: int = 0


@dataclass(frozen=True)
class EditEffects:
    """What edits of one sequence did, in the order of the edits.

    Attributes:
        logits: float32 (outputs, output length) and log_counts: float64 (groups,), of the unedited sequence.
        scores: head to float64 (E,), change of the field's score of that head.
        log_count_changes: float64 (E, groups), where counts were asked for.
        logit_changes: float32 (E, outputs, output length), where they were to be kept.
        check: how it was verified.
    """

    logits: NDArray[np.float32]
    log_counts: NDArray[np.float64]
    scores: Mapping[str, NDArray[np.float64]]
    log_count_changes: NDArray[np.float64] | None
    logit_changes: NDArray[np.float32] | None
    check: Check


def edit_effects(
    kernels: Kernels,
    X: NDArray[np.int8],
    edits: Sequence[LocalEdit],
    heads: Collection[str],
    *,
    group: int | None,
    tolerance: float,
    norm: Norm | None = None,
    keep_logits: bool = False,
) -> EditEffects:
    """The effects of edits of one sequence.

    Args:
        kernels: the network on its device.
        X: int8 (4, L), one-hot. edits: each within the sequence; there may be none.
        heads: of "counts" and "profile", at least one. group: the signal group, None for all.
        tolerance: the largest relative error that is accepted.
        norm: of all effects, what an error is relative to; None for the L2 norm.
        keep_logits: return the changes of the logits, which are large.

    Raises:
        DeviceError: the device has not the memory for one edit at a time.
    """
    with one_blas_thread():
        plan = _Plan(kernels.begin(X, group), edit_table(X, edits), heads, tolerance, norm or _l2, keep_logits)
        return plan.effects()


def _l2(values: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(values))


class _Plan:
    """The edits of one sequence."""

    def __init__(
        self,
        sequence: SequenceAtWork,
        edits: EditTable,
        heads: Collection[str],
        tolerance: float,
        norm: Norm,
        keep_logits: bool,
    ) -> None:
        self.sequence, self.edits, self.tolerance, self.norm = sequence, edits, tolerance, norm
        self.heads = tuple(head for head in ("counts", "profile") if head in heads)
        self.keep_logits = keep_logits
        self.count = len(edits.starts)
        self.dense = _Rows(self.count)

    def effects(self) -> EditEffects:
        if not self.count:
            return self._nothing()
        if self.count <= FEW_EDITS:
            everything = np.ones(self.count, dtype=bool)
            self._make_dense(everything)
            settled = {head: _Settled(self.dense, everything, 0.0) for head in self.heads}
        else:
            windowed = self._windowed()
            settled = {head: self._settled(head, windowed) for head in self.heads}
        return EditEffects(
            self.sequence.logits,
            self.sequence.log_counts,
            {head: found.values(head, self.dense) for head, found in settled.items()},
            settled["counts"].values(LOG_COUNTS, self.dense) if "counts" in settled else None,
            settled["profile"].values(LOGITS, self.dense) if "profile" in settled and self.keep_logits else None,
            Check(
                {head: max(found.error, min(certainty.ROUNDING, self.tolerance)) for head, found in settled.items()},
                {head: int(found.dense.sum()) for head, found in settled.items()},
                self.count,
                len(self.sequence.nodes),
            ),
        )

    def _nothing(self) -> EditEffects:
        logits, log_counts = self.sequence.logits, self.sequence.log_counts
        return EditEffects(
            logits,
            log_counts,
            {head: np.zeros(0) for head in self.heads},
            np.zeros((0, len(log_counts))),
            np.zeros((0, *logits.shape), dtype=np.float32),
            Check(dict.fromkeys(self.heads, 0.0), dict.fromkeys(self.heads, 0), 0),
        )

    def _windowed(self) -> _Windowed:
        """All edits, with the model of the outside."""
        metric = self.sequence.metric
        pilot = self.sequence.sweep(self.edits, self._pilot(), ()).shifts
        pilot = pilot[np.isfinite(pilot).all(axis=1)]
        chosen = kriging.choose_nodes(pilot, metric, NODES[-1])
        left = kriging.Process(pilot, chosen[: NODES[0]], metric).variances.sum()
        if left <= CLOSE**2 * ((pilot @ metric) * pilot).sum():
            chosen = chosen[: NODES[0]]
        self.sequence.add_nodes(chosen)
        swept = self.sequence.sweep(self.edits, np.arange(self.count), self.heads, keep_logits=self.keep_logits)
        residuals = self.sequence.residual_scores(self.heads)
        scales = {head: kriging.scale(residuals[head], chosen, metric) for head in self.heads}
        return _Windowed(_Rows(self.count).put(np.arange(self.count), swept), swept.shifts, scales)

    def _pilot(self) -> NDArray[np.int64]:
        """The edits at every eighth place; where there are few, evenly spaced edits, about four for each node."""
        places = np.unique(self.edits.starts)
        if len(places) < 2 * PILOT_EVERY:
            return np.arange(0, self.count, max(1, min(PILOT_EVERY, self.count // (4 * NODES[-1]))))
        return np.flatnonzero(np.isin(self.edits.starts, places[PILOT_EVERY // 2 :: PILOT_EVERY]))

    def _settled(self, head: str, windowed: _Windowed) -> _Settled:
        """Go on until the check of a head says that the tolerance is met."""
        process = kriging.Process(windowed.shifts, self.sequence.nodes, self.sequence.metric)
        found = _Settled(windowed.rows, ~np.isfinite(windowed.rows[head]), 0.0, process)
        scale, at_once = windowed.scales[head], AT_ONCE
        while True:
            bound = self.tolerance * self.norm(np.nan_to_num(found.values(head, self.dense)))
            bound = bound / (certainty.MARGIN * scale) if scale else np.inf
            found = self._with_dense(found, process.least_certain(bound, at_once))
            at_once *= 2
            left = np.flatnonzero(~found.dense)
            deviations = np.sqrt(process.variances[left])
            drawn, probability = certainty.drawn(deviations)
            checked = left[drawn]
            predicted = found.values(head, self.dense)[checked]
            found = self._with_dense(found, checked)
            errors = predicted - self.dense[head][checked]
            scale = certainty.learned(scale, deviations[drawn], errors)
            error = certainty.reported(np.delete(deviations, drawn), scale, errors, probability)
            size = self.norm(found.values(head, self.dense))
            if found.dense.all() or error <= self.tolerance * size:
                return replace(found, error=error / size if error and not found.dense.all() else 0.0)

    def _with_dense(self, found: _Settled, more: Sequence[int] | NDArray[np.int64]) -> _Settled:
        """More edits dense, and all others corrected by what they were off by."""
        assert found.process is not None
        dense = found.dense.copy()
        dense[more] = True
        for row in more:
            found.process.know(int(row))
        self._make_dense(dense)
        return replace(found, dense=dense)

    def _make_dense(self, wanted: NDArray[np.bool_]) -> None:
        """Compute densely what is wanted and not there yet."""
        chosen = np.flatnonzero(wanted & ~self.dense.there)
        if len(chosen):
            swept = self.sequence.sweep(self.edits, chosen, self.heads, dense=True, keep_logits=self.keep_logits)
            self.dense = self.dense.put(chosen, swept)


LOG_COUNTS, LOGITS = "log counts", "logits"


class _Rows:
    """What was swept, a row for each edit of a sequence: scores by head, log counts and logits.

    Attributes:
        there: bool (n,), the rows that have values.
    """

    def __init__(self, count: int) -> None:
        self.there = np.zeros(count, dtype=bool)
        self._tables: dict[str, NDArray[Any]] = {}

    def put(self, chosen: NDArray[np.int64], swept: Swept) -> _Rows:
        """The same with some rows more."""
        after = _Rows(len(self.there))
        after.there = self.there.copy()
        after.there[chosen] = True
        found: dict[str, NDArray[Any] | None] = {**swept.scores, LOG_COUNTS: swept.log_counts, LOGITS: swept.logits}
        for name, values in found.items():
            if values is not None:
                empty = np.zeros((len(self.there), *values.shape[1:]), dtype=values.dtype)
                after._tables[name] = self._tables.get(name, empty).copy()
                after._tables[name][chosen] = values
        return after

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._tables[name]


@dataclass(frozen=True)
class _Windowed:
    """All edits with the model. shifts: (n, 2 blocks). scales: head to its scale, see `kriging.scale`."""

    rows: _Rows
    shifts: NDArray[np.float64]
    scales: Mapping[str, float]


@dataclass(frozen=True)
class _Settled:
    """A head's edits so far: what the model gave, which are dense, the reported error, and what is known of errors."""

    rows: _Rows
    dense: NDArray[np.bool_]
    error: float
    process: kriging.Process | None = None

    def values(self, name: str, exact: _Rows) -> NDArray[Any]:
        """Dense where there are dense values, and elsewhere what the model gave, corrected by what those were off
        by."""
        found = self.rows[name].copy()
        known = np.flatnonzero(self.dense & exact.there)
        if len(known) and self.process is not None and not self.dense.all():
            off = (exact[name][known] - found[known]).reshape(len(known), -1)
            usable = np.isfinite(off).all(axis=1)
            corrections = self.process.weights(known[usable]) @ off[usable]
            found += corrections.reshape(found.shape).astype(found.dtype)
        if len(known):
            found[known] = exact[name][known]
        return found

"""Local edits of a sequence with the windowed engine: planned, swept, checked, and done over where the check fails.

What lives here: the plan for one sequence. What must not: arithmetic (`sweep.py`, `outside.py`), and which edits there
are (`saturation.py` and marginalization decide that).

The steps. A *pilot*, an eighth of the edits, with the first-order model and without heads, gives shift vectors;
*nodes* are chosen among them, and the model is made exact at them; all edits are *swept*; and some edits, those with
the largest effects and the largest shift among them, are computed once more with the whole sequence as their window,
where no model is needed. Where that *check* disagrees by more than the tolerance, the sequence gets more nodes; where
it still does, all its edits go the dense way. Nothing is decided by other sequences, so that the numbers of one do not
depend, bit for bit, on its company.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.memory import Batch, does_not_fit
from cherimoya_assets.analysis.mutagenesis.local_edits import LocalEdit
from cherimoya_assets.analysis.mutagenesis.windowed.outside import choose_nodes, first_order, with_nodes
from cherimoya_assets.analysis.mutagenesis.windowed.read_out import counts_effects, profile_effects
from cherimoya_assets.analysis.mutagenesis.windowed.reference import Reference, reference_pass
from cherimoya_assets.analysis.mutagenesis.windowed.sweep import Edits, sweep
from cherimoya_assets.analysis.side_by_side import one_blas_thread

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.mutagenesis.windowed.network import Network
    from cherimoya_assets.analysis.mutagenesis.windowed.outside import OutsideModel

NODES = (20, 48)
"""Nodes of the first attempt and of the second; each costs as much as a forward pass."""

PILOT_EVERY, PILOT_RUN = 8, 4
"""One run of neighbouring places in so many is in the pilot, and places in a run."""

GAP = 16
"""Edits farther apart than this, in bp, are not swept together: the window of a batch spans them all."""

NEGLIGIBLE_NODE = 1e-12
"""A node whose kernel is below this part of the largest would interpolate rounding."""

FEW_EDITS = 48
"""Up to so many edits the dense way is the shorter one: the model costs as much as 30 to 40 forward passes."""

EVEN_CHECKS = 5
"""Edits that are checked besides the extreme ones, evenly spaced in the given order; each costs a forward pass."""


@dataclass(frozen=True)
class Check:
    """The dense recomputation of some edits of one sequence.

    Attributes:
        errors: head to the estimated relative L2 error of all edits, of the result that was kept.
        rejected: head to the errors of the attempts that were not kept, in order.
        dense: heads of which all edits went the dense way in the end. checked: how many edits were checked.
    """

    errors: Mapping[str, float]
    rejected: Mapping[str, Sequence[float]]
    dense: Sequence[str]
    checked: int


@dataclass(frozen=True)
class EditEffects:
    """What edits of one sequence did, in the order of the edits.

    Attributes:
        scores: head to float64 (E,), change of the field's score of that head.
        log_counts: float64 (E, n_groups), change of the log counts, where counts were asked for.
        logits: float32 (E, n_outputs, output length), change of the profile logits, where it was asked for.
        check: how it was verified.
    """

    scores: Mapping[str, NDArray[np.float64]]
    log_counts: NDArray[np.float64] | None
    logits: NDArray[np.float32] | None
    check: Check


def edit_effects(
    network: Network,
    X: NDArray[np.int8],
    edits: Sequence[LocalEdit],
    heads: Collection[str],
    *,
    group: int | None,
    tolerance: float,
    batch: Batch,
    keep_logits: bool = False,
) -> tuple[Reference, EditEffects]:
    """The effects of edits of one sequence.

    Args:
        network: the weights; their dtype and device are those of the computation.
        X: int8 (4, L), one-hot. edits: at least one, each within the sequence.
        heads: of "counts" and "profile", at least one. group: the signal group, None for all.
        tolerance: the largest relative error of the checked edits that is accepted. batch: edits swept together.
        keep_logits: return the changes of the logits, which are large.

    Returns:
        The pass over the unedited sequence, and the effects.

    Raises:
        DeviceError: the device has not the memory for one edit at a time.
    """
    import torch

    try:
        with torch.no_grad(), one_blas_thread():
            sequence = _Sequence(network, X, edits, heads, group, batch, keep_logits)
            return sequence.reference, sequence.effects(tolerance)
    except torch.OutOfMemoryError as error:
        raise does_not_fit(str(network.stem.device), error) from error


class _Sequence:
    """One sequence at work."""

    def __init__(
        self,
        network: Network,
        X: NDArray[np.int8],
        edits: Sequence[LocalEdit],
        heads: Collection[str],
        group: int | None,
        batch: Batch,
        keep_logits: bool,
    ) -> None:
        import torch

        self.network, self.edits, self.group = network, edits, group
        self.heads = tuple(head for head in ("counts", "profile") if head in heads)
        self.batch, self.keep_logits = batch, keep_logits
        self.X = torch.from_numpy(X).to(network.stem)
        self.reference = reference_pass(network, self.X)

    def effects(self, tolerance: float) -> EditEffects:
        linear = first_order(self.network, self.reference)
        everything = range(len(self.edits))
        if len(self.edits) <= FEW_EDITS:
            found = self._run(linear, everything, self.heads, dense=True)
            exact = dict.fromkeys(self.heads, 0.0)
            return _effects(dict.fromkeys(self.heads, found), Check(exact, {}, self.heads, len(self.edits)))
        pilot = self._run(linear, self._pilot(), heads=())
        metric = linear.levels[-1].metric
        kept: dict[str, _Found] = {}
        errors: dict[str, float] = {}
        rejected: dict[str, list[float]] = {}
        checked: set[int] = set()
        for most in NODES:
            open_heads = [head for head in self.heads if head not in kept]
            if not open_heads:
                break
            nodes = choose_nodes(pilot.shifts, metric, most, NEGLIGIBLE_NODE)
            model = with_nodes(self.network, self.reference, linear, nodes)
            found = self._run(model, everything, open_heads)
            samples = {head: _Sample.of(found.scores[head], found.shifts, metric) for head in open_heads}
            wanted = sorted({k for sample in samples.values() for k in sample.edits})
            truth = self._run(linear, wanted, open_heads, dense=True)
            checked |= set(wanted)
            for head, sample in samples.items():
                exact_scores = dict(zip(wanted, truth.scores[head], strict=True))
                error = sample.estimated_error(found.scores[head], exact_scores)
                if error <= tolerance:
                    kept[head], errors[head] = found, error
                else:
                    rejected.setdefault(head, []).append(error)
        dense = [head for head in self.heads if head not in kept]
        if dense:
            found = self._run(linear, everything, dense, dense=True)
            kept |= dict.fromkeys(dense, found)
            errors |= dict.fromkeys(dense, 0.0)
        return _effects(kept, Check(errors, rejected, tuple(dense), len(checked)))

    def _pilot(self) -> list[int]:
        """An eighth of the edits: runs of neighbouring places, which share a window; of few places, four a node."""
        starts = np.array([edit.start for edit in self.edits])
        places = np.unique(starts)
        if len(places) < 2 * PILOT_RUN * PILOT_EVERY:
            return list(range(0, len(starts), max(1, min(PILOT_EVERY, len(starts) // (4 * NODES[0])))))
        run = np.arange(len(places)) // PILOT_RUN
        return [int(k) for k in np.flatnonzero(np.isin(starts, places[run % PILOT_EVERY == PILOT_EVERY // 2]))]

    def _run(self, model: OutsideModel, chosen: Sequence[int], heads: Sequence[str], *, dense: bool = False) -> _Found:
        """Sweep the chosen edits in batches; the batch is halved where the device has not the memory."""
        import torch

        parts, done, device = [], 0, str(self.network.stem.device)
        while done < len(chosen):
            batch = chosen[done : done + self.batch.size]
            if not dense:
                batch = self._next_batch(batch)
            try:
                parts.append(self._swept(model, self._edits(batch), heads, dense=dense))
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
            else:
                done += len(batch)
                continue
            self.batch.halve(len(batch), device)
        return _joined(parts)

    def _next_batch(self, chosen: Sequence[int]) -> Sequence[int]:
        """The first of the chosen edits, up to a gap."""
        starts = [self.edits[k].start for k in chosen]
        near = [abs(b - a) <= GAP for a, b in pairwise(starts)]
        return chosen[: near.index(False) + 1] if False in near else chosen

    def _edits(self, chosen: Sequence[int]) -> Edits:
        import torch

        edits = [self.edits[k] for k in chosen]
        start = min(edit.start for edit in edits)
        end = max(edit.start + edit.bases.shape[1] for edit in edits)
        bases = np.zeros((len(edits), 4, end - start), dtype=np.int8)
        there = np.zeros((len(edits), 1, end - start), dtype=np.int8)
        for k, edit in enumerate(edits):
            place = slice(edit.start - start, edit.start - start + edit.bases.shape[1])
            bases[k, :, place] = edit.bases
            there[k, :, place] = 1
        change = torch.from_numpy(bases).to(self.X) - self.X[:, start:end] * torch.from_numpy(there).to(self.X)
        return Edits(start, change)

    def _swept(self, model: OutsideModel, batch: Edits, heads: Sequence[str], *, dense: bool) -> _Found:
        swept = sweep(self.network, self.reference, model, batch, heads=heads, dense=dense)
        scores: dict[str, NDArray[np.float64]] = {}
        if "counts" in heads and swept.log_counts is not None:
            scores["counts"] = counts_effects(self.reference.log_counts, swept.log_counts, self.group).cpu().numpy()
        if swept.logits is not None:
            groups = self.network.signal_groups
            scores["profile"] = profile_effects(self.reference.logits, swept.logits, groups, self.group).cpu().numpy()
        logits = swept.logits.float().cpu().numpy() if self.keep_logits and swept.logits is not None else None
        log_counts = None if swept.log_counts is None else swept.log_counts.cpu().numpy()
        return _Found(swept.shifts, scores, log_counts, logits)


@dataclass(frozen=True)
class _Found:
    """Some edits, swept."""

    shifts: torch.Tensor
    scores: Mapping[str, NDArray[np.float64]]
    log_counts: NDArray[np.float64] | None
    logits: NDArray[np.float32] | None


@dataclass(frozen=True)
class _Sample:
    """Edits to check for one head: first those that stand for themselves, then those that stand for all others."""

    extreme: list[int]
    even: list[int]

    @classmethod
    def of(cls, scores: NDArray[np.float64], shifts: torch.Tensor, metric: torch.Tensor) -> _Sample:
        """The largest effect, the largest shift, and a few of the others, evenly spaced."""
        extreme = sorted({int(np.abs(scores).argmax()), int(((shifts @ metric) * shifts).sum(dim=1).argmax())})
        others = [k for k in range(len(scores)) if k not in extreme]
        even = np.linspace(0, len(others) - 1, EVEN_CHECKS + 2)[1:-1].astype(int)
        return cls(extreme, [others[k] for k in even])

    @property
    def edits(self) -> list[int]:
        return self.extreme + self.even

    def estimated_error(self, found: NDArray[np.float64], truth: Mapping[int, float]) -> float:
        """The relative L2 error of all effects; NaN counts as infinitely wrong."""
        extreme, even = ([(found[k] - truth[k]) ** 2 for k in edits] for edits in (self.extreme, self.even))
        total = float(np.sum(extreme) + np.mean(even) * (len(found) - len(extreme)))
        size = float(np.linalg.norm(found))
        if not np.isfinite(total) or not np.isfinite(size):
            return float("inf")
        return float(np.sqrt(total)) / size if size else (0.0 if not total else float("inf"))


def _effects(kept: Mapping[str, _Found], check: Check) -> EditEffects:
    counts, profile = kept.get("counts"), kept.get("profile")
    return EditEffects(
        {head: found.scores[head] for head, found in kept.items()},
        None if counts is None else counts.log_counts,
        None if profile is None else profile.logits,
        check,
    )


def _joined(parts: Sequence[_Found]) -> _Found:
    import torch

    log_counts = [part.log_counts for part in parts if part.log_counts is not None]
    logits = [part.logits for part in parts if part.logits is not None]
    return _Found(
        torch.cat([part.shifts for part in parts]),
        {head: np.concatenate([part.scores[head] for part in parts]) for head in parts[0].scores},
        np.concatenate(log_counts) if log_counts else None,
        np.concatenate(logits) if logits else None,
    )

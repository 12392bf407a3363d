"""One BPNet, or the two of a ChromBPNet, with a sequence at work.

What lives here: predictions of the whole model from those of its networks, and pieces of work for threads. What must
not: arithmetic on windows (`sweep.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.mutagenesis.compiled import heads
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import address, padded
from cherimoya_assets.analysis.mutagenesis.convolutional import sweep
from cherimoya_assets.analysis.mutagenesis.convolutional.weights import FLANK, Weights, fits, no_pass, pack
from cherimoya_assets.analysis.mutagenesis.edit_table import EditTable, together
from cherimoya_assets.analysis.mutagenesis.profile_score import profile_score
from cherimoya_assets.analysis.side_by_side import shared

if TYPE_CHECKING:
    import torch

TOGETHER = 3
"""Edits that share a window: the substitutions of one position, or as many insertions. With more, what a layer reads
and writes would leave a core's second cache."""

GROUPS = 16
"""Windows that a thread takes at a time."""


@dataclass(frozen=True)
class Swept:
    """What edits did, in their order.

    Attributes:
        scores: head to float64 (E,), change of the field's score. log_counts: float64 (E, 1), change of the log counts.
        logits: float32 (E, outputs, output length), change of the profile logits, where they were to be kept.
    """

    scores: Mapping[str, NDArray[np.float64]]
    log_counts: NDArray[np.float64] | None
    logits: NDArray[np.float32] | None


def networks_of(module: torch.nn.Module) -> list[torch.nn.Module] | None:
    """The BPNets that a BPNet or ChromBPNet is made of, the one whose profile is predicted first; None of another."""
    from bpnetlite.chrombpnet import ChromBPNet

    model: Any = module
    if type(module) is ChromBPNet:
        accessibility, bias = model.accessibility, model.bias
        if fits(accessibility) and fits(bias) and bias.trimming <= accessibility.trimming:
            return [accessibility, bias]
        return None
    return [module] if fits(module) else None


class Network:
    """A BPNet or ChromBPNet in float32 on a CPU."""

    def __init__(self, networks: list[torch.nn.Module]) -> None:
        self.weights: list[Weights] = [pack(network) for network in networks]
        self._of_thread = threading.local()

    def scratch(self, length: int, cells: int) -> sweep.Scratch:
        """Memory of the thread that asks, for windows of so many positions times edits, of sequences of a length."""
        kept = getattr(self._of_thread, "scratch", None)
        if kept is None or kept[0] != length or kept[1] < cells:
            width = max(weights.biases.shape[1] for weights in self.weights)
            first = self.weights[0]
            outputs, profile = len(first.profile.bias), length - 2 * first.trimming
            wide = TOGETHER * outputs * (profile + 2 * first.profile.margin)
            sizes = (
                (cells * width,),
                (cells * width,),
                (heads.ROWS, max(weights.profile.weights.shape[1] for weights in self.weights)),
                (wide,),
                (2, padded(outputs * profile)),
                (TOGETHER, width),
            )
            kept = (length, cells, sweep.Scratch(*(np.zeros(size, dtype=np.float32) for size in sizes)))
            self._of_thread.scratch = kept
        scratch: sweep.Scratch = kept[2]
        return scratch


class Sequence:
    """One unedited sequence of a network at work.

    Attributes:
        logits: float32 (outputs, output length) and log_counts: float64 (1,), of the unedited sequence.
    """

    def __init__(self, network: Network, X: NDArray[np.int8]) -> None:
        self.network, self.length = network, X.shape[1]
        self.passed = [no_pass(weights, self.length) for weights in network.weights]
        for weights, passed in zip(network.weights, self.passed, strict=True):
            sweep.pass_through(weights, X.astype(np.float32), passed)
        trimming = network.weights[0].trimming
        # Of both networks at the places that the first one predicts.
        self.start, self.end = trimming, self.length - trimming
        self.logits: NDArray[np.float32] = self._logits()
        self._log_counts = np.array([self._log_count(k) for k in range(len(self.passed))])
        self.log_counts = np.array([np.logaddexp.reduce(self._log_counts)])
        self.score = profile_score(self.logits, (len(self.logits),), None)

    def sweep(self, edits: EditTable, heads_wanted: Collection[str], *, keep_logits: bool = False) -> Swept:
        """What edits of the sequence do to the scores of "counts" and "profile"."""
        n, counts, profile = len(edits.starts), "counts" in heads_wanted, "profile" in heads_wanted
        order, bounds = together(edits, np.arange(n), TOGETHER, 0)
        changes = [np.zeros((n if counts else 0, 1)) for _ in self.passed]
        scores = np.zeros(n if profile else 0)
        logits = np.zeros((n if keep_logits and profile else 0, self.logits.size), dtype=np.float32)
        packed, cells = self.score.packed, self._cells(edits, order, bounds)
        first = self.network.weights[0].profile

        def piece(k: int) -> None:
            scratch = self.network.scratch(self.length, cells)
            part = bounds[k * GROUPS : (k + 1) * GROUPS + 1]
            for begin, end in pairwise(part):
                members = order[begin:end]
                wide = scratch.logits[: len(members) * len(first.bias) * (self.end - self.start + 2 * first.margin)]
                wide[:] = 0
                for weights, passed, change in zip(self.network.weights, self.passed, changes, strict=True):
                    sweep.sweep_group(
                        weights, passed, edits, members, self.start, self.end, scratch, change,
                        wide if profile else wide[:0],
                    )  # fmt: skip
                if profile:
                    sweep.read_out(first, members, wide, self.end - self.start, packed, scratch, scores, logits)

        shared(piece, -(-(len(bounds) - 1) // GROUPS))
        found: dict[str, NDArray[np.float64]] = {}
        log_counts = self._together(np.concatenate(changes, axis=1)) if counts else None
        if log_counts is not None:
            found["counts"] = log_counts[:, 0]
        if profile:
            found["profile"] = scores
        return Swept(found, log_counts, logits.reshape(n, *self.logits.shape) if keep_logits and profile else None)

    def _logits(self) -> NDArray[np.float32]:
        first = self.network.weights[0].profile
        profile = self.end - self.start
        found = np.zeros((len(first.bias), profile), dtype=np.float32)
        for weights, passed in zip(self.network.weights, self.passed, strict=True):
            head = weights.profile
            flank = min(self.start, head.taps // 2)
            wide = np.zeros((len(head.bias), profile + 2 * head.margin), dtype=np.float32)
            parts = np.zeros((heads.ROWS, head.weights.shape[1]), dtype=np.float32)
            state = passed.state[self.start - flank : self.end + flank]
            heads.add_profile(
                head, address(state), state.shape[1], len(state), 1, -flank, address(wide), profile, parts
            )
            found += wide[:, head.margin : head.margin + profile] + head.bias[:, None]
        return found

    def _log_count(self, k: int) -> float:
        weights, state = self.network.weights[k], self.passed[k].state
        first, last = max(weights.trimming - FLANK, 0), self.length - weights.trimming + FLANK
        mean = state[first:last, : len(weights.counts)].mean(axis=0, dtype=np.float64)
        return float((mean @ weights.counts)[0]) + weights.counts_bias

    def _together(self, changes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Changes of the model's log counts, (E, 1), from those of its networks, (E, networks): counts add up."""
        if changes.shape[1] == 1:
            return changes
        shares = np.exp(self._log_counts - self.log_counts)
        together: NDArray[np.float64] = np.log1p(np.expm1(changes) @ shares)[:, None]
        return together

    def _cells(self, edits: EditTable, order: NDArray[np.int64], bounds: NDArray[np.int64]) -> int:
        """Positions times edits of the largest window."""
        reach = max(len(weights.stem) + 2 * int(weights.dilations.sum()) for weights in self.network.weights)
        widest = int(edits.widths.max(initial=0))
        return int(min(self.length, widest + reach)) * TOGETHER

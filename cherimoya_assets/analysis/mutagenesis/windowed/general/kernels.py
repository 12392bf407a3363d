"""PyTorch's kernels behind the face that the engine knows.

What lives here: batches of edits, and halving them where the device has not the memory. What must not: arithmetic.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.memory import Batch, does_not_fit
from cherimoya_assets.analysis.mutagenesis.edit_table import EditTable, together
from cherimoya_assets.analysis.mutagenesis.profile_score import profile_score
from cherimoya_assets.analysis.mutagenesis.windowed.general.network import Network, read_network
from cherimoya_assets.analysis.mutagenesis.windowed.general.outside import OutsideModel, first_order, with_nodes
from cherimoya_assets.analysis.mutagenesis.windowed.general.read_out import counts_effects, profile_effects
from cherimoya_assets.analysis.mutagenesis.windowed.general.reference import reference_pass
from cherimoya_assets.analysis.mutagenesis.windowed.general.sweep import Edits, sweep
from cherimoya_assets.analysis.mutagenesis.windowed.kernels import Swept

if TYPE_CHECKING:
    import torch

Doubles = NDArray[np.float64]

GAP = 16
"""Edits that start farther than this, in bp, behind the first are not swept with it: the window of a batch spans
all."""


class GeneralKernels:
    """A Cherimoya in one dtype on one device. See `kernels.Kernels`."""

    def __init__(self, module: torch.nn.Module, dtype: torch.dtype, device: str, batch: Batch) -> None:
        self.network: Network = read_network(module, dtype, device)
        self.n_blocks, self.batch, self.device = len(self.network.blocks), batch, device

    def begin(self, X: NDArray[np.int8], group: int | None) -> GeneralSequence:
        """See `kernels.Kernels.begin`."""
        return GeneralSequence(self, X, group)


class GeneralSequence:
    """One sequence at work. See `kernels.SequenceAtWork`."""

    def __init__(self, kernels: GeneralKernels, X: NDArray[np.int8], group: int | None) -> None:
        import torch

        self.kernels, self.group = kernels, group
        with self._on_device():
            self.reference = reference_pass(kernels.network, torch.from_numpy(X).to(kernels.network.stem))
        self.logits: NDArray[np.float32] = self.reference.logits.float().cpu().numpy()
        self.log_counts: Doubles = self.reference.log_counts.double().cpu().numpy()
        self.score = profile_score(self.reference.logits.double().cpu().numpy(), kernels.network.signal_groups, group)
        self.nodes: Doubles = np.zeros((0, 2 * kernels.n_blocks))
        self._linear: OutsideModel | None = None
        self._model: OutsideModel | None = None

    @property
    def metric(self) -> Doubles:
        """See `kernels.SequenceAtWork`; first-order fields are made when it is first asked for."""
        found: Doubles = self._outside().levels[-1].metric.cpu().numpy()
        return found

    def add_nodes(self, shifts: Doubles) -> None:
        """See `kernels.SequenceAtWork`."""
        import torch

        self._outside()
        self.nodes = np.concatenate([self.nodes, shifts])
        nodes = torch.from_numpy(self.nodes).to(self.kernels.device)
        with self._on_device():
            assert self._linear is not None
            self._model = with_nodes(self.kernels.network, self.reference, self._linear, nodes)

    def residual_scores(self, heads: Collection[str]) -> Mapping[str, Doubles]:
        """See `kernels.SequenceAtWork`."""
        model, first = self._outside(), 2 * self.kernels.n_blocks
        start, end = self.kernels.network.trimming, self.reference.length - self.kernels.network.trimming
        found: dict[str, Doubles] = {}
        if "counts" in heads:
            changes = (model.shifted_counts[end] - model.shifted_counts[start])[first:] / (end - start)
            found["counts"] = counts_effects(changes, self.group).cpu().numpy()
        if "profile" in heads:
            logits = model.shifted_logits[first:].flatten(1)[:, self.score.first : self.score.last]
            found["profile"] = logits.double().cpu().numpy() @ self.score.slope
        return found

    def sweep(
        self,
        edits: EditTable,
        chosen: NDArray[np.int64],
        heads: Collection[str],
        *,
        dense: bool = False,
        keep_logits: bool = False,
    ) -> Swept:
        """See `kernels.SequenceAtWork`; the batch is halved where the device has not the memory."""
        import torch

        parts: list[tuple[NDArray[np.int64], Swept]] = []
        while (left := np.setdiff1d(chosen, np.concatenate([rows for rows, _ in parts]) if parts else [])).size:
            apart = self.reference.length if dense else GAP
            order, bounds = together(edits, left, self.kernels.batch.size, apart)
            rows = order[: bounds[1]]
            try:
                parts.append((rows, self._swept(edits, rows, heads, dense, keep_logits)))
            except torch.OutOfMemoryError as error:
                if len(rows) == 1:
                    raise does_not_fit(self.kernels.device, error) from error
            else:
                continue
            # Here, where the error and with it the tensors of the frames that it came through are gone.
            self.kernels.batch.halve(len(rows), self.kernels.device)
        return _joined(parts, chosen)

    def _swept(
        self, edits: EditTable, rows: NDArray[np.int64], heads: Collection[str], dense: bool, keep_logits: bool
    ) -> Swept:
        import torch

        with torch.no_grad():
            swept = sweep(
                self.kernels.network,
                self.reference,
                self._outside() if not dense else None,
                self._batch(edits, rows),
                heads=heads,
            )
        scores: dict[str, Doubles] = {}
        log_counts = logits = None
        if swept.log_counts is not None:
            # Where the sequence's own prediction is no number, neither is its change.
            finite = self.reference.log_counts.isfinite()
            changes = torch.where(finite, swept.log_counts.double(), torch.nan)
            scores["counts"], log_counts = counts_effects(changes, self.group).cpu().numpy(), changes.cpu().numpy()
        if swept.logits is not None:
            scores["profile"] = profile_effects(self.score, swept.logits).cpu().numpy()
            logits = swept.logits.float().cpu().numpy() if keep_logits else None
        return Swept(swept.shifts.cpu().numpy(), scores, log_counts, logits)

    def _batch(self, edits: EditTable, rows: NDArray[np.int64]) -> Edits:
        """Some edits in one span."""
        import torch

        starts, widths = edits.starts[rows], edits.widths[rows]
        first = int(starts.min())
        change = np.zeros((len(rows), 4, int((starts + widths).max()) - first), dtype=np.float32)
        for out, start, width, row in zip(change, starts - first, widths, rows, strict=True):
            out[:, start : start + width] = edits.change[row, :, :width]
        return Edits(first, torch.from_numpy(change).to(self.kernels.network.stem))

    def _outside(self) -> OutsideModel:
        if self._linear is None:
            with self._on_device():
                self._linear = first_order(self.kernels.network, self.reference)
        return self._model or self._linear

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Without gradients; an error of memory is one for the reader."""
        import torch

        try:
            with torch.no_grad():
                yield
        except torch.OutOfMemoryError as error:
            raise does_not_fit(self.kernels.device, error) from error


def _joined(parts: Sequence[tuple[NDArray[np.int64], Swept]], chosen: NDArray[np.int64]) -> Swept:
    """Parts of a sweep, their rows in the order that was asked for."""
    place = np.argsort(np.concatenate([rows for rows, _ in parts]))[np.argsort(np.argsort(chosen))]
    swept = [part for _, part in parts]

    def rows(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(values)[place]

    log_counts = [part.log_counts for part in swept if part.log_counts is not None]
    logits = [part.logits for part in swept if part.logits is not None]
    return Swept(
        rows([part.shifts for part in swept]),
        {head: rows([part.scores[head] for part in swept]) for head in swept[0].scores},
        rows(log_counts) if log_counts else None,
        rows(logits) if logits else None,
    )

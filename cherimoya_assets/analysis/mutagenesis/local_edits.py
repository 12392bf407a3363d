"""Any edits of one sequence: motifs put into a background, variants, and what the model predicts then.

What lives here: the choice of the engine, and predictions before and after. What must not: which edits are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.memory import Batch

if TYPE_CHECKING:
    from cherimoya_assets.analysis.models import SequenceModel


TOLERANCE = 5e-4
"""Largest relative error of a locus that is accepted, as estimated from a few checked edits. An estimate can be off by
a factor; this is half of what is promised, 1e-3. On the demo the median is 6e-5."""


@dataclass(frozen=True)
class LocalEdit:
    """Bases that replace what is at `[start, start + width)` of a sequence: int8 (4, width), one-hot."""

    start: int
    bases: NDArray[np.int8]


@dataclass(frozen=True)
class EditedPredictions:
    """What a model predicts for a sequence and for each edit of it.

    Attributes:
        logits: float64 (1 + E, channels, output length); row 0 is the unedited sequence.
        log_counts: float64 (1 + E, groups), likewise.
        report: how it was computed, plain numbers and words.
    """

    logits: NDArray[np.float64]
    log_counts: NDArray[np.float64]
    report: dict[str, Any]


def local_edit_effects(
    model: SequenceModel,
    X: NDArray[np.int8],
    edits: Sequence[LocalEdit],
    *,
    tolerance: float = TOLERANCE,
    batch: Batch | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> EditedPredictions:
    """Predictions of one sequence before and after each of its edits.

    Args:
        model: the model, loaded.
        X: int8 (4, L), one-hot.
        edits: each within the sequence; there may be none.
        batch: edited sequences computed together, as `first_batch` begins; whoever has many sequences hands the same
            one on, so that a size that was too large for the device is not tried again. None: one of its own.
        tolerance, dtype, device: as in `saturation_mutagenesis`.

    Raises:
        DeviceError: the device has not the memory for one edited sequence at a time.
    """
    if batch is None:
        batch = first_batch(model, X.shape[1], tolerance=tolerance, dtype=dtype, device=device)
    if is_windowed(model, tolerance, dtype) and edits:
        return _windowed(model, X, edits, tolerance, batch, device)
    return _dense(model, X, edits, batch, dtype, device)


def first_batch(
    model: SequenceModel, length: int, *, tolerance: float, dtype: str, device: str, batch_size: int | None = None
) -> Batch:
    """What `local_edit_effects` begins with: `batch_size`, or what suits the device."""
    if batch_size is not None:
        return Batch(batch_size)
    if is_windowed(model, tolerance, dtype):
        import torch

        from cherimoya_assets.analysis.mutagenesis.windowed.memory import edits_at_once
        from cherimoya_assets.analysis.mutagenesis.windowed.network import read_network

        return Batch(edits_at_once(read_network(model.module, torch.float32, device), length, device))
    return Batch(model.batch_size(length, device))


def is_windowed(model: SequenceModel, tolerance: float, dtype: str) -> bool:
    """Whether the windowed engine computes this: a Cherimoya that has blocks, in float32, with some tolerance."""
    return model.kind == "cherimoya" and dtype == "float32" and tolerance > 0 and bool(model.module.n_layers)


def edited(X: NDArray[np.int8], edits: Sequence[LocalEdit]) -> NDArray[np.int8]:
    """The sequence, then the sequence with each edit made: int8 (1 + E, 4, L)."""
    sequences = np.repeat(X[None], len(edits) + 1, axis=0)
    for sequence, edit in zip(sequences[1:], edits, strict=True):
        sequence[:, edit.start : edit.start + edit.bases.shape[1]] = edit.bases
    return sequences


def _windowed(
    model: SequenceModel,
    X: NDArray[np.int8],
    edits: Sequence[LocalEdit],
    tolerance: float,
    batch: Batch,
    device: str,
) -> EditedPredictions:
    import torch

    from cherimoya_assets.analysis.mutagenesis.windowed.engine import edit_effects
    from cherimoya_assets.analysis.mutagenesis.windowed.network import full_precision, read_network

    network = read_network(model.module, torch.float32, device)
    # A switch of the whole process; on a CPU, where several threads are here at once, it changes nothing.
    with full_precision() if device != "cpu" else nullcontext():
        reference, effects = edit_effects(
            network,
            X,
            edits,
            ("counts", "profile"),
            group=None,
            tolerance=tolerance,
            batch=batch,
            keep_logits=True,
        )
    if effects.logits is None or effects.log_counts is None:
        raise AssertionError("both heads were asked for")
    logits = reference.logits.double().cpu().numpy()[None]
    log_counts = reference.log_counts.double().cpu().numpy()[None]
    return EditedPredictions(
        np.concatenate([logits, logits + effects.logits]),
        np.concatenate([log_counts, log_counts + effects.log_counts]),
        {"engine": "windowed", "error": max(effects.check.errors.values()), "dense": list(effects.check.dense)},
    )


def _dense(
    model: SequenceModel,
    X: NDArray[np.int8],
    edits: Sequence[LocalEdit],
    batch: Batch,
    dtype: str,
    device: str,
) -> EditedPredictions:
    import torch
    from tangermeme.predict import predict

    sequences = torch.from_numpy(edited(X, edits))

    def predicted(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        logits, log_counts = predict(model.with_controls(), sequences, batch_size=size, dtype=dtype, device=device)
        return logits, log_counts

    with model.numerics():
        logits, log_counts = batch.run(predicted, device)
    return EditedPredictions(logits.double().numpy(), log_counts.double().numpy(), {"engine": "dense"})

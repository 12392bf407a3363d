"""Saturation mutagenesis of many sequences with the windowed engine.

What lives here: which edits there are, several sequences at once, and hypothetical scores. What must not: how an edit
is computed (`engine.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, ScoredLocus
from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.mutagenesis.local_edits import LocalEdit
from cherimoya_assets.analysis.mutagenesis.windowed.engine import Check, edit_effects
from cherimoya_assets.analysis.mutagenesis.windowed.memory import edits_at_once, mean_window
from cherimoya_assets.analysis.mutagenesis.windowed.network import full_precision, read_network
from cherimoya_assets.analysis.side_by_side import each_alone

if TYPE_CHECKING:
    from cherimoya_assets.analysis.models import SequenceModel

BASES = np.eye(4, dtype=np.int8)

MOST_NAMED = 20
"""Loci that a sentence about fallbacks lists before it says how many more there are."""


def each_locus(
    model: SequenceModel,
    X: NDArray[np.int8],
    start: int,
    end: int,
    outputs: Sequence[str],
    *,
    group: int | None,
    tolerance: float,
    batch_size: int | None,
    device: str,
    stretch: int | None = None,
) -> LocusByLocus:
    """See `cherimoya_assets.analysis.mutagenesis.locus_by_locus`."""
    import torch

    network = read_network(model.module, torch.float32, device)
    length = X.shape[2]
    # A batch's window is as wide as its edits lie apart: more than a fifth of what one edit needs is not worth it.
    apart = 3 * max(1, mean_window(network, length) // 5)
    batch = Batch(batch_size or min(edits_at_once(network, length, device), apart))

    def attribute(row: int) -> ScoredLocus:
        bases, positions = np.nonzero(X[row, :, start:end].T == 0)[::-1]
        edits = [LocalEdit(start + int(p), BASES[:, b : b + 1]) for b, p in zip(bases, positions, strict=True)]
        _, effects = edit_effects(network, X[row], edits, outputs, group=group, tolerance=tolerance, batch=batch)
        table = {head: _hypothetical(effects.scores[head], bases, positions, end - start) for head in outputs}
        return ScoredLocus(row, table, asdict(effects.check))

    def loci() -> Generator[ScoredLocus, None, None]:
        if end <= start:
            nothing = np.zeros((4, 0), dtype=np.float32)
            yield from (ScoredLocus(row, dict.fromkeys(outputs, nothing)) for row in range(len(X)))
            return
        with full_precision():
            for _, locus in each_alone(attribute, len(X), device, stretch):
                yield locus

    def summarize(checks: Mapping[int, Mapping[str, Any]]) -> Mapping[str, Any]:
        return summary({row: Check(**check) for row, check in checks.items()}, outputs, tolerance)

    return LocusByLocus({"engine": "windowed", "batch_size": batch.size}, loci(), summarize)


def summary(checks: Mapping[int, Check], outputs: Sequence[str], tolerance: float) -> dict[str, float | int | str]:
    """What the checks of all sequences, by their rows, say together."""
    found: dict[str, float | int | str] = {
        "tolerance": tolerance,
        "checked_edits": sum(check.checked for check in checks.values()),
    }
    for head in outputs:
        errors = [check.errors[head] for check in checks.values()]
        found[f"{head}_error_max"] = max(errors, default=0.0)
        found[f"{head}_error_median"] = float(np.median(errors)) if errors else 0.0
    again = {
        row: max(max(errors) for errors in check.rejected.values()) for row, check in checks.items() if check.rejected
    }
    dense = [row for row, check in checks.items() if check.rejected and check.dense]
    found["loci_with_more_nodes"], found["loci_gone_dense"] = len(again) - len(dense), len(dense)
    if again:
        worst = max(again, key=lambda row: again[row])
        rows = ", ".join(f"{row}{' (dense)' if row in dense else ''}" for row in sorted(again)[:MOST_NAMED])
        more = f" and {len(again) - MOST_NAMED} more" if len(again) > MOST_NAMED else ""
        found["fallback"] = (
            f"{len(again)} of {len(checks)} loci missed the tolerance of {tolerance:g} at first (most of all row "
            f"{worst}, with a relative error of {again[worst]:.1g}) and were computed again, {len(dense)} of them "
            f"densely: rows {rows}{more}"
        )
    return found


def _hypothetical(
    effects: NDArray[np.float64], bases: NDArray[np.int64], positions: NDArray[np.int64], width: int
) -> NDArray[np.float32]:
    """The effects, 0 for the base that is there, less their mean over the alphabet: float32 (4, width)."""
    table = np.zeros((4, width))
    table[bases, positions] = effects
    scores: NDArray[np.float32] = (table - table.mean(axis=0)).astype(np.float32)
    return scores

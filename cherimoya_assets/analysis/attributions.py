"""Attributions of one chromosome: hypothetical contribution scores of each head, mean over folds.

What lives here: averaging over folds, the block that is stored. What must not: the methods (`methods.py`). Same numbers
as `cherimoya attribute`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.attribution_chunks import (
    Chunks,
    ModelScores,
    Resumed,
    chunk_rows,
    computed_on,
    fingerprints,
)
from cherimoya_assets.analysis.attribution_method import Asked, AttributionMethod, LocusEngine
from cherimoya_assets.analysis.one_hot import SequenceBlock
from cherimoya_assets.analysis.sequence_model import SequenceModel, check_folds
from cherimoya_assets.errors import ModelError


@dataclass(frozen=True)
class AttributionBlock:
    """The attributed windows of one chromosome, for one head.

    Attributes:
        chrom, head: what they are.
        scores: hypothetical contributions, float32, (n, 4, attr_window), rows A, C, G, T.
        one_hot: the sequence under them, int8, same shape.
        locus_id: (n,) text. window_start: (n,) int64, genome coordinate (0-based) of the first attributed base.
    """

    chrom: str
    head: str
    scores: NDArray[np.float32]
    one_hot: NDArray[np.int8]
    locus_id: NDArray[np.str_]
    window_start: NDArray[np.int64]

    @cached_property
    def projected(self) -> NDArray[np.float32]:
        """Contribution of the base that is there, float32, (n, attr_window), summed as `cherimoya seqlets` sums."""
        import torch

        if not len(self.scores):
            return np.zeros((0, self.scores.shape[-1]), dtype=np.float32)
        scores, one_hot = torch.from_numpy(self.scores), torch.from_numpy(self.one_hot)
        projected: NDArray[np.float32] = (scores * one_hot).sum(dim=1).numpy()
        return projected

    def write(self, folder: Path) -> None:
        # The field's own two files, so that `modisco motifs -s ... -a ...` reads a stored partition as it is.
        np.savez_compressed(folder / "attributions.ohe.npz", self.one_hot)
        np.savez_compressed(folder / "attributions.attr.npz", self.scores)
        np.savez_compressed(
            folder / "loci.npz",
            locus_id=self.locus_id,
            window_start=self.window_start,
            chrom=np.array(self.chrom),
            head=np.array(self.head),
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        with np.load(folder / "attributions.ohe.npz", allow_pickle=False) as archive:
            one_hot = archive["arr_0"]
        with np.load(folder / "attributions.attr.npz", allow_pickle=False) as archive:
            scores = archive["arr_0"]
        with np.load(folder / "loci.npz", allow_pickle=False) as loci:
            return cls(str(loci["chrom"]), str(loci["head"]), scores, one_hot, loci["locus_id"], loci["window_start"])


def attribute(
    models: Mapping[str, SequenceModel],
    block: SequenceBlock,
    *,
    outputs: Sequence[str],
    method: AttributionMethod,
    attr_window: int = 400,
    group: int | None = 0,
    batch_size: int | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    chunks: Chunks | None = None,
    resumed: Callable[[Resumed], None] | None = None,
) -> tuple[dict[str, AttributionBlock], dict[str, dict[str, Any]]]:
    """Attribute the windows of one chromosome with every fold and average over folds.

    Args:
        models: fold to loaded model, every fold of the experiment.
        block: the windows.
        outputs: heads, of "counts" and "profile".
        method: `SaturationMutagenesis`, `DeepLiftShap`, or another, with its parameters.
        attr_window: bp in the middle of the window that are attributed, `[L // 2 - w // 2, ... + w)`.
        group: index of the signal group, or None for all together.
        batch_size: None takes what suits the device.
        dtype, device: how and where the models compute.
        progress: called with (done, total), in loci, over all folds, after each locus that was computed; loci that were
            there already are among the done.
        chunks: where finished chunks of loci are kept while the rest is computed, and looked for before anything is;
            None keeps nothing. The blocks have the same bytes either way.
        resumed: called before anything is computed where something was there already.

    Returns:
        A block for each head, and for each head a report of plain numbers and words: the algorithm, and under "folds"
        what each fold's computation says of itself.

    Raises:
        ModelError: no fold, a model whose window, groups or dtype do not fit, or folds that predict different things,
            before anything is computed; and what the method raises.
        DeviceError: the device has not the memory for one sequence at a time.
    """
    if not models:
        raise ModelError("no model was given; attributions are the mean over one or more folds. Name one in `model`.")
    n, _, length = block.one_hot.shape
    for model in models.values():
        model.check_window(length)
        model.check_group(group)
        model.check_dtype(dtype)
        method.check(model, outputs, group, dtype)
    check_folds(models, length)
    start = length // 2 - attr_window // 2
    asked = Asked(start, start + attr_window, tuple(outputs), group)
    decisive = {"algorithm": method.name, **method.decisive, **asdict(asked), "dtype": dtype}
    engines = {
        fold: method.engine(model, length=length, batch_size=batch_size, dtype=dtype, device=device)
        for fold, model in models.items()
    }
    found: dict[str, ModelScores] = {}
    for fold, model in models.items():
        names = [] if chunks is None else _fingerprints(model, engines[fold], block.one_hot, decisive, device)
        found[fold] = ModelScores(names, outputs, asked.shape(n), chunks)
    there = [n - len(scores.missing) for scores in found.values()]
    if resumed is not None and sum(there):
        of_chunks = len(models) * len(chunk_rows(n))
        resumed(Resumed(sum(scores.resumed for scores in found.values()), of_chunks, sum(there), len(models) * n))
    # float64, so that the mean depends on the folds and not on the order in which they are added.
    sums = {head: np.zeros(asked.shape(n), dtype=np.float64) for head in outputs}
    folds: dict[str, dict[str, Any]] = {}
    done = sum(there)
    for fold in sorted(models):
        scores, began = found.pop(fold), time.perf_counter()
        X = block.one_hot if len(scores.missing) == n else block.one_hot[scores.missing]
        # Missing chunks are whole, but for the last. What is not kept need not wait for anything.
        stretch = len(chunk_rows(n)[0]) if chunks is not None and n else None
        work = engines[fold].each_locus(X, asked, stretch)
        for _ in scores.fill(work):
            done += 1
            if progress is not None:
                progress(done, len(models) * n)
        folds[fold] = scores.report(work, time.perf_counter() - began)
        for head in outputs:
            sums[head] += scores.scores[head]
    kept = block.kept
    one_hot = np.ascontiguousarray(block.one_hot[:, :, start : asked.end])
    locus_id = kept["locus_id"].to_numpy(dtype=np.str_)
    window_start = kept["window_start"].to_numpy(dtype=np.int64) + start
    blocks = {
        head: AttributionBlock(
            block.chrom, head, (sums[head] / len(models)).astype(np.float32), one_hot, locus_id, window_start
        )
        for head in outputs
    }
    return blocks, {head: {"algorithm": method.name, "folds": folds} for head in outputs}


def _fingerprints(
    model: SequenceModel,
    engine: LocusEngine,
    one_hot: NDArray[np.int8],
    decisive: Mapping[str, Any],
    device: str,
) -> list[str]:
    """What the chunks of one model are kept under: `decisive`, and what the model, the engine and the machine add."""
    own = {
        "model": model.fingerprint,
        "kind": model.kind,
        "computed_on": computed_on(model, device, shared_sums=not engine.alone),
        "engine": [engine.name, engine.version],
    }
    return fingerprints(one_hot, {**decisive, **own})

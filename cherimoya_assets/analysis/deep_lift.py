"""DeepLIFT/SHAP: contributions against dinucleotide shuffles of the same sequence.

What lives here: calling `cherimoya.deep_lift_shap` and `bpnetlite.attribute.deep_lift_shap` so that every locus gets
the same numbers in any company. What must not: rules of DeepLIFT, which are theirs and tangermeme's.

Reference k of every sequence is its shuffle with the seed `random_state + k`, whatever else is in the batch. Two things
would still make a locus change with its neighbours, and both are kept out: batches of other shape, which round
differently (so loci go one at a time), and cherimoya's choice between its default and its fast path, which asks a
stopwatch (so the choice here hangs on the experiment alone). The fast path has no public entrance of its own: this
module uses `cherimoya._deep_lift_shap_engine.Engine` of cherimoya 0.3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, ScoredLocus, collect
from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.errors import DeviceError, ModelError

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.models import SequenceModel

PAIRS = 64
"""Sequence-reference pairs in one pass, cherimoya's default. One locus has `n_shuffles` of them."""

LEAST_CORRELATION, LARGEST_DISTANCE = 0.9999, 1e-2
"""cherimoya's own bounds for its fast path against its default one: Pearson's r and relative L2 distance."""


def deep_lift_shap(
    model: SequenceModel,
    X: NDArray[np.int8],
    start: int,
    end: int,
    outputs: Sequence[str],
    *,
    group: int | None,
    batch_size: int | None,
    dtype: str,
    device: str,
    n_shuffles: int,
    random_state: int,
    warning_threshold: float | None,
    fast: bool,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, float | int | str]]:
    """Hypothetical DeepLIFT/SHAP contributions of the positions `[start, end)` of every sequence.

    Args:
        model: the model, loaded.
        X: int8 (n, 4, L), one-hot without unknown bases; n may be 0.
        start, end: positions in the sequence, 0-based and half-open. All positions are computed.
        outputs: "counts", "profile" or both; each costs passes of its own.
        batch_size: sequence-reference pairs in one pass of the default path; None takes PAIRS.
        fast: take cherimoya's fast path where it has one: the counts of a Cherimoya, in float32. It does the same
            arithmetic without hooks (3.5 times as fast on a CPU, demo model) and is checked on the first sequence.
        progress: called with (loci done, loci in all) after each locus.
        The others are those of `cherimoya attribute`.

    Returns:
        Head to float32 (n, 4, end - start), and numbers and words about the computation.

    Raises:
        ModelError: several outputs would have to be attributed at once, bpnet-lite is asked for a dtype that it
            cannot take, or the fast path does not agree with the default one on the first sequence.
        DeviceError: the device has not the memory for the smallest step.
    """
    work = deep_lift_locus_by_locus(
        model,
        X,
        start,
        end,
        outputs,
        group=group,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        n_shuffles=n_shuffles,
        random_state=random_state,
        warning_threshold=warning_threshold,
        fast=fast,
    )
    return collect(work, (len(X), 4, end - start), outputs, progress)


def deep_lift_locus_by_locus(
    model: SequenceModel,
    X: NDArray[np.int8],
    start: int,
    end: int,
    outputs: Sequence[str],
    *,
    group: int | None,
    batch_size: int | None,
    dtype: str,
    device: str,
    n_shuffles: int,
    random_state: int,
    warning_threshold: float | None,
    fast: bool,
) -> LocusByLocus:
    """The same as `deep_lift_shap`, handed over locus by locus while it is computed."""
    check_supported(model, outputs, group, dtype)
    batch = Batch(PAIRS if batch_size is None else batch_size)
    facts: dict[str, float | int | str] = {"n_shuffles": n_shuffles, "random_state": random_state}
    paths: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    sequences = [_tensor(X[row : row + 1]) for row in range(len(X))]
    with model.numerics():
        for head in outputs:
            paths[head] = _default_path(
                model,
                head,
                group=group,
                batch=batch,
                dtype=dtype,
                device=device,
                n_shuffles=n_shuffles,
                random_state=random_state,
                warning_threshold=warning_threshold,
            )
            if fast and head == "counts" and model.kind == "cherimoya" and dtype == "float32" and sequences:
                default = paths[head]
                paths[head] = _fast_path(model, group, device, n_shuffles, random_state, warning_threshold)
                facts |= _agreement(model, paths[head](sequences[0]), default(sequences[0]))

    def loci() -> Generator[ScoredLocus, None, None]:
        for row, sequence in enumerate(sequences):
            with model.numerics():
                scores = {head: paths[head](sequence)[0, :, start:end].float().numpy() for head in outputs}
            yield ScoredLocus(row, scores)

    return LocusByLocus(facts, loci())


def check_supported(model: SequenceModel, outputs: Sequence[str], group: int | None, dtype: str) -> None:
    """Raise ModelError where several outputs would have to be attributed at once, or in a dtype that is not taken."""
    if "counts" in outputs and group is None and len(model.signal_groups) > 1:
        raise ModelError(
            f"{model.path.name}: DeepLIFT/SHAP attributes one output, but this model predicts the counts of "
            f"{len(model.signal_groups)} signal groups. Set group to one of them."
        )
    if model.kind != "cherimoya" and dtype != "float32":
        raise ModelError(
            f"{model.path.name}: bpnet-lite computes DeepLIFT/SHAP in float32 and takes no dtype, but dtype says "
            f"{dtype}. Set dtype to float32."
        )


def _default_path(
    model: SequenceModel,
    head: str,
    *,
    group: int | None,
    batch: Batch,
    device: str,
    warning_threshold: float | None,
    **arguments: Any,
) -> Callable[[torch.Tensor], torch.Tensor]:
    """tangermeme's DeepLIFT/SHAP with the rules that cherimoya, or bpnet-lite, gives it."""
    if model.kind == "cherimoya":
        from cherimoya.deep_lift_shap import deep_lift_shap as cherimoya_deep_lift_shap

        def attribute_cherimoya(X: torch.Tensor, size: int) -> torch.Tensor:
            attributed: torch.Tensor = cherimoya_deep_lift_shap(
                model.module,
                X,
                output="logcounts" if head == "counts" else "profile",
                group=group,
                batch_size=size,
                device=device,
                hypothetical=True,
                warning_threshold=warning_threshold,
                fast=False,
                **arguments,
            )
            return attributed

        return lambda X: batch.run(partial(attribute_cherimoya, X), device)

    from bpnetlite.attribute import deep_lift_shap as bpnet_deep_lift_shap

    wrapper = model.counts_wrapper(group) if head == "counts" else model.profile_wrapper(group)
    # bpnet-lite's function has no dtype.
    arguments = {name: value for name, value in arguments.items() if name != "dtype"}

    def attribute_bpnet(X: torch.Tensor, size: int) -> torch.Tensor:
        attributed: torch.Tensor = bpnet_deep_lift_shap(
            wrapper,
            X,
            batch_size=size,
            device=device,
            hypothetical=True,
            warning_threshold=float("inf") if warning_threshold is None else warning_threshold,
            **arguments,
        )
        return attributed

    return lambda X: batch.run(partial(attribute_bpnet, X), device)


def _fast_path(
    model: SequenceModel,
    group: int | None,
    device: str,
    n_shuffles: int,
    random_state: int,
    warning_threshold: float | None,
) -> Callable[[torch.Tensor], torch.Tensor]:
    """cherimoya's engine, one sequence with all its references a step, so that every step has the same shapes."""
    from cherimoya._deep_lift_shap_engine import Engine

    engine = Engine(
        model.module,
        group=group,
        device=device,
        n_shuffles=n_shuffles,
        random_state=random_state,
        warning_threshold=warning_threshold,
        seqs_per_step=1,
    )

    def attribute(X: torch.Tensor) -> torch.Tensor:
        import torch

        try:
            attributed: torch.Tensor = engine.run(X).attr
        except torch.OutOfMemoryError as error:
            # A step is one sequence with all its references; smaller steps are the default path's.
            raise DeviceError(
                f"{device}: has not enough free memory for one sequence with its {n_shuffles} references at once. "
                "Set fast to false, which computes fewer at a time, or free memory on the device."
            ) from error
        return attributed

    return attribute


def _agreement(model: SequenceModel, fast: torch.Tensor, default: torch.Tensor) -> dict[str, float | int | str]:
    """How near the fast path comes to the default one. It is never left silently: a locus would change its path."""
    a, b = fast.double().flatten().numpy(), default.double().flatten().numpy()
    distance = float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-30))
    correlation = float(np.corrcoef(a, b)[0, 1]) if b.any() else float(not a.any())
    if not (correlation >= LEAST_CORRELATION and distance <= LARGEST_DISTANCE):
        raise ModelError(
            f"{model.path.name}: cherimoya's fast DeepLIFT/SHAP does not agree with the default one on the first "
            f"sequence (Pearson {correlation:.6f}, relative distance {distance:.2g}). Set fast to false."
        )
    return {"path": "fast", "fast_relative_distance": distance}


def _tensor(X: NDArray[np.int8]) -> torch.Tensor:
    import torch

    return torch.from_numpy(X)

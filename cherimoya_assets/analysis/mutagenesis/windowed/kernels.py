"""What the engine asks of a machine: one sequence of a Cherimoya at work.

What lives here: the face. Implementations are packages beside this file: `cpu` (compiled, float32 on a CPU) and
`general` (PyTorch's own operations, for any device and float64). Another one is another package with a class that has
`begin`. `chosen.py` chooses, once for a network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cherimoya_assets.analysis.mutagenesis.edit_table import EditTable

ROOM = 12
"""Nodes that there is memory for."""


@dataclass(frozen=True)
class Swept:
    """What some edits did, in the order in which they were asked for.

    Attributes:
        shifts: float64 (E, 2 blocks), the shift vectors.
        scores: head to float64 (E,), change of the field's score of that head.
        log_counts: float64 (E, groups), change of the log counts, where counts were asked for.
        logits: float32 (E, outputs, output length), change of the profile logits, where they were to be kept.
    """

    shifts: NDArray[np.float64]
    scores: Mapping[str, NDArray[np.float64]]
    log_counts: NDArray[np.float64] | None = None
    logits: NDArray[np.float32] | None = None


class SequenceAtWork(Protocol):
    """One unedited sequence with the model of its outside.

    Attributes:
        logits: float32 (outputs, output length) and log_counts: float64 (groups,), of the unedited sequence.
        metric: float64 (2 blocks, 2 blocks); c metric c' is the inner product of what two shift vectors do, to first
            order, to the state after the last block, a mean over positions and channels.
        nodes: float64 (K, 2 blocks), the shift vectors at which the model is exact.
    """

    logits: NDArray[np.float32]
    log_counts: NDArray[np.float64]
    nodes: NDArray[np.float64]

    @property
    def metric(self) -> NDArray[np.float64]: ...

    def add_nodes(self, shifts: NDArray[np.float64]) -> None:
        """Make the model exact at more shift vectors, `ROOM` at most in all."""

    def residual_scores(self, heads: Collection[str]) -> Mapping[str, NDArray[np.float64]]:
        """Head to float64 (K,): what order one leaves of the score at each node, to first order in the state."""

    def sweep(
        self,
        edits: EditTable,
        chosen: NDArray[np.int64],
        heads: Collection[str],
        *,
        dense: bool = False,
        keep_logits: bool = False,
    ) -> Swept:
        """Compute some rows of the table; without heads the shift vectors alone, at half the work.

        With `dense` the window is the whole sequence, which needs no model. The numbers of an edit do not depend, bit
        for bit, on the heads that are asked for, and with `dense` on no other edit.
        """


class Kernels(Protocol):
    """A network, ready for sequences.

    Attributes:
        n_blocks: Cheri blocks.
    """

    n_blocks: int

    def begin(self, X: NDArray[np.int8], group: int | None) -> SequenceAtWork:
        """Take up a sequence (4, L) for the scores of a signal group, or of all with None."""


@contextmanager
def full_precision() -> Iterator[None]:
    """Torch's switches for a GPU, for the time of a `with` block: float32 as such, and convolutions chosen by rule.

    cherimoya lets GPUs round the factors of products to TF32, and torch those of convolutions; the check would not see
    it, which rounds alike. cherimoya also lets a stopwatch choose convolutions, which then round one way or another.
    """
    import torch

    cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
    before = cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = False, False, True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before

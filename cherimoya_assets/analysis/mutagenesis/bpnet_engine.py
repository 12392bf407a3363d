"""Windowed mutagenesis of BPNet and ChromBPNet, exact to rounding.

What lives here: many sequences at once. What must not: how an edit is computed (`convolutional/`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.attribution_method import Asked
from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, ScoredLocus
from cherimoya_assets.analysis.mutagenesis.convolutional.network import Network
from cherimoya_assets.analysis.mutagenesis.convolutional.network import Sequence as SequenceAtWork
from cherimoya_assets.analysis.mutagenesis.edit_table import edit_table
from cherimoya_assets.analysis.mutagenesis.edits import EditedPredictions, LocalEdit, Substitutions
from cherimoya_assets.analysis.side_by_side import each_alone

if TYPE_CHECKING:
    import torch


class BPNetEngine:
    """The networks of a BPNet or ChromBPNet in float32 on a CPU. See `engines.Engine`.

    There is one signal group, whichever is asked for.
    """

    name, version, alone = "windowed", 1, True

    def __init__(self, networks: list[torch.nn.Module]) -> None:
        self.network = Network(networks)

    def each_locus(self, X: NDArray[np.int8], asked: Asked, stretch: int | None = None) -> LocusByLocus:
        """See `engines.Engine`."""

        def attribute(row: int) -> ScoredLocus:
            substitutions = Substitutions(X[row], asked.start, asked.end)
            swept = SequenceAtWork(self.network, X[row]).sweep(edit_table(X[row], substitutions.edits), asked.outputs)
            return ScoredLocus(row, substitutions.scores(swept.scores))

        def loci() -> Generator[ScoredLocus, None, None]:
            for _, locus in each_alone(attribute, len(X), "cpu", stretch):
                yield locus

        return LocusByLocus({"engine": self.name}, loci())

    def predictions(self, X: NDArray[np.int8], edits: Sequence[LocalEdit]) -> EditedPredictions:
        """See `engines.Engine`."""
        sequence = SequenceAtWork(self.network, X)
        swept = sequence.sweep(edit_table(X, edits), ("counts", "profile"), keep_logits=True)
        return EditedPredictions.of_changes(
            sequence.logits, sequence.log_counts, swept.logits, swept.log_counts, {"engine": self.name}
        )

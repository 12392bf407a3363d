"""What the experiment report says of each head, gathered while the store is read for the record of the run.

What belongs here: values in, small tables out. What does not: reading (`run_record.py`) and the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from cherimoya_assets.analysis.head_agreement import head_agreement
from cherimoya_assets.analysis.modisco import ModiscoPatterns
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.pattern_summary import nearest_motifs, summarize_patterns
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.reports.experiment_report import Agreement, Head, Pattern


class HeadNumbers:
    """Of the experiment's heads and chromosomes; the store may hold others too."""

    def __init__(self, lineage: ExperimentLineage, instance: dg.DagsterInstance) -> None:
        self._lineage, self._instance = lineage, instance
        self._seen: set[tuple[str, str, str | None]] = set()
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        self._patterns: dict[str, ModiscoPatterns] = {}
        self._projected: dict[str, dict[str, np.ndarray[Any, np.dtype[np.float32]]]] = {}
        self._correlations: dict[str, pd.DataFrame] = {}

    def see(self, head: str, step: str, chrom: str | None, value: Any) -> None:
        """See `run_record.Seen`: one chromosome after the other, each with all heads."""
        if head not in self._lineage.heads:
            return
        self._seen.add((head, step, chrom))
        if chrom is None:
            self._patterns[head] = value
        elif chrom in self._lineage.chroms:
            row = self._rows.setdefault((head, chrom), {"chrom": chrom})
            if step == "seqlets":
                row["seqlets"] = len(value.table)
            else:
                self._see_attributions(head, chrom, value.projected)

    def _see_attributions(self, head: str, chrom: str, values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        mean = float(np.abs(values).mean(dtype=np.float64)) if values.size else math.nan
        seconds = seconds_taken(self._instance, self._lineage.key(head, "attributions"), chrom)
        self._rows[head, chrom] |= {"loci": len(values), "mean_absolute": mean, "seconds": seconds}
        projected = self._projected.setdefault(chrom, {})
        projected[head] = values
        if len(projected) == len(self._lineage.heads):
            if len(projected) == 2:
                self._correlations[chrom] = head_agreement(*(projected[one] for one in self._lineage.heads))
            del self._projected[chrom]

    def of(self, head: str, motifs: pd.DataFrame | None) -> Head:
        """One head's numbers; `motifs` are its seqlets by nearest motif.

        Raises:
            StorageError: something of the head is not stored.
        """
        every = [(step, chrom) for chrom in self._lineage.chroms for step in ("attributions", "seqlets")]
        for step, chrom in [*every, ("modisco_patterns", None)]:
            if (head, step, chrom) not in self._seen:
                # The store has the sentence for what is missing.
                self.see(head, step, chrom, self._lineage.store.load(tuple(self._lineage.key(head, step).path), chrom))
        rows = [self._rows[head, chrom] for chrom in self._lineage.chroms]
        table = pd.DataFrame(rows)[["chrom", "loci", "mean_absolute", "seconds", "seqlets"]]
        found = self._patterns[head]
        return Head(head, table, self._named(found), (found.n_positive, found.n_negative), motifs=motifs)

    @property
    def agreement(self) -> Agreement | None:
        """How far two heads agree; None where there is one."""
        if not self._correlations:
            return None
        tables = [self._correlations[chrom] for chrom in self._lineage.chroms]
        first, second = self._lineage.heads
        return Agreement(first, second, pd.concat(tables, ignore_index=True))

    def _named(self, found: ModiscoPatterns) -> list[Pattern]:
        summaries = summarize_patterns(found.h5, self._lineage.experiment.modisco.trim_threshold)
        nearest: Sequence[tuple[str | None, float | None]] = [(None, None)] * len(summaries)
        if self._lineage.motif_file is not None:
            nearest = nearest_motifs(summaries, read_motifs(self._lineage.motif_file))
        return [
            Pattern(one.name, one.n_seqlets, one.cwm, match, p_value)
            for one, (match, p_value) in zip(summaries, nearest, strict=True)
        ]


def seconds_taken(instance: dg.DagsterInstance, key: dg.AssetKey, chrom: str) -> float:
    """Seconds of the last materialization, NaN where Dagster has none (the store was copied, say)."""
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[chrom])
    for record in instance.fetch_materializations(wanted, limit=1).records:
        value = record.asset_materialization.metadata.get("seconds") if record.asset_materialization else None
        if isinstance(value, dg.FloatMetadataValue) and value.value is not None:
            return value.value
    return math.nan

"""The record of what an experiment's store holds now, for comparing it with another store or with what was before.

What belongs here: reading the store and its stamps. What does not: comparing (`analysis/run_comparison.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
import pandas as pd

from cherimoya_assets import steps
from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.analysis.pattern_summary import summarize_patterns
from cherimoya_assets.analysis.run_comparison import RecordedAttributions, RecordedHead, RecordedPattern, RunRecord
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.experiment.model import Head
from cherimoya_assets.resources.storage import Manifest

RECORD, PREVIOUS = "run_record.npz", "previous_run_record.npz"
"""The records that an experiment's report keeps: of what it shows, and of what it showed before that changed."""

KEPT_LOCI = 100
"""Loci of a chromosome whose attributions a report keeps, chosen by the hash of their names: two runs on overlapping
peaks keep mostly the same ones, and a report stays small."""


Seen = Callable[[str, str, str | None, Any], None]
"""Called with head, step, chromosome (None: pooled) and value."""


def record_run(lineage: ExperimentLineage, most_loci: int | None = None, seen: Seen = lambda *_: None) -> RunRecord:
    """What is stored of an experiment, whichever of its assets there are.

    Args:
        lineage: the experiment and the home whose store is read. Heads and chromosomes are those of the store, inputs
            and parameters those of its stamps; only the threshold that trims patterns is the experiment's.
        most_loci: attributions of at most so many loci of a chromosome; None for all.
        seen: shown every value of a head as it is read, so that nobody has to read it again.

    Raises:
        StorageError: something that is stored is damaged.
    """
    observed = {row.shared or row.name for row in steps.INPUTS}
    heads = _heads(lineage, most_loci, seen)
    inputs: dict[str, str] = {}
    parameters: dict[str, str] = {}
    packages: dict[str, dict[str, None]] = {}
    for step, manifest in _manifests(lineage):
        stamp = manifest.stamp
        for name, version in stamp.inputs.items():
            if name.partition("[")[0].partition(" ")[0] in observed:
                inputs[name] = version
        for name, value in stamp.parameters.items():
            # A dict is what was measured on the way; the head is no choice of the experiment's.
            if not isinstance(value, dict) and name != "head":
                parameters[f"{step}.{name}"] = str(value)
        for name, version in stamp.packages.items():
            packages.setdefault(name, {})[version] = None
    versions = {name: " or ".join(sorted(found)) for name, found in packages.items()}
    return RunRecord(heads, inputs, parameters, versions)


def _heads(lineage: ExperimentLineage, most_loci: int | None, seen: Seen) -> dict[str, RecordedHead]:
    """Every head, chromosome after chromosome, so that what two heads say of one is in memory together."""
    store, found = lineage.store, {}

    def load(head: str, step: str, chrom: str | None) -> Any:
        value = store.load((lineage.name, head, step), chrom)
        seen(head, step, chrom, value)
        return value

    def chroms(head: str, step: str) -> list[str]:
        return [chrom for chrom in store.partitions((lineage.name, head, step)) if chrom is not None]

    heads = [head for head in get_args(Head) if chroms(head, "attributions")]
    steps_of = {(head, step): chroms(head, step) for head in heads for step in ("attributions", "seqlets")}
    blocks: dict[str, dict[str, RecordedAttributions]] = {head: {} for head in heads}
    tables: dict[str, dict[str, pd.DataFrame]] = {head: {} for head in heads}
    for chrom in dict.fromkeys(chrom for found in steps_of.values() for chrom in found):
        for head in heads:
            if chrom in steps_of[head, "attributions"]:
                blocks[head][chrom] = _attributions(load(head, "attributions", chrom), most_loci)
            if chrom in steps_of[head, "seqlets"]:
                tables[head][chrom] = load(head, "seqlets", chrom).table[["chrom", "start", "end"]]
    for head in heads:
        patterns: list[RecordedPattern] = []
        if store.manifest((lineage.name, head, "modisco_patterns"), None) is not None:
            h5 = load(head, "modisco_patterns", None).h5
            summaries = summarize_patterns(h5, lineage.experiment.modisco.trim_threshold)
            patterns = [RecordedPattern(one.name, one.n_seqlets, one.cwm) for one in summaries]
        seqlets = [tables[head][chrom] for chrom in steps_of[head, "seqlets"]]
        found[head] = RecordedHead(
            patterns,
            {chrom: blocks[head][chrom] for chrom in steps_of[head, "attributions"]},
            pd.concat(seqlets, ignore_index=True) if seqlets else pd.DataFrame({"chrom": [], "start": [], "end": []}),
        )
    return found


def _attributions(block: AttributionBlock, most_loci: int | None) -> RecordedAttributions:
    names = np.asarray(block.locus_id, dtype=np.str_)
    rows = np.arange(len(names))
    if most_loci is not None and len(names) > most_loci:
        digests = [hashlib.sha256(name.encode()).digest() for name in names]
        rows = np.sort(np.array(sorted(range(len(names)), key=lambda row: digests[row])[:most_loci]))
    starts = np.asarray(block.window_start, dtype=np.int64)
    return RecordedAttributions(names[rows], starts[rows], np.asarray(block.projected, dtype=np.float32)[rows])


def _manifests(lineage: ExperimentLineage) -> Iterator[tuple[str, Manifest]]:
    """Everything that is stored but the experiment's report, which holds this very record."""
    store = lineage.store
    for step in (row.name for row in steps.STEPS if row.name != "experiment_report"):
        for key in ((lineage.name, step), *((lineage.name, head, step) for head in get_args(Head))):
            for partition in store.partitions(key):
                manifest: Any = store.manifest(key, partition)
                if manifest is not None:
                    yield step, manifest

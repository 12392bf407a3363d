"""An experiment whose store is filled by hand: what the pooled pages and tracks read, without a model's work."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import dagster as dg
import h5py
import numpy as np
import pandas as pd

from cherimoya_assets.analysis.annotation import AnnotatedSeqlets
from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.analysis.marginalization import EffectTable
from cherimoya_assets.analysis.modisco import ModiscoPatterns
from cherimoya_assets.analysis.one_hot import one_hot_sequences
from cherimoya_assets.analysis.seqlets import SeqletTable
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.marginalization import PAGE as MARGINALIZATION_PAGE
from cherimoya_assets.assets.modisco import PAGE as MODISCO_PAGE
from cherimoya_assets.assets.one_hot_sequences import placed_loci
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.reports.folder import Report
from cherimoya_assets_tests.tiny_experiment import ATTR_WINDOW, IN_WINDOW, tiny_experiment

MOTIFS = ("one", "two")


def stored_experiment(folder: Path, changes: Mapping[str, object] | None = None) -> ExperimentLineage:
    """The tiny experiment with both heads; everything but the tracks and the experiment report is stored."""
    path = tiny_experiment(folder, {"output": ["counts", "profile"], **(changes or {})})
    # The FASTA's order is not the order of the partitions (largest first), and a track follows the FASTA.
    records = (folder / "genome.fa").read_text().split(">")[1:]
    (folder / "genome.fa").write_text("".join(f">{record.rstrip()}\n" for record in reversed(records)))
    lineage = ExperimentLineage(read_experiment(path), Home((folder / "home").resolve()))
    loci = placed_loci(lineage)
    for number, chrom in enumerate(lineage.chroms):
        block = one_hot_sequences(lineage.genome, loci[loci["chrom"] == chrom], chrom, IN_WINDOW)
        put(lineage, ("one_hot_sequences",), block, chrom)
        for head in lineage.heads:
            attributed = attributions(block, head, seed=number)
            put(lineage, (head, "attributions"), attributed, chrom, device="cuda:0")
            seqlets = seqlet_table(attributed)
            put(lineage, (head, "seqlets"), seqlets, chrom)
            if lineage.motif_file is not None:
                put(lineage, (head, "annotated_seqlets"), annotated(seqlets), chrom)
        if lineage.marginalizes:
            put(lineage, ("marginalization_effects",), effect_table(chrom), chrom)
    for head in lineage.heads:
        put(lineage, (head, "modisco_patterns"), patterns(lineage.chroms[0]))
        put(lineage, (head, "modisco_report"), Report({MODISCO_PAGE: b"modisco " + head.encode()}, MODISCO_PAGE))
    if lineage.marginalizes:
        report = Report({MARGINALIZATION_PAGE: b"marginalization"}, MARGINALIZATION_PAGE)
        put(lineage, ("marginalization_report",), report)
    return lineage


def put(lineage: ExperimentLineage, parts: tuple[str, ...], value, chrom: str | None = None, device: str = "cpu"):
    """Store one value as its asset would."""
    stamp = lineage.stamp(lineage.steps[parts[-1]], {}, {"report": {"measured": 1.0}}, device)
    lineage.store.commit(lineage.store.stage(value, stamp), tuple(lineage.key(*parts).path), chrom)


def materialize(lineage: ExperimentLineage, *keys: dg.AssetKey, instance: dg.DagsterInstance | None = None):
    """Make these assets from what is stored."""
    defs = build_defs([lineage.experiment], lineage.home.root)
    result = dg.materialize(list(defs.assets), selection=list(keys), resources=dict(defs.resources), instance=instance)
    assert result.success
    return result


def attributions(block, head: str, seed: int) -> AttributionBlock:
    kept = block.kept
    left = IN_WINDOW // 2 - ATTR_WINDOW // 2
    scores = np.random.default_rng([seed, len(head)]).normal(size=(len(kept), 4, ATTR_WINDOW)).astype(np.float32)
    return AttributionBlock(
        block.chrom,
        head,
        scores,
        np.ascontiguousarray(block.one_hot[:, :, left : left + ATTR_WINDOW]),
        np.array(kept["locus_id"], dtype=np.str_),
        kept["window_start"].to_numpy(np.int64) + left,
    )


def seqlet_table(block: AttributionBlock) -> SeqletTable:
    """Two seqlets a locus: the first five bases and the last four."""
    rows = [
        (name, block.chrom, start + first, start + last, sign * 0.5, 1e-3, row)
        for row, (name, start) in enumerate(zip(block.locus_id.tolist(), block.window_start.tolist(), strict=True))
        for first, last, sign in ((0, 5, 1), (ATTR_WINDOW - 4, ATTR_WINDOW, -1))
    ]
    columns = ["locus_id", "chrom", "start", "end", "attribution", "p-value", "example_idx"]
    return SeqletTable(block.chrom, pd.DataFrame(rows, columns=columns))


def annotated(seqlets: SeqletTable) -> AnnotatedSeqlets:
    n = len(seqlets.table)
    table = seqlets.table.assign(
        motif=[MOTIFS[i % 3 == 0] for i in range(n)],
        score=np.linspace(1, 9, n),
        p_motif=0.01,
        offset=0,
        overlap=4,
        strand=["+-"[i % 2] for i in range(n)],
    )
    return AnnotatedSeqlets(seqlets.chrom, table)


def effect_table(chrom: str) -> EffectTable:
    rows = [
        (motif, f"{chrom}:{i}", head, 0, 1.0, 1.0 + change + 0.01 * i)
        for motif, change in zip(MOTIFS, (0.3, -1.2), strict=True)
        for i in range(3)
        for head in ("counts", "profile")
    ]
    table = pd.DataFrame(rows, columns=["motif", "locus_id", "head", "group", "before", "after"])
    profile = np.zeros((1, 8), np.int64)
    return EffectTable(chrom, table, MOTIFS, ("ACGTA", "ACGT"), profile, np.stack([profile] * 2), 3)


def patterns(chrom: str) -> ModiscoPatterns:
    raw = BytesIO()
    with h5py.File(raw, "w") as file:
        group = file.create_group("pos_patterns").create_group("pattern_0")
        group["sequence"] = np.vstack([np.full((3, 4), 0.25), np.eye(4), np.eye(4)[:1]])
        group["contrib_scores"] = np.vstack([np.zeros((3, 4)), np.eye(4), np.eye(4)[:1]])
        group.create_group("seqlets")["n_seqlets"] = np.array([2])
    seqlets = pd.DataFrame(
        {
            "metacluster": "pos_patterns",
            "pattern": "pattern_0",
            "seqlet": [0, 1],
            "chrom": chrom,
            "start": [310, 905],
            "end": [318, 913],
            "strand": ["+", "-"],
            "locus_id": "x",
            "example_idx": [0, 1],
        }
    )
    return ModiscoPatterns(raw.getvalue(), seqlets, 150, 3, 20000, False, None)

"""experiment_report (pooled): the one page to open first, made of what the other assets stored.

What belongs here: reading the store, chromosome by chromosome, into the small tables that the page shows. What does
not: how the page looks (`reports/experiment_report.py`).
"""

from __future__ import annotations

import dagster as dg
import pandas as pd

from cherimoya_assets.analysis.loci import KEPT, loss_ledger
from cherimoya_assets.assets.landing import Stopwatch, land, reader_errors
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.reports.experiment_report import ExperimentSummary, write_experiment_report
from cherimoya_assets.reports.folder import render

STEP = "experiment_report"
PAGE = "experiment.html"


def experiment_report_asset(lineage: ExperimentLineage) -> dg.AssetsDefinition:
    """The page of one experiment; it depends on everything that the page shows or links to."""
    key = lineage.key(STEP)

    @dg.asset(
        key=key,
        deps=shown_assets(lineage),
        description="One page to open first: what was found, on how many loci, and where it comes from.",
        **lineage.spec(STEP, partitioned=False, code_version=lineage.code_version(STEP), kinds={"html"}),
    )
    def experiment_report(context: dg.AssetExecutionContext):
        watch = Stopwatch()
        with reader_errors():
            summary = summarize(lineage)
            report = render(lambda folder: write_experiment_report(summary, folder / PAGE), PAGE)
        yield from land(
            lineage.store,
            key,
            report,
            stamp=lineage.stamp(STEP, stored_versions(lineage), {}, "cpu"),
            watch=watch,
            metadata={
                "kept_loci": int(summary.ledger.loc[summary.ledger["status"] == KEPT, "n"].sum()),
                "report": dg.MetadataValue.path(
                    str(lineage.store.folder(tuple(key.path), None) / "latest" / report.index)
                ),
            },
        )

    return experiment_report


def shown_assets(lineage: ExperimentLineage) -> list[dg.AssetKey]:
    """The assets that the page is made of."""
    keys = [lineage.key("one_hot_sequences")]
    for head in lineage.heads:
        keys += [lineage.key(head, step) for step in ("attributions", "seqlets", "modisco_patterns", "modisco_report")]
        if lineage.motif_file is not None:
            keys.append(lineage.key(head, "annotated_seqlets"))
    if lineage.marginalizes:
        keys += [lineage.key("marginalization_effects"), lineage.key("marginalization_report")]
    return keys


def stored_versions(lineage: ExperimentLineage) -> dict[str, str]:
    """The data version of every stored partition that the page is made of."""
    versions = {}
    for key in shown_assets(lineage):
        for partition in (None, *lineage.chroms):
            manifest = lineage.store.manifest(tuple(key.path), partition)
            if manifest is not None:
                name = key.to_user_string() + (f"[{partition}]" if partition is not None else "")
                versions[name] = manifest.version
    return versions


def summarize(lineage: ExperimentLineage) -> ExperimentSummary:
    """Read the store into the page's tables."""
    ledgers = []
    for chrom in lineage.chroms:
        block = lineage.store.load(tuple(lineage.key("one_hot_sequences").path), chrom)
        ledger = loss_ledger(block.loci)
        ledgers.append(ledger[ledger["chrom"] == chrom])
    return ExperimentSummary(name=lineage.name, ledger=pd.concat(ledgers, ignore_index=True))

"""experiment_report (pooled): the one page to open first, made of what the other assets stored.

What belongs here: reading the store, one chromosome at a time, into the small tables that the page shows. What does
not: how the page looks (`reports/experiment_report.py`), and analysis (`analysis/`).
"""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import numpy as np
import pandas as pd

from cherimoya_assets.analysis.effect_summary import effect_summary
from cherimoya_assets.analysis.hashing import combined_sha256
from cherimoya_assets.analysis.loci import KEPT, NOT_SELECTED, STATUSES, read_loci
from cherimoya_assets.analysis.run_comparison import RunDifference, RunRecord, compare_runs
from cherimoya_assets.analysis.run_record_file import read_record, write_record
from cherimoya_assets.assets.attribution_tracks import SESSION
from cherimoya_assets.assets.drift import Drift, Freshness
from cherimoya_assets.assets.head_numbers import HeadNumbers
from cherimoya_assets.assets.landing import check
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.made import Landing, Making
from cherimoya_assets.assets.marginalization import PAGE as MARGINALIZATION_PAGE
from cherimoya_assets.assets.modisco import PAGE as MODISCO_PAGE
from cherimoya_assets.assets.run_record import KEPT_LOCI, PREVIOUS, RECORD, Seen, record_run
from cherimoya_assets.assets.versions import reads_of
from cherimoya_assets.errors import StorageError
from cherimoya_assets.reports.experiment_report import (
    ExperimentSummary,
    Provenance,
    write_experiment_report,
)
from cherimoya_assets.reports.folder import render
from cherimoya_assets.reports.lineage_picture import BY_CHROMOSOME, INPUT, POOLED, Step
from cherimoya_assets.reports.run_comparison import comparison_markdown, comparison_page
from cherimoya_assets.resources.storage import Manifest

STEP = "experiment_report"
PAGE, CHANGES = "experiment.html", "changes.html"

MOST_STALE = 5
"""Reasons that the check spells out; the page has all."""


def experiment_report(making: Making) -> Landing:
    """The page of one experiment."""
    lineage = making.lineage
    stale = out_of_date(lineage)
    numbers = HeadNumbers(lineage, making.context.instance)
    now, before = records(lineage, numbers.see)
    changes = None if before is None else compare_runs(before, now)
    summary = summarize(lineage, numbers, lineage_steps(lineage), stale, changed=changes is not None)

    def draw(folder: Path) -> None:
        write_experiment_report(summary, folder / PAGE)
        (folder / RECORD).write_bytes(write_record(now))
        if before is not None and changes is not None:
            (folder / PREVIOUS).write_bytes(write_record(before))
            (folder / CHANGES).write_text(changes_page(lineage, changes), encoding="utf-8")

    return Landing(
        render(draw, PAGE),
        checks=[up_to_date(making.key, stale)],
        metadata={
            "changes": dg.MetadataValue.md(
                "There is no previous report." if changes is None else comparison_markdown(changes)
            ),
            "kept_loci": int(summary.ledger.loc[summary.ledger["status"] == KEPT, "n"].sum()),
            "patterns": sum(len(head.patterns) for head in summary.heads),
            "report": making.path_for_people(PAGE),
        },
    )


def out_of_date(lineage: ExperimentLineage) -> list[Freshness]:
    """The partitions that are not fresh, but for the report that is being made."""
    keys = [key for key in lineage.asset_keys if key.path[-1] != STEP]
    return [one for one in Drift(lineage).of_assets(keys) if not one.fresh]


def up_to_date(key: dg.AssetKey, stale: Sequence[Freshness]) -> dg.AssetCheckResult:
    """Whether everything that the page stands on is what would be made now; where not, why."""
    said = "; ".join(one.sentence for one in stale[:MOST_STALE])
    more = f"; and {len(stale) - MOST_STALE} more" if len(stale) > MOST_STALE else ""
    return check(key, "up_to_date", not stale, said + more or "everything it stands on is up to date", warn=True)


def records(lineage: ExperimentLineage, seen: Seen) -> tuple[RunRecord, RunRecord | None]:
    """The record of what is stored now, and of what the last report showed that was not the same; None without one."""
    now = record_run(lineage, KEPT_LOCI, seen)
    try:
        files = lineage.store.load(tuple(lineage.key(STEP).path), None).files
        for name in (RECORD, PREVIOUS):
            # An identical recomputation is compared with what its first computation was compared with.
            if name in files and files[name] != write_record(now):
                return now, read_record(files[name], name)
    except StorageError:
        # No report yet, or one that is damaged: this one replaces it.
        pass
    return now, None


def changes_page(lineage: ExperimentLineage, changes: RunDifference) -> str:
    """The page of what changed since the report before."""
    return comparison_page(changes, lineage.name, "the previous report", "this report", most_loci=KEPT_LOCI)


def lineage_steps(lineage: ExperimentLineage) -> list[Step]:
    """The lineage graph, heads drawn as one box, inputs that experiments share by what they are."""
    files = input_files(lineage)
    notes = {name: _file_names(paths) for name, paths in files.items()}
    notes["model"] = "1 fold" if len(lineage.experiment.model) == 1 else f"{len(lineage.experiment.model)} folds"
    notes[STEP] = "this page"
    found = [Step(name, INPUT, notes[name], ()) for name in files]
    for row in lineage.steps.values():
        above = (one.key for key in lineage.keys_of(row) for one in reads_of(lineage, key))
        note = ", ".join(lineage.heads) if row.per_head else notes.get(row.name, "")
        kind = BY_CHROMOSOME if row.by_chromosome else POOLED
        found.append(Step(row.name, kind, note, tuple(dict.fromkeys(_step_name(lineage, key) for key in above))))
    return found


def input_files(lineage: ExperimentLineage) -> dict[str, tuple[Path, ...]]:
    """The experiment's input files by what they are."""
    files: dict[str, tuple[Path, ...]] = {}
    for row in lineage.inputs.values():
        name = row.shared or row.name
        files[name] = tuple(dict.fromkeys((*files.get(name, ()), *row.files(lineage.experiment))))
    return files


def summarize(
    lineage: ExperimentLineage,
    numbers: HeadNumbers,
    steps: Sequence[Step],
    stale: Sequence[Freshness],
    *,
    changed: bool,
) -> ExperimentSummary:
    """Read the store into what the page shows. `changed`: whether there is a page of what changed to link to."""
    experiment = lineage.experiment
    heads = [
        numbers.of(head, motifs=None if lineage.motif_file is None else motif_counts(lineage, head))
        for head in lineage.heads
    ]
    return ExperimentSummary(
        name=lineage.name,
        method=_method(lineage),
        folds=tuple(experiment.model),
        devices=sorted(
            {
                manifest.stamp.device
                for head in lineage.heads
                for _, manifest in manifests(lineage, lineage.key(head, "attributions"))
            }
        ),
        ledger=ledger(lineage),
        not_selected=loci_elsewhere(lineage),
        heads=heads,
        effects=effects(lineage) if lineage.marginalizes else None,
        agreement=numbers.agreement,
        lineage=steps,
        provenance=provenance(lineage, steps),
        links=[*links(lineage), *([("What changed since the previous report", CHANGES)] if changed else [])],
        out_of_date=[one.sentence for one in stale],
    )


def ledger(lineage: ExperimentLineage) -> pd.DataFrame:
    """How many loci of each chromosome have which status, zeros included."""
    rows = []
    for chrom, block in stored(lineage, lineage.key("one_hot_sequences")):
        counts = block.loci["status"].value_counts()
        rows += [(chrom, status, int(counts.get(status, 0))) for status in STATUSES if status != NOT_SELECTED]
    return pd.DataFrame(rows, columns=["chrom", "status", "n"])


def loci_elsewhere(lineage: ExperimentLineage) -> pd.DataFrame:
    """Loci on chromosomes that are not in the experiment, by chromosome."""
    loci = read_loci(lineage.experiment.loci)
    counts = loci.loc[~loci["chrom"].isin(lineage.chroms), "chrom"].value_counts(sort=False)
    return pd.DataFrame({"chrom": list(counts.index), "n": counts.to_numpy(dtype=np.int64)})


def motif_counts(lineage: ExperimentLineage, head: str) -> pd.DataFrame:
    """Seqlets by nearest motif, the most frequent first, names deciding between equals."""
    tables = [found.table[["motif", "score"]] for _, found in stored(lineage, lineage.key(head, "annotated_seqlets"))]
    grouped = pd.concat(tables, ignore_index=True).groupby("motif")["score"].agg(["size", "median"]).reset_index()
    counts: pd.DataFrame = grouped.set_axis(["motif", "seqlets", "score"], axis=1)
    return counts.sort_values(["seqlets", "motif"], ascending=[False, True], ignore_index=True)


def effects(lineage: ExperimentLineage) -> pd.DataFrame:
    """What each inserted motif does to the log counts."""
    tables = [effect.table for _, effect in stored(lineage, lineage.key("marginalization_effects"))]
    summary = effect_summary(pd.concat(tables, ignore_index=True))
    if summary["group"].nunique() > 1:
        summary["motif"] = summary["motif"] + " (output group " + summary["group"].astype(str) + ")"
    return summary.drop(columns="group")


def provenance(lineage: ExperimentLineage, steps: Sequence[Step]) -> Provenance:
    """Where the numbers come from, as the manifests of the store say it."""
    source, home = shlex.quote(str(lineage.experiment.source)), shlex.quote(str(lineage.home.root))
    files = [
        (name.replace("_", " "), _file_names(paths), lineage.input_version(*paths))
        for name, paths in input_files(lineage).items()
    ]
    rows: list[tuple[str, int, str, str, str]] = []
    packages: dict[str, dict[str, None]] = {}
    for name in (step.name for step in steps if step.kind != INPUT and step.name != STEP):
        for key in (lineage.key(name), *(lineage.key(head, name) for head in lineage.heads)):
            if not (found := list(manifests(lineage, key))):
                continue
            stamps = [manifest.stamp for _, manifest in found]
            rows.append(
                (
                    "/".join(key.path[1:]),
                    len(found),
                    combined_sha256(*(manifest.version for _, manifest in found)),
                    _distinct(stamp.device for stamp in stamps),
                    _distinct(_parameters(stamp.parameters) for stamp in stamps),
                )
            )
            for stamp in stamps:
                for package, version in stamp.packages.items():
                    packages.setdefault(package, {})[version] = None
    return Provenance(
        command=f"cherimoya-assets run {source} --home {home}",
        files=pd.DataFrame(files, columns=["input", "file", "version"]),
        stored=pd.DataFrame(rows, columns=["asset", "partitions", "version", "device", "parameters"]),
        packages={package: sorted(versions) for package, versions in packages.items()},
    )


def links(lineage: ExperimentLineage) -> list[tuple[str, str]]:
    """Title and relative address of every other report, from the page's own place in the store."""
    targets = [
        (f"TF-MoDISco report, {head}", lineage.key(head, "modisco_report"), MODISCO_PAGE) for head in lineage.heads
    ]
    if lineage.marginalizes:
        targets.append(("Marginalization report", lineage.key("marginalization_report"), MARGINALIZATION_PAGE))
    targets += [
        (f"Browser tracks, {head} (IGV session)", lineage.key(head, "attribution_tracks"), SESSION)
        for head in lineage.heads
    ]

    def place(key: dg.AssetKey, page: str) -> str:
        return lineage.store.for_people(tuple(key.path), None, page)

    here = os.path.dirname(place(lineage.key(STEP), PAGE))
    return [(title, quote(Path(os.path.relpath(place(key, page), here)).as_posix())) for title, key, page in targets]


def stored(lineage: ExperimentLineage, key: dg.AssetKey) -> Iterator[tuple[str, Any]]:
    """The stored value of every chromosome, one in memory at a time."""
    for chrom in lineage.chroms:
        yield chrom, lineage.store.load(tuple(key.path), chrom)


def manifests(lineage: ExperimentLineage, key: dg.AssetKey) -> Iterator[tuple[str | None, Manifest]]:
    """What is stored of an asset, by partition (None: pooled)."""
    for partition in (None, *lineage.chroms):
        if (manifest := lineage.store.manifest(tuple(key.path), partition)) is not None:
            yield partition, manifest


def _method(lineage: ExperimentLineage) -> str:
    return f"{lineage.experiment.method.title} over the central {lineage.experiment.attr_window:,} bp"


def _step_name(lineage: ExperimentLineage, key: dg.AssetKey) -> str:
    """The asset's own name; of an input that experiments share, its kind."""
    return key.path[-1] if key.path[0] == lineage.name else key.path[0]


def _file_names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _parameters(parameters: Mapping[str, Any]) -> str:
    # Measured values (an engine's report) are no parameters; they are in Dagster.
    return ", ".join(f"{name} {value}" for name, value in parameters.items() if not isinstance(value, dict))


def _distinct(texts: Iterator[str]) -> str:
    return " or ".join(dict.fromkeys(texts))

"""What `run` says at its end: a table, the patterns, the reports, what failed.

What belongs here: text made of a walk's outcome. What does not: making assets.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cherimoya_assets.cli.display import number
from cherimoya_assets.progress import duration

if TYPE_CHECKING:
    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets.walk import Outcome


def ending(outcome: Outcome, lineage: ExperimentLineage, tracebacks: Path | None, seconds: float) -> str:
    """What to read when all is done: a table, the reports, what went wrong, how to look closer."""
    parts = [summary_table(outcome, lineage.heads), pattern_lines(outcome, lineage.heads), report_lines(outcome)]
    parts.append(problem_lines(outcome, tracebacks))
    parts.append(
        f"{ended(outcome)} after {duration(seconds)}. "
        f"The lineage: cherimoya-assets ui {lineage.experiment.source} --home {lineage.home.root}"
    )
    return "\n".join(f"\n{part}" for part in parts if part)


def ended(outcome: Outcome) -> str:
    """How it ended, in a few words."""
    if outcome.failed:
        return "Failed"
    if not outcome.made:
        return "Nothing was made, for the reasons above,"
    return "Done, except for what was skipped," if outcome.skipped else "Done"


def summary_table(outcome: Outcome, heads: tuple[str, ...]) -> str:
    """Loci, seqlets of each head and seconds, a row a chromosome; empty where no chromosome was made."""
    rows: dict[str, dict[str, float]] = {}
    for made in outcome.made:
        if made.partition is None:
            continue
        row = rows.setdefault(made.partition, {"seconds": 0.0})
        row["seconds"] += made.seconds
        for key, metadata in made.metadata.items():
            step, count = key.path[-1], number(metadata, "dagster/partition_row_count")
            if step == "one_hot_sequences":
                row["loci"] = count
            elif step == "seqlets":
                row[f"{key.path[-2]} seqlets"] = count
    if not rows:
        return ""
    columns = [
        name for name in ("loci", *(f"{head} seqlets" for head in heads)) if any(name in r for r in rows.values())
    ]
    total = {name: sum(row.get(name, 0) for row in rows.values()) for name in (*columns, "seconds")}
    lines = [("chromosome", *columns, "seconds")]
    for name, row in [*rows.items(), *([("total", total)] if len(rows) > 1 else [])]:
        cells = [f"{row[column]:,}" if column in row else "-" for column in columns]
        lines.append((name, *cells, f"{row['seconds']:.1f}"))
    return aligned(lines)


def pattern_lines(outcome: Outcome, heads: tuple[str, ...]) -> str:
    """How many patterns TF-MoDISco found, a line a head."""
    lines = []
    for made in outcome.made:
        for key, metadata in made.metadata.items():
            if key.path[-1] == "modisco_patterns":
                patterns, seqlets = number(metadata, "patterns"), number(metadata, "dagster/row_count")
                lines.append(f"{key.path[-2]}: {patterns:,} patterns of {seqlets:,} seqlets")
    return "\n".join(lines)


def report_lines(outcome: Outcome) -> str:
    """The pages that were made, the one to open first at the top."""
    pages = [
        (key.path[-1] != "experiment_report", str(number(metadata, "report")))
        for made in outcome.made
        for key, metadata in made.metadata.items()
        if "report" in metadata and key.path[-1].endswith("_report")
    ]
    return "\n".join(["Reports:", *(f"  {page}" for _, page in sorted(pages))]) if pages else ""


def problem_lines(outcome: Outcome, tracebacks: Path | None) -> str:
    """What failed, once more at the end, where it is seen."""
    lines = [
        f"  {made.partition or 'all chromosomes'}: {failure.message}"
        for made in outcome.made
        for failure in made.failures
    ]
    if not lines:
        return ""
    if tracebacks is not None:
        lines.append(f"  Traceback of the unexpected error: {tracebacks}")
    return "\n".join(["Failed:", *lines])


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Columns, the first to the left and numbers to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )

"""The page of an experiment: one self-contained HTML file that a biologist opens first.

What belongs here: how the page looks. What does not: reading the store, and any analysis.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class ExperimentSummary:
    """What the page shows. `ledger` has the columns chrom, status, n."""

    name: str
    ledger: pd.DataFrame


def write_experiment_report(summary: ExperimentSummary, path: Path) -> None:
    """Write the page to `path`; the same summary gives the same bytes."""
    rows = "".join(
        f"<tr><td>{escape(str(row.chrom))}</td><td>{escape(str(row.status))}</td><td>{row.n}</td></tr>"
        for row in summary.ledger.itertuples()
    )
    path.write_text(
        f'<!doctype html><meta charset="utf-8"><title>{escape(summary.name)}</title>'
        f"<h1>{escape(summary.name)}</h1><table>{rows}</table>\n",
        encoding="utf-8",
    )

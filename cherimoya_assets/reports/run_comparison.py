"""What changed from one run to another: a self-contained HTML page, and the same in short as Markdown and as text.

What belongs here: how a difference looks. What does not: finding it (`analysis/run_comparison.py`).

The page looks like the experiment's own. Every text goes through Jinja's autoescape; in Markdown, which browsers render
too, names are escaped by hand.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined

from cherimoya_assets.analysis.run_comparison import (
    CHANGED,
    GAINED,
    LOST,
    SAME_PATTERN,
    UNCHANGED_PATTERN,
    HeadDifference,
    RunDifference,
)
from cherimoya_assets.analysis.tables import rows_of
from cherimoya_assets.printable import printable
from cherimoya_assets.reports.contribution_logo import LETTERS, contribution_logo
from cherimoya_assets.reports.experiment_report import count, number
from cherimoya_assets.reports.markdown_text import markdown_text
from cherimoya_assets.reports.page_style import page_style

TEMPLATE = Path(__file__).with_name("run_comparison.html.j2")

HASH = re.compile(r"[0-9a-f]{64}")


def comparison_page(
    difference: RunDifference, name: str, before: str, after: str, *, most_loci: int | None = None
) -> str:
    """The page as one HTML text.

    Args:
        difference: what to show.
        name: the experiment's.
        before, after: what was compared, in words.
        most_loci: of how many loci of a chromosome at most a record keeps attributions; None for all.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(count=count, number=number, correlation=correlation, short=short)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=name,
        before=before,
        after=after,
        style=page_style(),
        letters=LETTERS,
        logo=lambda pattern: contribution_logo(pattern.cwm, f"contributions of {pattern.name}"),
        sentence=sentence(difference),
        tiles=_tiles(difference),
        causes=_causes(difference),
        heads=list(difference.heads.items()),
        same=SAME_PATTERN,
        unchanged=UNCHANGED_PATTERN,
        sampled="" if most_loci is None else f", of at most {most_loci} loci a chromosome that a report keeps",
    )


def comparison_markdown(difference: RunDifference) -> str:
    """The difference in short, as a Markdown table for the Dagster UI."""
    rows: list[tuple[str, ...]] = [("what", "before", "after"), ("---", "---", "---")]
    for title, table in _causes(difference):
        rows += [(f"{title}: {row.name}", short(row.before), short(row.after)) for row in rows_of(table)]
    for head, found in difference.heads.items():
        patterns = found.patterns
        for change in (GAINED, LOST, CHANGED):
            for row in rows_of(patterns[patterns["change"] == change]):
                names = [f"{name} ({n} seqlets)" if name else "–" for name, n in _both(row)]
                rows.append((f"{head} pattern {change}", *names))
        for row in rows_of(found.attributions):
            words = f"correlation {correlation(row.pearson)} over {count(row.loci)} loci"
            rows.append((f"{head} attributions of {row.chrom}", f"{count(row.loci + row.loci_before)} loci", words))
        for row in rows_of(found.seqlets):
            words = f"{count(row.after)} ({count(row.gained)} gained, {count(row.lost)} lost)"
            rows.append((f"{head} seqlets of {row.chrom}", count(row.before), words))
    top, rule, *rest = rows
    lines = [top, rule, *([markdown_text(cell) for cell in row] for row in rest)]
    return f"{markdown_text(sentence(difference))}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def comparison_text(difference: RunDifference) -> str:
    """The difference as plain text for a terminal."""
    parts = [sentence(difference)]
    for title, table in _causes(difference):
        if len(table):
            changes = [f"  {row.name}: {short(row.before)} -> {short(row.after)}" for row in rows_of(table)]
            parts.append("\n".join([f"{title}:", *changes]))
    for head, found in difference.heads.items():
        lines = [f"{head}:"]
        for row in rows_of(found.patterns):
            (old, n_old), (new, n_new) = _both(row)
            alike = "" if math.isnan(row.similarity) else f", similarity {row.similarity:.3f}"
            lines.append(f"  pattern {row.change}: {old or '-'} -> {new or '-'} ({n_old} -> {n_new} seqlets{alike})")
        lines += [
            f"  attributions {row.chrom}: correlation {correlation(row.pearson)} over {count(row.loci)} loci in both, "
            f"{count(row.loci_before)} only before, {count(row.loci_after)} only after"
            for row in rows_of(found.attributions)
        ]
        lines += [
            f"  seqlets {row.chrom}: {count(row.before)} -> {count(row.after)}, {count(row.gained)} gained, "
            f"{count(row.lost)} lost"
            for row in rows_of(found.seqlets)
        ]
        parts.append("\n".join(lines))
    return printable("\n\n".join(parts))


def sentence(difference: RunDifference) -> str:
    """The difference in one sentence."""
    causes = [
        f"{n} {title.lower() if n > 1 else title.lower().removesuffix('s')}"
        for title, table in _causes(difference)
        if (n := len(table))
    ]
    words = []
    for head, found in difference.heads.items():
        numbers = [f"{n} {change}" for change in (GAINED, LOST, CHANGED) if (n := _patterns(found, change))]
        words.append(f"{head} patterns: {', '.join(numbers) or 'the same'}")
        gained, lost = int(found.seqlets["gained"].sum()), int(found.seqlets["lost"].sum())
        words.append(f"{head} seqlets: {count(gained)} gained, {count(lost)} lost")
    changed = f"Changed: {', '.join(causes)}." if causes else "Inputs, parameters and software are the same."
    return f"{changed} {_capital('; '.join(words))}." if words else changed


def correlation(value: float) -> str:
    """A correlation with four places; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def short(value: str) -> str:
    """A hash by its first digits, anything else as it is; a dash for nothing."""
    return (value[:12] if HASH.fullmatch(value) else value) or "–"


def _causes(difference: RunDifference) -> list[tuple[str, pd.DataFrame]]:
    return [
        ("Inputs", difference.inputs),
        ("Parameters", difference.parameters),
        ("Packages", difference.packages),
    ]


def _tiles(difference: RunDifference) -> list[tuple[str, str]]:
    tiles = []
    for head, found in difference.heads.items():
        gained, lost, changed = (_patterns(found, change) for change in (GAINED, LOST, CHANGED))
        tiles.append((f"+{gained} −{lost}", f"{head} patterns; {changed} changed"))
        lowest = float(found.attributions["pearson"].min()) if len(found.attributions) else math.nan
        tiles.append((correlation(lowest), f"lowest correlation of a chromosome's {head} attributions"))
        seqlets = f"+{count(found.seqlets['gained'].sum())} −{count(found.seqlets['lost'].sum())}"
        tiles.append((seqlets, f"{head} seqlets"))
    return tiles


def _patterns(found: HeadDifference, change: str) -> int:
    return int((found.patterns["change"] == change).sum())


def _both(row: object) -> list[tuple[str, int]]:
    return [(getattr(row, when), getattr(row, f"seqlets_{when}")) for when in ("before", "after")]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

"""The page of an experiment: one self-contained HTML file that a biologist opens first.

What belongs here: how the page looks, and how its numbers are written. What does not: reading the store, and any
analysis; the caller hands over small tables.

The page needs neither JavaScript nor a network. The same summary gives the same bytes: no clock is read. Every text
goes through Jinja's autoescape, because motif and chromosome names come from files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from cherimoya_assets.analysis.loci import EDGE, EXCLUDED, HAS_N, KEPT, NOT_SELECTED, STATUSES
from cherimoya_assets.analysis.modisco import MIN_METACLUSTER_SIZE
from cherimoya_assets.analysis.tables import rows_of
from cherimoya_assets.reports.contribution_logo import LETTERS, contribution_logo
from cherimoya_assets.reports.lineage_picture import Step, lineage_svg
from cherimoya_assets.reports.page_style import page_style

TEMPLATE = Path(__file__).with_name("experiment_report.html.j2")

TOP_MOTIFS = 15
"""Rows of a table of known motifs; the rest is one line that says how many more there are."""

TOP_EFFECTS = 20
"""Rows of the table of marginal effects, the largest in either direction; the marginalization report has all."""

WHY_LOST = {EDGE: "over the edge of a chromosome", HAS_N: "with unknown bases", EXCLUDED: "on an exclusion list"}

MINUS = "\u2212"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Pattern:
    """A TF-MoDISco pattern. `cwm` is the trimmed contribution weight matrix, float (w, 4), forward."""

    name: str
    seqlets: int
    cwm: NDArray[np.float64]
    match: str | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Head:
    """What was found with one head.

    `by_chromosome` has the columns chrom, loci, mean_absolute (of the projected contributions; NaN without loci),
    seconds (NaN where unknown), seqlets. `extracted` counts the positive and negative seqlets that TF-MoDISco
    clustered. `motifs` has motif, seqlets, score (median -ln p of the matches), most frequent first; None without a
    motif database.
    """

    name: str
    by_chromosome: pd.DataFrame
    patterns: Sequence[Pattern]
    extracted: tuple[int, int]
    motifs: pd.DataFrame | None = None


@dataclass(frozen=True)
class Agreement:
    """Two heads on the same loci. `correlations` has the columns pearson, spearman, one row a locus, NaN where a
    locus has the same contribution everywhere."""

    first: str
    second: str
    correlations: pd.DataFrame


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from. `files` has input, file, version; `stored` has asset, partitions, version, device,
    parameters; `packages` maps a package to the versions that were used."""

    command: str
    files: pd.DataFrame
    stored: pd.DataFrame
    packages: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ExperimentSummary:
    """What the page shows.

    `ledger` has the columns chrom, status, n, every status for every selected chromosome; `not_selected` has chrom, n.
    `effects` has motif, mean, low, high (log counts, 95% interval), backgrounds; None without marginalization.
    `out_of_date` says of each partition that is not what would be made now why not.
    """

    name: str
    method: str
    folds: Sequence[str]
    devices: Sequence[str]
    ledger: pd.DataFrame
    not_selected: pd.DataFrame
    heads: Sequence[Head]
    effects: pd.DataFrame | None
    agreement: Agreement | None
    lineage: Sequence[Step]
    provenance: Provenance
    links: Sequence[tuple[str, str]] = ()
    out_of_date: Sequence[str] = ()


def write_experiment_report(summary: ExperimentSummary, path: Path) -> None:
    """Write the page to `path`."""
    path.write_text(experiment_page(summary), encoding="utf-8")


def experiment_page(summary: ExperimentSummary) -> str:
    """The page as one HTML text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(count=count, number=number, p_value=p_value, seconds=seconds)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        s=summary,
        style=page_style(),
        loci=_loci(summary),
        method=_method(summary),
        lineage=lineage_svg(summary.lineage),
        letters=LETTERS,
        logo=lambda pattern: contribution_logo(pattern.cwm, f"contributions of {pattern.name}"),
        effects=_effects(summary.effects),
        agreement=_agreement(summary),
        totals=_totals,
        top_motifs=TOP_MOTIFS,
        fewest_seqlets=MIN_METACLUSTER_SIZE,
    )


def count(value: float) -> str:
    """12345 as 12,345."""
    return f"{int(value):,}"


def number(value: float | None, digits: int = 3) -> str:
    """A measured number with `digits` significant digits; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return _scientific(value, digits)
    rounded = float(f"{value:.{digits - 1}e}")  # 9.996 has the places of 10.0
    decimals = digits - 1 - (math.floor(math.log10(abs(rounded))) if value else 0)
    return f"{value:,.{max(decimals, 0)}f}".replace("-", MINUS)


def p_value(value: float | None) -> str:
    """A p-value with two significant digits."""
    if value is None or not math.isfinite(value):
        return "–"
    return number(value, 2) if value >= 0.001 or value == 0 else _scientific(value, 2)


def seconds(value: float) -> str:
    """A duration in the units that one would say it in."""
    if value is None or not math.isfinite(value):
        return "–"
    if value < 100:
        return f"{number(value, 2)} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = str(int(exponent)).translate(SUPERSCRIPTS)
    return f"{mantissa} × 10{power}".replace("-", MINUS)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)


def _loci(summary: ExperimentSummary) -> dict[str, Any]:
    table = summary.ledger.pivot_table(index="chrom", columns="status", values="n", aggfunc="sum", sort=False)
    statuses = [status for status in STATUSES if status != NOT_SELECTED]
    table = table.reindex(columns=statuses, fill_value=0).fillna(0).astype(int)
    rows = [
        {"chrom": chrom, "counts": [int(n) for n in row], "all": int(sum(row))}
        for chrom, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    totals = [int(table[status].sum()) for status in statuses]
    kept, everything = int(table[KEPT].sum()), sum(totals)
    lost = [
        f"{count(n)} {WHY_LOST[status]}" for status, n in zip(statuses, totals, strict=True) if status != KEPT and n
    ]
    elsewhere = summary.not_selected
    sentence = f"{count(kept)} of {count(everything)} loci on {_plural(len(rows), 'chromosome')} were analysed"
    return {
        "rows": rows,
        "statuses": statuses,
        "total": {"counts": totals, "all": everything, "kept": kept},
        "sentence": sentence + (f"; {count(everything - kept)} left out ({', '.join(lost)})." if lost else "."),
        "elsewhere": int(elsewhere["n"].sum()),
        "elsewhere_names": _some([f"{row.chrom}: {count(row.n)}" for row in rows_of(elsewhere)], 8),
    }


def _method(summary: ExperimentSummary) -> str:
    folds = "one model" if len(summary.folds) == 1 else f"the mean of {len(summary.folds)} model folds"
    heads = " and ".join(head.name for head in summary.heads)
    devices = " and ".join(summary.devices) or "an unrecorded device"
    return f"Contributions to the predicted {heads} come from {summary.method} of {folds}, computed on {devices}."


def _totals(head: Head) -> dict[str, float]:
    table = head.by_chromosome
    loci = int(table["loci"].sum())
    # Windows are equally wide, so the mean over all bases weighs chromosomes by their loci.
    weighted = (table["mean_absolute"] * table["loci"])[table["loci"] > 0].sum()
    return {
        "loci": loci,
        "mean_absolute": float(weighted) / loci if loci else math.nan,
        "seqlets": int(table["seqlets"].sum()),
        "seconds": float(table["seconds"].sum(skipna=False)),
    }


def _effects(effects: pd.DataFrame | None) -> dict[str, Any] | None:
    if effects is None:
        return None
    order = np.argsort(-effects["mean"].abs().to_numpy(), kind="stable")
    shown = effects.iloc[order[:TOP_EFFECTS]]
    left, right = min(0.0, float(shown["low"].min())), max(0.0, float(shown["high"].max()))
    if not len(shown) or not math.isfinite(right - left) or right == left:
        left, right = -1.0, 1.0
    rows = [
        {
            "motif": row.motif,
            "mean_text": _signed(row.mean),
            "interval": f"{_signed(row.low)} to {_signed(row.high)}" if math.isfinite(row.low) else "–",
            "fold": f"×{number(math.exp(row.mean), 3)}",
            "backgrounds": row.backgrounds,
            "svg": _forest(row.low, row.mean, row.high, left, right),
        }
        for row in rows_of(shown)
    ]
    return {"rows": rows, "more": len(effects) - len(shown), "axis": f"{_signed(left)} to {_signed(right)}"}


def _forest(low: float, mean: float, high: float, left: float, right: float) -> Markup:
    width, height, margin = 260, 18, 6

    def x(value: float) -> float:
        return margin + (value - left) / (right - left) * (width - 2 * margin)

    low, high = (low, high) if math.isfinite(low) else (mean, mean)
    down = "down " if mean < 0 else ""
    return Markup(
        f'<svg class="forest" width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<path class="zero" d="M{x(0):.1f} 0V{height}"/><path class="{down}ci" d="M{x(low):.1f} 9H{x(high):.1f}"/>'
        f'<circle class="{down}dot" cx="{x(mean):.1f}" cy="9" r="4"/></svg>'
    )


def _agreement(summary: ExperimentSummary) -> dict[str, Any] | None:
    agreement = summary.agreement
    if agreement is None:
        return None
    defined = agreement.correlations.dropna()
    measures = []
    for name, values in (("Pearson", defined["pearson"]), ("Spearman", defined["spearman"])):
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75]) if len(values) else [math.nan] * 3
        measures.append(
            {
                "name": name,
                "median": _correlation(median),
                "low": _correlation(low),
                "high": _correlation(high),
                "svg": _histogram(values.to_numpy(), median),
            }
        )
    heads = {head.name: head for head in summary.heads}
    one, other = heads[agreement.first], heads[agreement.second]
    only = []
    for what, found in (("nearest motifs of the patterns", _matches), ("nearest motifs of the seqlets", _motifs)):
        ours, theirs = found(one), found(other)
        if ours is not None and theirs is not None:
            only.append((what, _lacking(ours, theirs), _lacking(theirs, ours)))
    return {
        "first": agreement.first,
        "second": agreement.second,
        "n": len(defined),
        "undefined": len(agreement.correlations) - len(defined),
        "measures": measures,
        "only": only,
    }


def _lacking(ours: Sequence[str], theirs: Sequence[str]) -> tuple[list[str], int]:
    """Names that only `ours` has, in its order: the first of them, and how many more."""
    names = [name for name in ours if name not in set(theirs)]
    return names[:TOP_MOTIFS], max(0, len(names) - TOP_MOTIFS)


def _matches(head: Head) -> list[str] | None:
    if head.motifs is None:
        return None
    return list(dict.fromkeys(pattern.match for pattern in head.patterns if pattern.match is not None))


def _motifs(head: Head) -> list[str] | None:
    return None if head.motifs is None else list(head.motifs["motif"])


def _correlation(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value:.2f}".replace("-", MINUS)


def _histogram(values: NDArray[np.float64], median: float) -> Markup:
    """Correlations from -1 to 1 in 40 bins."""
    width, height, base = 440, 110, 88
    counts, _ = np.histogram(np.clip(values, -1, 1), bins=40, range=(-1, 1))
    scale, step = base / max(int(counts.max(initial=0)), 1), width / 40
    bars = "".join(
        f'<rect x="{i * step + 0.5:.1f}" y="{base - n * scale:.1f}" width="{step - 1:.1f}" height="{n * scale:.1f}"/>'
        for i, n in enumerate(counts)
        if n
    )
    line = f'<path class="median" d="M{(median + 1) / 2 * width:.1f} 0V{base}"/>' if math.isfinite(median) else ""
    labels = "".join(
        f'<text x="{(value + 1) / 2 * width:g}" y="{base + 15}" text-anchor="{anchor}">{text}</text>'
        for value, text, anchor in ((-1, f"{MINUS}1", "start"), (0, "0", "middle"), (1, "1", "end"))
    )
    return Markup(
        f'<svg class="hist" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="histogram of correlations">{bars}<path class="axis" d="M0 {base}H{width}"/>{line}{labels}</svg>'
    )


def _plural(n: int, noun: str) -> str:
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def _some(texts: Sequence[str], most: int) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more

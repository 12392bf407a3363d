"""The marginalization report: what bpnet-lite's report shows, from stored numbers, on one page that needs nothing else.

What belongs here: drawing pooled effects. What does not: predicting them. Every text of a motif goes through Jinja's
autoescape; a file is never named after a motif without `safe_file_names`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from cherimoya_assets.analysis.effect_summary import effect_summary
from cherimoya_assets.analysis.marginalization import EffectTable, consensus_sequence
from cherimoya_assets.analysis.tables import rows_of
from cherimoya_assets.errors import InputError
from cherimoya_assets.reports.contribution_logo import LETTERS, contribution_logo
from cherimoya_assets.reports.markdown_text import markdown_text

PAGE = "marginalization.html"

WIDTH, HEIGHT, SIDE = 260, 74, 92
"""Pixels: width and height of a profile, side of a scatter plot."""

MARGIN = 14
"""Pixels below a plot for its numbers."""

MOST_POINTS = 400
"""Scatter points drawn for a motif; more are drawn evenly thinned, nobody could tell them apart."""

CONSENSUS_SHOWN = 25
"""Letters of a consensus; bpnet-lite's report cuts there too."""


def write_marginalization_report(
    effects: EffectTable, motifs: Mapping[str, NDArray[np.float64]], folder: Path, *, minimal: bool, title: str
) -> None:
    """Write `marginalization.html` into `folder`.

    Args:
        effects: effects of all chromosomes together.
        motifs: name to probabilities, (4, width), for the logos.
        folder: an existing folder.
        minimal: leave out the profiles before and after, as cherimoya's `minimal` does.
        title: what the page is about.

    Raises:
        InputError: the effects are of other motifs.
    """
    if {name: consensus_sequence(matrix) for name, matrix in motifs.items()} != dict(
        zip(effects.motifs, effects.consensus, strict=True)
    ):
        raise InputError(
            "the motif database is not the one that the effects were computed with. "
            "Materialize marginalization_effects again."
        )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("marginalization.html.j2").read_text("utf-8"))
    page = template.render(
        title=title,
        n_motifs=len(effects.motifs),
        n_backgrounds=effects.n_backgrounds,
        length=effects.profile_before.shape[-1],
        minimal=minimal,
        letters=LETTERS,
        rows=_rows(effects, motifs, minimal) if effects.n_backgrounds else [],
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def ranked_motifs(effects: EffectTable) -> list[int]:
    """Indices of the motifs by mean effect on the log counts of the first group, largest first, as bpnet-lite sorts."""
    mean = _means(effects, "counts")
    return [int(k) for k in np.argsort(mean, kind="stable")[::-1]]


def effects_digest(effects: EffectTable, top: int = 10) -> str:
    """The strongest motifs as a Markdown table, for Dagster's metadata."""
    if not effects.n_backgrounds:
        return "No backgrounds."
    counts, profile = _summary(effects, "counts"), _summary(effects, "profile")
    lines = [
        f"Mean over {effects.n_backgrounds} backgrounds.",
        "",
        "| motif | consensus | log counts (95% interval) | profile score |",
        "|---|---|---|---|",
    ]
    for k in ranked_motifs(effects)[:top]:
        name = markdown_text(effects.motifs[k])
        said = counts[effects.motifs[k]]
        score = profile[effects.motifs[k]]["mean"]
        lines.append(f"| {name} | {_short(effects.consensus[k])} | {said['mean']} ({said['interval']}) | {score} |")
    return "\n".join(lines)


def write_bpnetlite_layout(effects: EffectTable, folder: Path, *, minimal: bool) -> None:
    """Write the folder that `cherimoya marginalize` would have written: `marginalization.html` and a PNG a plot.

    Columns, order, file names and scales are bpnet-lite's. A motif's name that is no safe file name is made one, and is
    escaped in the page, where bpnet-lite writes it as it is.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    before, after = effects.mean_profile_before(), effects.mean_profile_after()
    difference = after - before
    counts = effects.table[(effects.table["head"] == "counts")]
    limits = {
        "before": _limits(before),
        "after": _limits(after),
        "diff": _limits(difference),
        "counts_before": _limits(counts["before"].to_numpy()),
        "counts_after": _limits(counts["after"].to_numpy()),
    }
    header = ["name", "sequence"] + ([] if minimal else ["profile (before)", "profile (after)"])
    header += ["profile (diff)", "counts"]
    rows = []
    ranked = ranked_motifs(effects) if effects.n_backgrounds else []
    with _Plots() as plots:
        for k, name in zip(ranked, safe_file_names([effects.motifs[k] for k in ranked]), strict=True):
            images = []
            if not minimal:
                plots.profile(before, limits["before"], "0.5", folder / f"{name}.profile.before.png")
                plots.profile(after[k], limits["after"], "0.5", folder / f"{name}.profile.after.png")
                images += [f"{name}.profile.before.png", f"{name}.profile.after.png"]
            plots.profile(difference[k], limits["diff"], "c", folder / f"{name}.profile.diff.png")
            points = counts[counts["motif"] == effects.motifs[k]]
            plots.counts(
                points["before"].to_numpy(),
                points["after"].to_numpy(),
                limits["counts_before"],
                limits["counts_after"],
                folder / f"{name}.counts.png",
            )
            images += [f"{name}.profile.diff.png", f"{name}.counts.png"]
            shown = html.escape(effects.motifs[k].replace(" ", "_").replace("/", "-"))
            cells = [shown, _short(effects.consensus[k])]
            # A colon would make a scheme of what stands before it.
            cells += [f'<img src="{quote(image, safe="()+,")}" width="240" >' for image in images]
            rows.append("    <tr>\n" + "".join(f"      <td>{cell}</td>\n" for cell in cells) + "    </tr>\n")
    head = "".join(f"      <th>{column}</th>\n" for column in header)
    page = (
        '<table border="1" class="dataframe">\n  <thead>\n    <tr style="text-align: right;">\n'
        f"{head}    </tr>\n  </thead>\n  <tbody>\n{''.join(rows)}  </tbody>\n</table>"
    )
    # Like bpnet-lite's, the page names no encoding, so it is kept to what all have in common.
    (folder / PAGE).write_bytes(page.encode("ascii", "xmlcharrefreplace"))


def safe_file_names(motifs: Sequence[str]) -> list[str]:
    """bpnet-lite's file name of each motif where that is safe and still free, else one of safe letters and a number.

    Two names never differ in upper and lower case alone, which some file systems do not tell apart.
    """
    names: list[str] = []
    taken: set[str] = set()
    for number, motif in enumerate(motifs):
        name = motif.replace(" ", "_").replace("/", "-")
        if not re.fullmatch(r"[A-Za-z0-9(][A-Za-z0-9._+:(),-]{0,99}", name) or name.lower() in taken:
            letters = re.sub(r"[^A-Za-z0-9]+", "_", name)[:60].strip("_")
            name = f"motif_{number}_{letters}"
            while name.lower() in taken:
                name += "_"
        names.append(name)
        taken.add(name.lower())
    return names


def _rows(effects: EffectTable, motifs: Mapping[str, NDArray[np.float64]], minimal: bool) -> list[dict[str, Any]]:
    before, after = effects.mean_profile_before(), effects.mean_profile_after()
    difference = after - before
    counts, profile = _summary(effects, "counts"), _summary(effects, "profile")
    points = effects.table[(effects.table["head"] == "counts") & (effects.table["group"] == 0)]
    of_motif = dict(list(points.groupby("motif", sort=False)))
    reach = float(np.abs(difference).max()) or 1.0
    highest = float(max(before.max(), after.max())) or 1.0
    both = points[["before", "after"]].to_numpy()
    low, high = float(both.min()), float(both.max())
    rows = []
    for k in ranked_motifs(effects):
        name = effects.motifs[k]
        rows.append(
            {
                "name": name,
                "consensus": _short(effects.consensus[k]),
                "logo": contribution_logo(information_content(motifs[name]), f"logo of {name}"),
                "counts": counts[name],
                "profile": profile[name],
                "difference": _profile_svg({"up": difference[k].mean(axis=0)}, -reach, reach),
                "both": ""
                if minimal
                else _profile_svg({"before": before.mean(axis=0), "after": after[k].mean(axis=0)}, 0.0, highest),
                "scatter": _scatter_svg(of_motif[name][["before", "after"]].to_numpy(), low, high),
            }
        )
    return rows


def information_content(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Letter heights in bits, (width, 4), of a (4, width) matrix against a uniform background."""
    probabilities = np.clip(matrix, 1e-9, 1)
    bits = 2 + (probabilities * np.log2(probabilities)).sum(axis=0)
    heights: NDArray[np.float64] = (matrix * bits).T
    return heights


def _means(effects: EffectTable, head: str) -> NDArray[np.float64]:
    table = effects.table[(effects.table["head"] == head) & (effects.table["group"] == 0)]
    delta = (table["after"] - table["before"]).groupby(table["motif"], sort=False).mean()
    return delta.reindex(list(effects.motifs)).to_numpy(dtype=np.float64)


def _summary(effects: EffectTable, head: str) -> dict[str, dict[str, str]]:
    """Mean and interval of each motif as text; of the first signal group."""
    summary = effect_summary(effects.table[effects.table["group"] == 0], head)
    return {
        row.motif: {
            "mean": f"{row.mean:+.3f}",
            "interval": "one background" if np.isnan(row.low) else f"{row.low:+.3f} to {row.high:+.3f}",
        }
        for row in rows_of(summary)
    }


def _profile_svg(lines: Mapping[str, NDArray[np.float64]], low: float, high: float) -> Markup:
    """Curves over the output window on a common scale, with the middle marked."""
    span = high - low

    def y(value: float) -> float:
        return HEIGHT - (value - low) / span * HEIGHT

    length = len(next(iter(lines.values())))
    curves = Markup("").join(
        Markup('<path class="{}" d="{}"/>').format(
            name, "M" + "L".join(f"{k * WIDTH / max(length - 1, 1):.1f} {y(v):.1f}" for k, v in enumerate(values))
        )
        for name, values in lines.items()
    )
    half = length // 2
    return Markup(
        '<svg class="plot" width="{w}" height="{full}" viewBox="0 0 {w} {full}" role="img" aria-label="profile">'
        '<path class="axis" d="M0 {zero:.1f}H{w}M{mid} 0V{h}"/>{curves}'
        '<text x="0" y="{t}">-{half}</text><text x="{mid}" y="{t}" text-anchor="middle">0 bp</text>'
        '<text x="{w}" y="{t}" text-anchor="end">+{half}</text>'
        '<text x="{w}" y="9" text-anchor="end">{top:.1e}</text></svg>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        full=HEIGHT + MARGIN,
        t=HEIGHT + MARGIN - 3,
        zero=y(max(low, 0.0)),
        mid=WIDTH // 2,
        half=half,
        top=high,
        curves=curves,
    )


def _scatter_svg(points: NDArray[np.float64], low: float, high: float) -> Markup:
    span = (high - low) or 1.0
    if len(points) > MOST_POINTS:
        points = points[np.linspace(0, len(points) - 1, MOST_POINTS).astype(int)]
    place = (points - low) / span * SIDE
    dots = Markup("").join(
        Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="1.6"/>').format(x, SIDE - y) for x, y in place
    )
    return Markup(
        '<svg class="plot" width="{s}" height="{full}" viewBox="0 0 {s} {full}" role="img" aria-label="counts">'
        '<path class="axis" d="M0 0V{s}H{s}M0 {s}L{s} 0"/>{dots}<text x="0" y="{t}">{low:.1f}</text>'
        '<text x="{s}" y="{t}" text-anchor="end">{high:.1f}</text></svg>'
    ).format(s=SIDE, full=SIDE + MARGIN, t=SIDE + MARGIN - 3, dots=dots, low=low, high=high)


def _short(consensus: str) -> str:
    return consensus[:CONSENSUS_SHOWN] + ("..." if len(consensus) > CONSENSUS_SHOWN else "")


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """bpnet-lite's limits of an axis."""
    return (float(values.min()) * 0.95, float(values.max()) * 1.05) if values.size else (0.0, 1.0)


class _Plots:
    """bpnet-lite's two plots, each drawn into one figure that is used again: making a figure is what costs."""

    def __enter__(self) -> _Plots:
        import matplotlib.pyplot as plt

        self._figure, self._axes = plt.subplots(figsize=(10, 3))
        return self

    def __exit__(self, *_: object) -> None:
        import matplotlib.pyplot as plt

        plt.close(self._figure)

    def profile(self, values: NDArray[np.float64], ylim: tuple[float, float], color: str, path: Path) -> None:
        self._clear("Relative Coordinate", "Predicted Signal")
        self._axes.plot(values.T, color=color)
        self._axes.set_xlim(0, values.shape[-1])
        self._axes.set_ylim(*ylim)
        self._save(path)

    def counts(
        self,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        xlim: tuple[float, float],
        ylim: tuple[float, float],
        path: Path,
    ) -> None:
        self._clear("Pred Counts Before", "Pred Counts After")
        ends = [min(xlim[0], ylim[0]), max(xlim[1], ylim[1])]
        self._axes.plot(ends, ends, color="0.5")
        self._axes.scatter(before, after, color="m", s=5)
        self._axes.set_xlim(*xlim)
        self._axes.set_ylim(*ylim)
        self._save(path)

    def _clear(self, xlabel: str, ylabel: str) -> None:
        self._axes.clear()
        self._axes.spines[["top", "right"]].set_visible(False)
        self._axes.set_xlabel(xlabel, fontsize=12)
        self._axes.set_ylabel(ylabel, fontsize=12)

    def _save(self, path: Path) -> None:
        # As `plt.yticks(fontsize=12)` does: the labels grow after the places of the ticks are chosen.
        for label in self._axes.get_yticklabels():
            label.set_fontsize(12)
        self._figure.savefig(path)

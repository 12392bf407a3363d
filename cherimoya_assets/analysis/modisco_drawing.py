"""Draw modisco-lite's descriptive report: a script that modisco_report.py runs in a process of its own.

What belongs here: the steps of modiscolite.descriptive_report.generate_descriptive_report (3.0.0), each of them
modisco-lite's own function, and its page. What does not: anything that the rest of the package imports; modisco-lite
sets options of pandas, draws with pyplot's global state and takes all cores.

Different from that function: the page is escaped and corrected (see CORRECTIONS), a pattern is called by the alternate
names of its matches (`REB1`, not `MA0363.3 R`), without patterns tomtom-lite is not asked, and several patterns are
drawn at a time.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

METACLUSTERS = ["pos_patterns", "neg_patterns"]
PATTERNS, MOTIFS, REQUEST = Path("patterns.h5"), Path("motifs.meme"), Path("request.json")

CORRECTIONS = (
    # The summary's columns are of three matches, whatever was asked for, and call tomtom-lite's p-values q-values.
    (
        r"<th>Match 0</th>.*?(?=\{% endif %\})",
        "{% for i in range(top_n_matches) %}<th>Match {{ i }}</th><th>P-value</th><th>Logo</th>{% endfor %}",
    ),
    (r"range\(3\)", "range(top_n_matches)"),
    (r"the top 3 matches", "the top {{ top_n_matches }} matches"),
    (
        r"the first 10 characters of the top matches",
        "the first 10 characters of the (alternate) names of the top matches",
    ),
    # A stray letter hides a rule, and a narrow page hides the matches.
    (r"å(?=\s*\.tomtom-match-logo)", ""),
    (
        r"(?=</head>)",
        "<style>.content-container { max-width: 1900px; padding: 0 15px; }"
        " .summary-table th { white-space: normal; } .summary-table .num-col { white-space: nowrap; }"
        " .summary-table .logo-cell, .summary-table .logo-cell img { width: 130px; min-width: 130px; }"
        " .intro-box, .pattern-section { max-width: 1200px; }</style>\n",
    ),
)
"""Patterns in modisco-lite's page, each there once, and what stands there instead."""


def draw(request: dict[str, Any]) -> None:
    """Write the report that `request` describes; its inputs lie in the working directory."""
    from modiscolite import descriptive_report as steps

    folder, names, trim_threshold = request["folder"], request["motifs"], request["trim_threshold"]
    data = steps.extract_seqlet_data(str(PATTERNS), METACLUSTERS)
    data = steps.compute_global_region_size_and_distances(data)
    n_matches = min(request["n_matches"], len(names)) if data else 0
    # All workers start with the first step that is submitted, before tomtom-lite has threads that a fork would lose.
    with ProcessPoolExecutor(request["processes"]) as pool:
        logos = _submit(pool, steps.create_logos, data, folder, trim_threshold)
        distributions = _submit(pool, steps.create_distribution_plots, data, folder)
        examples = _submit(pool, steps.create_seqlet_example_logos, data, folder, request["n_examples"])
        matches = _matches(list(data), n_matches, trim_threshold) if n_matches else {}
        match_logos = _submit(pool, steps.create_tomtom_match_logos, matches, folder, str(MOTIFS), n_matches)
        page = _template().render(
            patterns_data=data,
            logo_paths=_drawn(logos),
            distribution_paths=_drawn(distributions),
            examples_data=_drawn(examples),
            tomtom_data=_named(matches, names),
            tomtom_logos=_drawn(match_logos),
            descriptive_names=steps.create_descriptive_names(
                _named(matches, [name.split()[-1] for name in names]), n_matches
            ),
            meme_motif_db=bool(names),
            top_n_matches=n_matches,
            ttl=True,
        )
    (Path(folder) / "report.html").write_text(page, encoding="utf-8")


def _submit(pool: Executor, step: Any, patterns: dict[str, Any], *arguments: Any) -> list[Future[dict[str, Any]]]:
    """Start `step`, a function of a dictionary of patterns, on each pattern alone."""
    return [pool.submit(step, {pattern: of_it}, *arguments) for pattern, of_it in patterns.items()]


def _drawn(steps: list[Future[dict[str, Any]]]) -> dict[str, Any]:
    return {pattern: drawn for step in steps for pattern, drawn in step.result().items()}


def _matches(patterns: list[str], n_matches: int, trim_threshold: float) -> dict[str, dict[str, Any]]:
    """For each pattern match_0, pval_0, match_1, ..., nearest first; a motif is named by its number."""
    from modiscolite.report import tomtomlite_dataframe

    table = tomtomlite_dataframe(PATTERNS, MOTIFS, METACLUSTERS, top_n_matches=n_matches, trim_threshold=trim_threshold)
    return {
        pattern: {f"{name}_{rank}": row[f"{name}{rank}"] for rank in range(n_matches) for name in ("match", "pval")}
        for pattern, row in zip(patterns, table.to_dict("records"), strict=True)
    }


def _named(matches: dict[str, dict[str, Any]], names: list[str]) -> dict[str, dict[str, Any]]:
    """The matches with `names` in the place of numbers."""
    return {
        pattern: {key: names[int(value)] if key.startswith("match") else value for key, value in found.items()}
        for pattern, found in matches.items()
    }


def _template() -> Any:
    """modisco-lite's own page, corrected, with everything escaped that is put into it."""
    from importlib.resources import files

    from jinja2 import Environment

    text = files("modiscolite.templates").joinpath("descriptive_report.html").read_text(encoding="utf-8")
    for pattern, corrected in CORRECTIONS:
        text, found = re.subn(pattern, corrected, text, flags=re.DOTALL)
        if found != 1:
            raise RuntimeError(f"modisco-lite's page has {pattern!r} {found} times, not once; it is not version 3.0.0")
    return Environment(autoescape=True).from_string(text)


if __name__ == "__main__":
    draw(json.loads(REQUEST.read_text()))

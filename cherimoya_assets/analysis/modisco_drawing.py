"""Draw modisco-lite's descriptive report: a script that modisco_report.py runs in a process of its own.

What belongs here: the steps of modiscolite.descriptive_report.generate_descriptive_report (3.0.0), each of them
modisco-lite's own function. What does not: anything that the rest of the package imports; modisco-lite sets options of
pandas, draws with pyplot's global state and takes all cores.

Three things differ from modisco-lite's function: the page is rendered with escaping, it says p-value where it shows
one, and without patterns tomtom-lite is not asked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

METACLUSTERS = ["pos_patterns", "neg_patterns"]
PATTERNS, MOTIFS, REQUEST = Path("patterns.h5"), Path("motifs.meme"), Path("request.json")


def draw(request: dict[str, Any]) -> None:
    """Write the report that `request` describes; its inputs lie in the working directory."""
    from modiscolite import descriptive_report as steps

    folder, names = request["folder"], request["motifs"]
    data = steps.extract_seqlet_data(str(PATTERNS), METACLUSTERS)
    data = steps.compute_global_region_size_and_distances(data)
    n_matches = min(request["n_matches"], len(names))
    matches = _matches(list(data), n_matches, request["trim_threshold"]) if n_matches and data else {}
    match_logos = steps.create_tomtom_match_logos(matches, folder, str(MOTIFS), n_matches) if matches else {}
    for found in matches.values():
        for rank in range(n_matches):
            found[f"match_{rank}"] = names[int(found[f"match_{rank}"])]
    page = _template().render(
        patterns_data=data,
        logo_paths=steps.create_logos(data, folder, request["trim_threshold"]),
        distribution_paths=steps.create_distribution_plots(data, folder),
        examples_data=steps.create_seqlet_example_logos(data, folder, request["n_examples"]),
        tomtom_data=matches,
        tomtom_logos=match_logos,
        descriptive_names=steps.create_descriptive_names(matches, n_matches),
        meme_motif_db=bool(names),
        top_n_matches=n_matches,
        ttl=True,
    )
    (Path(folder) / "report.html").write_text(page, encoding="utf-8")


def _matches(patterns: list[str], n_matches: int, trim_threshold: float) -> dict[str, dict[str, Any]]:
    """For each pattern match_0, pval_0, match_1, ..., nearest first; a motif is named by its number."""
    from modiscolite.report import tomtomlite_dataframe

    table = tomtomlite_dataframe(PATTERNS, MOTIFS, METACLUSTERS, top_n_matches=n_matches, trim_threshold=trim_threshold)
    return {
        pattern: {
            f"{name}_{rank}": row[f"{column}{rank}"]
            for rank in range(n_matches)
            for name, column in (("match", "match"), ("pval", "pval"))
        }
        for pattern, row in zip(patterns, table.to_dict("records"), strict=True)
    }


def _template() -> Any:
    """modisco-lite's own page, escaped, with the name of the number that tomtom-lite gives."""
    from importlib.resources import files

    from jinja2 import Environment

    text = files("modiscolite.templates").joinpath("descriptive_report.html").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(text.replace("<th>Q-value</th>", "<th>P-value</th>"))


if __name__ == "__main__":
    draw(json.loads(REQUEST.read_text()))

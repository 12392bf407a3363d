"""The page of what changed: patterns with their logos, numbers as they were given, names that mean harm."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cherimoya_assets.analysis.run_comparison import (
    RecordedAttributions,
    RecordedHead,
    RecordedPattern,
    RunRecord,
    compare_runs,
)
from cherimoya_assets.reports.run_comparison import comparison_markdown, comparison_page, comparison_text, short

HOSTILE = "<script>alert(1)</script>|[x](javascript:1)"


def record(names: list[str], texts: list[str], threshold: str, shift: float) -> RunRecord:
    patterns = [
        RecordedPattern(name, 120, np.eye(4)[["ACGT".index(base) for base in text]])
        for name, text in zip(names, texts, strict=True)
    ]
    values = np.random.default_rng(0).normal(size=(3, 10))
    values[0] += shift
    block = RecordedAttributions(np.array(["a", "b", "c"]), np.array([1, 50, 90]), values.astype(np.float32))
    seqlets = pd.DataFrame({"chrom": [HOSTILE, HOSTILE], "start": [1, 50], "end": [5, 60]})
    parameters = {"seqlets.threshold": threshold, HOSTILE: threshold}
    return RunRecord({"counts": RecordedHead(patterns, {HOSTILE: block}, seqlets)}, {"peaks": "a" * 64}, parameters, {})


@pytest.fixture
def difference():
    before = record([HOSTILE, "gone"], ["ACGTTAC", "TATATATA"], "0.01", 0.0)
    after = record(["new", "kept"], ["CCGGAGG", "GTAACGT"], "0.05", 1.0)
    return compare_runs(before, after)


def test_lost_gained_and_kept_patterns_have_their_logos(difference):
    page = comparison_page(difference, "demo", "A", "B")
    assert page.count('<svg class="logo"') == 4
    for word in ("<b>lost</b>", "<b>gained</b>", "<b>same</b>", "0.01", "0.05"):
        assert word in page
    pearson = difference.heads["counts"].attributions["pearson"][0]
    assert 0 < pearson < 1 and f"{pearson:.4f}" in page
    assert page == comparison_page(difference, "demo", "A", "B")


def test_names_are_text_in_the_page_and_in_markdown(difference):
    page = comparison_page(difference, HOSTILE, HOSTILE, HOSTILE)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    markdown = comparison_markdown(difference)
    assert "<script" not in markdown and "](" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {4}


def test_the_text_has_the_same_numbers_and_no_control_characters(difference):
    text = comparison_text(difference)
    assert "pattern gained: - -> new (0 -> 120 seqlets)" in text
    assert "pattern lost: gone -> - (120 -> 0 seqlets)" in text
    hidden = compare_runs(record(["\x1b[31m"], ["ACG"], "1", 0), record([], [], "1", 0))
    assert "\x1b" not in comparison_text(hidden)


@pytest.mark.parametrize(("value", "shown"), [("a" * 64, "a" * 12), ("0.01", "0.01"), ("", "–"), ("b" * 63, "b" * 63)])
def test_only_hashes_are_shortened(value, shown):
    assert short(value) == shown

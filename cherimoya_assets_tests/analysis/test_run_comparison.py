"""Comparing two runs, against truth that was made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherimoya_assets.analysis.run_comparison import (
    CHANGED,
    GAINED,
    LOST,
    SAME,
    RecordedAttributions,
    RecordedHead,
    RecordedPattern,
    RunRecord,
    compare_attributions,
    compare_runs,
    compare_seqlets,
    match_patterns,
    overlapping,
    pattern_similarity,
)


def cwm(text: str, weight: float = 1.0) -> np.ndarray:
    """A CWM with `weight` on each of these bases."""
    return np.eye(4)[["ACGT".index(base) for base in text]] * weight


def pattern(name: str, text: str, seqlets: int = 10, weight: float = 1.0) -> RecordedPattern:
    return RecordedPattern(name, seqlets, cwm(text, weight))


def spans(*rows: tuple[str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def attributions(values: np.ndarray, starts: list[int]) -> RecordedAttributions:
    names = np.array([f"locus{start}" for start in starts], dtype=str)
    return RecordedAttributions(names, np.array(starts, dtype=np.int64), values.astype(np.float32))


def record(**changes) -> RunRecord:
    head = RecordedHead((pattern("pos.0", "ACGTTAC"),), {"chrI": attributions(np.eye(3), [1, 2, 3])}, spans())
    values = {"heads": {"counts": head}, "inputs": {"peaks": "a"}, "parameters": {"x": "1"}, "packages": {"torch": "2"}}
    return RunRecord(**{**values, **changes})


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("ACGTTAC", "ACGTTAC", 1.0),
        ("ACGTTAC", "GTAACGT", 1.0),  # its reverse complement
        ("ACGTTAC", "CGTTA", 5 / np.sqrt(35)),  # inside it
        ("TTACG", "GGTTACG", 5 / np.sqrt(35)),
        ("AAAA", "CCCC", 0.0),
        ("AAAA", "TTTT", 1.0),
    ],
)
def test_similarity_is_the_cosine_at_the_best_offset_and_orientation(one, other, expected):
    assert pattern_similarity(cwm(one), cwm(other)) == pytest.approx(expected)
    assert pattern_similarity(cwm(other, 3.0), cwm(one)) == pytest.approx(expected)


def test_similarity_equals_every_offset_tried_one_by_one():
    random = np.random.default_rng(0)
    for one, other in ((random.normal(size=(a, 4)), random.normal(size=(b, 4))) for a, b in ((5, 8), (12, 3), (6, 6))):
        best = -np.inf
        for turned in (other, other[::-1, [3, 2, 1, 0]]):
            padded = np.pad(one, ((len(turned), len(turned)), (0, 0)))
            for at in range(len(padded) - len(turned) + 1):
                best = max(best, float((padded[at : at + len(turned)] * turned).sum()))
        expected = best / np.sqrt((one**2).sum() * (other**2).sum())
        assert pattern_similarity(one, other) == pytest.approx(expected)


def test_a_pattern_of_the_other_sign_is_another_pattern():
    found = match_patterns([pattern("pos.0", "ACGTTAC")], [pattern("neg.0", "ACGTTAC", weight=-1.0)])
    assert list(found["change"]) == [GAINED, LOST]


def test_patterns_are_matched_one_to_one_whatever_their_order_and_orientation():
    before = [pattern("a", "ACGTTAC", 10), pattern("b", "GGGGCC", 20), pattern("gone", "TATATA", 5)]
    after = [pattern("0", "GGCCCC", 20), pattern("1", "GTAACGT", 12), pattern("new", "CATCATG", 7)]
    found = match_patterns(before, after)
    rows = found[["change", "before", "after", "seqlets_before", "seqlets_after"]].values.tolist()
    assert rows[0] == [SAME, "b", "0", 20, 20]
    assert rows[1] == [CHANGED, "a", "1", 10, 12]
    assert rows[2][0] == GAINED and rows[2][2:] == ["new", 0, 7]
    assert rows[3][:2] == [LOST, "gone"] and rows[3][3:] == [5, 0]
    assert list(found["similarity"].isna()) == [False, False, True, True]


def test_a_pattern_is_not_matched_twice():
    found = match_patterns([pattern("a", "ACGTTAC")], [pattern("0", "ACGTTA"), pattern("1", "ACGTTAC")])
    assert list(found["change"]) == [GAINED, SAME]


def test_matching_agrees_with_tomtom_on_the_patterns_of_the_demo():
    from memelite import tomtom

    random = np.random.default_rng(1)
    consensus = ["CGGGTAACG", "TGACTCATT", "GGCGCGCCA", "ATAAACAAT"]
    before = [pattern(f"b{i}", text) for i, text in enumerate(consensus)]
    order = [2, 0, 3, 1]
    after = []
    for place, i in enumerate(order):
        noisy = np.clip(cwm(consensus[i]) + random.normal(0, 0.05, (9, 4)), 0, None)
        after.append(RecordedPattern(f"a{place}", 10, noisy[::-1, ::-1] if place % 2 else noisy))
    ppm = [[(one.cwm / one.cwm.sum(axis=1, keepdims=True)).T for one in patterns] for patterns in (after, before)]
    p_values = tomtom(*ppm, n_jobs=1)[0]
    found = match_patterns(before, after)
    assert [int(name[1:]) for name in found["before"]] == p_values.argmin(axis=1).tolist() == order


def test_no_patterns_on_either_side_are_no_rows():
    assert match_patterns([], []).empty
    assert list(match_patterns([], [pattern("0", "ACG")])["change"]) == [GAINED]
    assert list(match_patterns([pattern("0", "ACG")], [])["change"]) == [LOST]


def test_attributions_are_correlated_over_the_loci_that_both_have():
    random = np.random.default_rng(2)
    values = random.normal(size=(4, 6))
    noise = values + random.normal(size=(4, 6))
    found = compare_attributions(
        {"chrI": attributions(values, [10, 20, 30, 40]), "chrII": attributions(values, [1, 2, 3, 4])},
        {"chrI": attributions(noise[[2, 1, 0]], [30, 20, 50]), "chrIII": attributions(values, [1, 2, 3, 4])},
    )
    first, second, third = found.to_dict("records")
    expected = np.corrcoef(values[[1, 2]].ravel(), noise[[1, 2]].ravel())[0, 1]
    assert (first["loci"], first["loci_before"], first["loci_after"]) == (2, 2, 1)
    assert first["pearson"] == pytest.approx(expected, abs=1e-6)
    assert (second["chrom"], second["loci"], second["loci_before"]) == ("chrII", 0, 4) and np.isnan(second["pearson"])
    assert (third["chrom"], third["loci_after"]) == ("chrIII", 4)


def test_windows_of_different_widths_are_compared_in_their_middle():
    values = np.random.default_rng(3).normal(size=(2, 10))
    wide, narrow = attributions(values, [100, 200]), attributions(values[:, 2:8], [102, 202])
    (row,) = compare_attributions({"chrI": wide}, {"chrI": narrow}).to_dict("records")
    assert row["loci"] == 2 and row["pearson"] == pytest.approx(1.0)


def test_seqlets_are_gained_and_lost_by_overlap():
    before = spans(("chrI", 10, 20), ("chrI", 30, 40), ("chrI", 50, 60), ("chrII", 1, 5))
    after = spans(("chrI", 19, 25), ("chrI", 40, 50), ("chrI", 52, 54), ("chrI", 55, 57), ("chrIII", 1, 5))
    found = compare_seqlets(before, after).set_index("chrom").to_dict("index")
    assert found == {
        "chrI": {"before": 3, "after": 4, "kept": 3, "gained": 1, "lost": 1},
        "chrII": {"before": 1, "after": 0, "kept": 0, "gained": 0, "lost": 1},
        "chrIII": {"before": 0, "after": 1, "kept": 0, "gained": 1, "lost": 0},
    }


span = st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda pair: ("chrI", pair[0], pair[0] + pair[1]))


@given(st.lists(span, max_size=12), st.lists(span, max_size=12))
def test_overlap_equals_comparing_every_pair(ours, theirs):
    expected = [any(a < d and c < b for _, c, d in theirs) for _, a, b in ours]
    assert overlapping(spans(*ours), spans(*theirs)).tolist() == expected


def test_equal_runs_have_no_difference():
    found = compare_runs(record(), record())
    assert found.inputs.empty and found.parameters.empty and found.packages.empty
    head = found.heads["counts"]
    assert list(head.patterns["change"]) == [SAME]
    assert head.attributions["pearson"].tolist() == [pytest.approx(1.0)]
    assert head.seqlets.empty


def test_inputs_parameters_packages_and_heads_that_differ_are_named():
    found = compare_runs(record(), record(inputs={"peaks": "b", "model": "m"}, parameters={}, heads={}))
    assert found.inputs.values.tolist() == [["peaks", "a", "b"], ["model", "", "m"]]
    assert found.parameters.values.tolist() == [["x", "1", ""]]
    assert found.packages.empty
    assert list(found.heads["counts"].patterns["change"]) == [LOST]

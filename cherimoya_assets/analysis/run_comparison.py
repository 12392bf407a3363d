"""What differs between two materializations of one experiment: patterns, attributions, seqlets, inputs, parameters.

What belongs here: comparing two records. What does not: reading them from a store (`assets/run_record.py`) and showing
what was found (`reports/run_comparison.py`).

Patterns are compared by their trimmed contribution weight matrices (CWMs) at every offset and in both orientations,
as TF-MoDISco compares them, with the cosine as the measure; patterns of opposite sign are therefore never alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SAME_PATTERN = 0.7
"""Least similarity of a pattern that is said to be found again. Chance does not reach it: of pairs of random CWMs
(normal weights) 999 in 1,000 stay below 0.64 when 6 bp wide, 0.54 when 10 bp wide."""

UNCHANGED_PATTERN = 0.99
"""Similarity from which on a pattern with as many seqlets is the same and not changed."""

LOST, GAINED, CHANGED, SAME = "lost", "gained", "changed", "same"


@dataclass(frozen=True, eq=False)
class RecordedPattern:
    """A pattern: its name, its number of seqlets, its trimmed CWM, float64 (w, 4), columns A, C, G, T."""

    name: str
    seqlets: int
    cwm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecordedAttributions:
    """Projected attributions of loci of one chromosome.

    Attributes:
        locus_id: str (n,).
        window_start: int64 (n,), genome start of the attributed window, 0-based.
        projected: float32 (n, width).
    """

    locus_id: NDArray[np.str_]
    window_start: NDArray[np.int64]
    projected: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RecordedHead:
    """What was found with one head. `seqlets` has the columns chrom, start, end (0-based, half-open)."""

    patterns: Sequence[RecordedPattern]
    attributions: Mapping[str, RecordedAttributions]
    seqlets: pd.DataFrame


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One materialization of an experiment. `inputs` maps an input to its version, `parameters` `seqlets.threshold` to
    its value as text, `packages` a package to its version."""

    heads: Mapping[str, RecordedHead]
    inputs: Mapping[str, str]
    parameters: Mapping[str, str]
    packages: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class HeadDifference:
    """What differs with one head.

    Attributes:
        patterns: change (LOST, GAINED, CHANGED, SAME), before, after (names, "" where there is none), similarity
            (NaN for a lost or gained one: it has no counterpart), seqlets_before, seqlets_after (0 where absent).
        old, new: the patterns by name, for drawing.
        attributions: chrom, loci (in both), loci_before, loci_after (only there), pearson (over all bases of the loci
            in both; NaN where it is not defined).
        seqlets: chrom, before, after, kept (of those after, how many overlap one before), gained, lost.
    """

    patterns: pd.DataFrame
    old: Mapping[str, RecordedPattern]
    new: Mapping[str, RecordedPattern]
    attributions: pd.DataFrame
    seqlets: pd.DataFrame


@dataclass(frozen=True, eq=False)
class RunDifference:
    """What differs. The tables have name, before, after ("" where it was or is not there), changed rows only."""

    heads: Mapping[str, HeadDifference]
    inputs: pd.DataFrame
    parameters: pd.DataFrame
    packages: pd.DataFrame


def compare_runs(before: RunRecord, after: RunRecord) -> RunDifference:
    """Compare two materializations; a head that only one of them has is compared with nothing."""
    nothing = RecordedHead((), {}, pd.DataFrame({"chrom": [], "start": [], "end": []}))
    heads = {
        head: _compare_heads(before.heads.get(head, nothing), after.heads.get(head, nothing))
        for head in dict.fromkeys([*before.heads, *after.heads])
    }
    return RunDifference(
        heads,
        changed_values(before.inputs, after.inputs),
        changed_values(before.parameters, after.parameters),
        changed_values(before.packages, after.packages),
    )


def match_patterns(before: Sequence[RecordedPattern], after: Sequence[RecordedPattern]) -> pd.DataFrame:
    """Which pattern is which: one to one, such that the sum of the similarities is largest.

    Returns:
        As `HeadDifference.patterns`: those after in their order, then the lost ones.
    """
    from scipy.optimize import linear_sum_assignment

    similarity = np.zeros((len(before), len(after)))
    for i, old in enumerate(before):
        for j, new in enumerate(after):
            similarity[i, j] = pattern_similarity(old.cwm, new.cwm)
    # What is too unlike to be the same pattern must not decide who is matched with whom.
    worth = np.where(similarity >= SAME_PATTERN, similarity, 0.0)
    matched = {int(j): int(i) for i, j in zip(*linear_sum_assignment(-worth), strict=True) if worth[i, j] > 0}
    rows: list[tuple[object, ...]] = []
    for j, new in enumerate(after):
        if j not in matched:
            rows.append((GAINED, "", new.name, np.nan, 0, new.seqlets))
            continue
        old, alike = before[matched[j]], similarity[matched[j], j]
        same = alike >= UNCHANGED_PATTERN and old.seqlets == new.seqlets
        rows.append((SAME if same else CHANGED, old.name, new.name, alike, old.seqlets, new.seqlets))
    left = set(matched.values())
    rows += [(LOST, old.name, "", np.nan, old.seqlets, 0) for i, old in enumerate(before) if i not in left]
    return pd.DataFrame(rows, columns=["change", "before", "after", "similarity", "seqlets_before", "seqlets_after"])


def pattern_similarity(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The largest cosine of two CWMs, (w, 4) each, over all offsets and both orientations, flanks counting as zero."""
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    if scale == 0:
        return 0.0
    # The reverse complement of A, C, G, T turns both axes around.
    return max(_largest_product(one, turned) for turned in (other, other[::-1, ::-1])) / scale


def compare_attributions(
    before: Mapping[str, RecordedAttributions], after: Mapping[str, RecordedAttributions]
) -> pd.DataFrame:
    """Pearson correlation per chromosome over all bases of the loci that both have; see `HeadDifference`.

    Loci are the same when their attributed windows are; of equal windows the first counts. Windows of different widths
    are compared in their middle, as far as both go.
    """
    rows = []
    nothing = RecordedAttributions(np.zeros(0, np.str_), np.zeros(0, np.int64), np.zeros((0, 0), np.float32))
    for chrom in dict.fromkeys([*before, *after]):
        old, new = before.get(chrom, nothing), after.get(chrom, nothing)
        width = min(old.projected.shape[1], new.projected.shape[1])
        (old_at, old_values), (new_at, new_values) = (_middle(block, width) for block in (old, new))
        _, i, j = np.intersect1d(old_at, new_at, return_indices=True)
        n_old, n_new = len(np.unique(old_at)), len(np.unique(new_at))
        pearson = _pearson(old_values[i].ravel(), new_values[j].ravel())
        rows.append((chrom, len(i), n_old - len(i), n_new - len(i), pearson))
    return pd.DataFrame(rows, columns=["chrom", "loci", "loci_before", "loci_after", "pearson"])


def compare_seqlets(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Seqlets gained and lost per chromosome; see `HeadDifference`. One base of overlap is enough to be the same."""
    rows = []
    for chrom in dict.fromkeys([*before["chrom"], *after["chrom"]]):
        old, new = (table[table["chrom"] == chrom] for table in (before, after))
        kept, found_again = int(overlapping(new, old).sum()), int(overlapping(old, new).sum())
        rows.append((chrom, len(old), len(new), kept, len(new) - kept, len(old) - found_again))
    return pd.DataFrame(rows, columns=["chrom", "before", "after", "kept", "gained", "lost"])


def overlapping(these: pd.DataFrame, those: pd.DataFrame) -> NDArray[np.bool_]:
    """Which of `these` spans share a base with one of `those`; both have start and end, on one chromosome."""
    starts, ends = np.sort(those["start"].to_numpy(np.int64)), np.sort(those["end"].to_numpy(np.int64))
    # Those that begin before the end, less those that are over by the start.
    begun = np.searchsorted(starts, these["end"].to_numpy(np.int64), side="left")
    over = np.searchsorted(ends, these["start"].to_numpy(np.int64), side="right")
    return np.asarray(begun > over)


def changed_values(before: Mapping[str, str], after: Mapping[str, str]) -> pd.DataFrame:
    """The names whose values differ: name, before, after."""
    rows = [
        (name, before.get(name, ""), after.get(name, ""))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    return pd.DataFrame(rows, columns=["name", "before", "after"])


def _compare_heads(before: RecordedHead, after: RecordedHead) -> HeadDifference:
    return HeadDifference(
        match_patterns(before.patterns, after.patterns),
        {pattern.name: pattern for pattern in before.patterns},
        {pattern.name: pattern for pattern in after.patterns},
        compare_attributions(before.attributions, after.attributions),
        compare_seqlets(before.seqlets, after.seqlets),
    )


def _largest_product(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    products = np.zeros(len(one) + len(other) - 1)
    for base in range(one.shape[1]):
        products += np.correlate(one[:, base], other[:, base], mode="full")
    return float(products.max())


def _middle(block: RecordedAttributions, width: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    cut = (block.projected.shape[1] - width) // 2
    return block.window_start + cut, block.projected[:, cut : cut + width].astype(np.float64)


def _pearson(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])

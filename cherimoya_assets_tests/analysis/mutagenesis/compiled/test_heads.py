"""The two heads, compiled: profiles of a window anywhere, sums for the counts, the profile score as a difference."""

from __future__ import annotations

from types import SimpleNamespace

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cherimoya_assets.analysis.mutagenesis.compiled import heads
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import address, padded
from cherimoya_assets.analysis.mutagenesis.profile_score import profile_score
from cherimoya_assets_tests.analysis.mutagenesis import dense_truth

examples = settings(max_examples=40, deadline=None, derandomize=True)


@numba.njit
def add_profile(head, x, edits, first, logits, length, parts):
    heads.add_profile(head, address(x), x.shape[1], len(x), edits, first, address(logits), length, parts)


@numba.njit
def add_counts(x, edits, weights, sums, counts):
    heads.add_counts(address(x), len(x), edits, x.shape[1], weights, sums, counts)


@examples
@given(
    taps=st.sampled_from([1, 3, 21, 75]),
    positions=st.integers(1, 60),
    edits=st.integers(1, 3),
    outputs=st.integers(1, 3),
    length=st.integers(1, 90),
    where=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_the_profile_of_a_window_is_added_inside_the_output_alone(taps, positions, edits, outputs, length, where, seed):
    """Anywhere from which the output can be reached."""
    random = np.random.default_rng(seed)
    weights, bias = random.normal(size=(outputs, 5, taps)), random.normal(size=outputs)
    head = heads.profile_head(weights, bias)
    positions = min(positions, length + 2 * (taps // 2))
    first = -(taps // 2) + round(where * (length + 2 * (taps // 2) - positions))
    x = np.zeros((positions * edits, 16), np.float32)
    x[:, :5] = random.normal(size=(len(x), 5))
    logits = np.zeros((edits, outputs, length + 2 * head.margin), np.float32)
    inner = logits[:, :, head.margin : head.margin + length]
    inner[:] = random.normal(size=inner.shape)
    expected = inner.astype(np.float64)
    for row in range(positions):
        for tap in range(taps):
            # The tap before the middle sees what lies before its output.
            place = first + row + taps // 2 - tap
            if 0 <= place < length:
                expected[:, :, place] += x[row * edits : (row + 1) * edits, :5].astype(float) @ weights[:, :, tap].T
    add_profile(head, x, edits, first, logits, length, np.zeros((heads.ROWS, head.weights.shape[1]), np.float32))
    np.testing.assert_allclose(inner, expected, atol=2e-4)
    for e in range(edits):
        row = np.ones(padded(outputs * length), np.float32)
        heads.take_logits(head, logits.reshape(-1), e, length, row)
        np.testing.assert_array_equal(row[: outputs * length], inner[e].reshape(-1))
        assert not row[outputs * length :].any()


@pytest.mark.parametrize(("rows", "edits"), [(1, 1), (7, 1), (100, 1), (3 * 70, 3), (12, 12), (12 * 33, 12)])
def test_counts_are_sums_over_positions_of_each_edit(rows, edits):
    random = np.random.default_rng(rows)
    x, weights = random.normal(size=(rows, 16)).astype(np.float32), random.normal(size=(13, 2))
    counts = np.ones((edits, 2))
    add_counts(x, edits, weights, np.ones((edits, 16), np.float32), counts)
    truth = 1 + x.reshape(-1, edits, 16)[:, :, :13].sum(axis=0, dtype=np.float64) @ weights
    np.testing.assert_allclose(counts, truth, atol=2e-5 * rows**0.5)


@st.composite
def predictions(draw):
    """Signal groups, a group, logits (outputs, length) and changes (E, outputs, length) of some size."""
    groups = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    group = draw(st.sampled_from([None, *range(len(groups))]))
    shape = (sum(groups), draw(st.integers(1, 40)))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    logits = random.normal(0, draw(st.sampled_from([0.1, 2.0, 15.0])), shape).astype(np.float32)
    size = draw(st.sampled_from([1e-3, 0.1, 3.0, 20.0]))
    return groups, group, logits, random.normal(0, size, (draw(st.integers(1, 4)), *shape)).astype(np.float32)


def score_changes(logits, changes, groups, group):
    score = profile_score(logits, groups, group).packed
    own = np.ones(padded(logits.size), np.float32)
    return [heads.score_change(change.reshape(-1), score, own, np.ones(4)) for change in changes]


@examples
@given(predictions())
def test_the_profile_score_changes_by_the_difference_of_two_scores(drawn):
    groups, group, logits, changes = drawn
    whole = np.concatenate([logits[None], logits[None].astype(np.float64) + changes])
    score = dense_truth.scores(SimpleNamespace(signal_groups=groups), whole, np.zeros((len(whole), len(groups))), group)
    truth = (score["profile"][1:] - score["profile"][0])[:, 0]
    exact = 2e-6 * (1 + np.abs(whole).max() + np.abs(changes).max())
    np.testing.assert_allclose(score_changes(logits, changes, groups, group), truth, rtol=1e-5, atol=exact)


def test_it_keeps_its_digits():
    """Of a change by 1e-9: a difference of two scores would keep none, the derivative has all."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (2, 300)).astype(np.float32)
    changes = random.normal(0, 1e-9, (5, 2, 300)).astype(np.float32)
    slopes = changes.reshape(5, -1).astype(float) @ profile_score(logits, (2,), 0).slope
    np.testing.assert_allclose(score_changes(logits, changes, (2,), 0), slopes, rtol=1e-5)


def test_another_group_does_not_matter_whatever_it_does():
    random = np.random.default_rng(1)
    logits, changes = random.normal(size=(3, 21)).astype(np.float32), random.normal(size=(1, 3, 21)).astype(np.float32)
    (alone,) = score_changes(logits[1:2], changes[:, 1:2], (1,), 0)
    changes[0, 2], changes[0, 0] = 200, np.nan
    assert score_changes(logits, changes, (1, 1, 1), 1) == [pytest.approx(alone, rel=1e-6)]

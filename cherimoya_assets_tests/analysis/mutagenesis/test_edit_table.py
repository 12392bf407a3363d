"""Edits as arrays, and which share a window."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cherimoya_assets.analysis.mutagenesis import LocalEdit
from cherimoya_assets.analysis.mutagenesis.edit_table import edit_table, together
from cherimoya_assets.analysis.mutagenesis.edits import Substitutions, edited
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences

(X,) = random_sequences(1, 60)


def test_changes_make_the_edited_sequences():
    edits = [LocalEdit(5, random_sequences(1, 3)[0]), LocalEdit(0, X[:, :1]), LocalEdit(50, random_sequences(1, 10)[0])]
    table = edit_table(X, edits)
    assert table.starts.tolist() == [5, 0, 50] and table.widths.tolist() == [3, 1, 10]
    for k, sequence in enumerate(edited(X, edits)[1:]):
        changed = X.astype(np.float32)
        changed[:, table.starts[k] : table.starts[k] + table.widths[k]] += table.change[k, :, : table.widths[k]]
        np.testing.assert_array_equal(changed, sequence)
        assert not table.change[k, :, table.widths[k] :].any()


def test_no_edits_make_an_empty_table():
    table = edit_table(X, [])
    assert len(table.starts) == len(table.change) == 0
    order, bounds = together(table, np.arange(0), 12, 8)
    assert len(order) == 0 and bounds.tolist() == [0]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(starts=st.lists(st.integers(0, 59), min_size=1, max_size=40), most=st.integers(1, 12), apart=st.integers(0, 20))
def test_groups_are_near_and_small_and_everything_is_in_one(starts, most, apart):
    table = edit_table(X, [LocalEdit(start, np.zeros((4, 1), np.int8)) for start in starts])
    chosen = np.arange(len(starts))[:: 2 if len(starts) > 3 else 1]
    order, bounds = together(table, chosen, most, apart)
    assert sorted(order) == list(chosen) and bounds[0] == 0 and bounds[-1] == len(order)
    for first, last in pairwise(bounds):
        places = table.starts[order[first:last]]
        assert 0 < len(places) <= most and places[-1] - places[0] <= apart and (np.diff(places) >= 0).all()
    # No two that follow each other would fit into one.
    for (a, b), (_, d) in pairwise(pairwise(bounds)):
        places = table.starts[order]
        assert d - a > most or places[b] - places[a] > apart or b - a == most or places[b] - places[a] > apart


class TestSubstitutions:
    def test_every_other_base_of_every_position(self):
        edits = Substitutions(X, 10, 14).edits
        assert [edit.start for edit in edits] == [p for p in range(10, 14) for _ in range(3)]
        for edit in edits:
            assert edit.bases.sum() == 1 and not np.array_equal(edit.bases[:, 0], X[:, edit.start])

    def test_a_column_without_a_base_has_four(self):
        sequence = X.copy()
        sequence[:, 11] = 0
        assert len(Substitutions(sequence, 10, 13).edits) == 3 + 4 + 3

    def test_hypothetical_scores_are_centred_and_zero_stands_for_the_base_that_is_there(self):
        substitutions = Substitutions(X, 10, 20)
        effects = np.random.default_rng(0).normal(size=30)
        table = np.zeros((4, 10))
        for edit, effect in zip(substitutions.edits, effects, strict=True):
            table[edit.bases[:, 0].argmax(), edit.start - 10] = effect
        np.testing.assert_allclose(substitutions.hypothetical(effects), table - table.mean(axis=0), rtol=1e-12)

    @pytest.mark.parametrize("span", [(7, 7), (0, 1), (59, 60)])
    def test_any_span(self, span):
        substitutions = Substitutions(X, *span)
        assert len(substitutions.edits) == 3 * (span[1] - span[0])
        assert substitutions.hypothetical(np.zeros(len(substitutions.edits))).shape == (4, span[1] - span[0])

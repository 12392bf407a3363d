"""Scores of the two heads as differences, against the scores themselves in float64."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cherimoya_assets.analysis.mutagenesis.profile_score import profile_score
from cherimoya_assets.analysis.mutagenesis.windowed.general.read_out import counts_effects
from cherimoya_assets.analysis.mutagenesis.windowed.general.read_out import profile_effects as general_effects
from cherimoya_assets_tests.analysis.mutagenesis import dense_truth


def profile_effects(logits, changes, groups, group):
    return general_effects(profile_score(logits.numpy(), groups, group), changes)


examples = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def predictions(draw):
    """Signal groups, a group, logits (outputs, length) and changes (E, outputs, length) of some size."""
    groups = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    group = draw(st.sampled_from([None, *range(len(groups))]))
    shape = (sum(groups), draw(st.integers(1, 40)))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    logits = random.normal(0, draw(st.sampled_from([0.1, 2.0, 30.0])), shape)
    changes = random.normal(0, draw(st.sampled_from([1e-3, 0.1, 3.0, 100.0])), (draw(st.integers(1, 4)), *shape))
    return groups, group, logits, changes


@examples
@given(predictions())
def test_profile_effects_of_any_shape_and_size(drawn):
    groups, group, logits, changes = drawn
    whole = np.concatenate([logits[None], logits + changes])
    score = dense_truth.scores(SimpleNamespace(signal_groups=groups), whole, np.zeros((len(whole), len(groups))), group)
    truth = (score["profile"][1:] - score["profile"][0])[:, 0]
    found = profile_effects(torch.from_numpy(logits), torch.from_numpy(changes), groups, group).numpy()
    np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-13 * (1 + np.abs(whole).max()))


def test_profile_effects_keep_their_digits():
    """Of a change by 1e-9: a difference of two scores would keep few, the derivative has all."""
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(0, 2, (2, 300))).requires_grad_()
    changes = torch.from_numpy(random.normal(0, 1e-9, (5, 2, 300)))
    y = logits.flatten() - logits.mean()
    (torch.softmax(y, dim=0) * y).sum().backward()
    slopes = (changes * logits.grad).sum(dim=(1, 2))
    torch.testing.assert_close(profile_effects(logits.detach(), changes, (2,), 0), slopes, rtol=1e-7, atol=0)


def test_a_constant_added_to_logits_changes_nothing():
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 50)))
    found = profile_effects(logits, torch.full((1, 1, 50), 7.0), (1,), 0)
    assert abs(float(found)) < 1e-12


def test_a_peak_that_vanishes_is_a_finite_effect():
    """All the weight at one position, which the edit empties: what is left of 1 is far below its last digit."""
    logits, changes = np.zeros((1, 30)), np.zeros((1, 1, 30))
    logits[0, 3], changes[0, 0, 3] = 60, -120
    score = dense_truth.scores(
        SimpleNamespace(signal_groups=(1,)), np.stack([logits, logits + changes[0]]), np.zeros((2, 1)), 0
    )["profile"]
    found = profile_effects(torch.from_numpy(logits), torch.from_numpy(changes), (1,), 0)
    np.testing.assert_allclose(found, score[1] - score[0], rtol=1e-12)


@pytest.mark.parametrize(("group", "expected"), [(0, [1.0, 4.0]), (2, [3.0, 0.0]), (None, [2.0, 2.0])])
def test_counts_effects_of_a_group_or_all(group, expected):
    changes = torch.tensor([[1.0, 2.0, 3.0], [4.0, 2.0, 0.0]])
    assert counts_effects(changes, group).tolist() == expected


def test_a_prediction_that_is_no_number_has_no_effects():
    logits = torch.zeros(1, 5)
    logits[0, 2] = float("nan")
    assert profile_effects(logits, torch.ones(3, 1, 5), (1,), 0).isnan().all()

"""The truth of these tests against cherimoya's own forward pass and wrappers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cherimoya import ControlWrapper, LogCountWrapper, ProfileWrapper

from cherimoya_assets.analysis.mutagenesis import LocalEdit
from cherimoya_assets_tests.analysis.mutagenesis import dense_truth
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import as_loaded, random_sequences, strong_model
from cherimoya_assets_tests.demo_inputs import demo_model

SHAPES = {
    "default scale": {"residual_scale": 0.15},
    "deep": {"n_layers": 5, "n_filters": 12, "expansion": 1, "residual_scale": 1.0},
    "groups and controls": {"signal_groups": (1, 2), "controls": 2},
    "no trimming": {"trimming": 0, "expansion": 4},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_equals_cherimoya(shape):
    module = strong_model(**shape).module
    X = random_sequences(3, 2 * module.trimming + 150)
    logits, log_counts = dense_truth.predictions(module, X)
    with torch.no_grad():
        theirs = ControlWrapper(module)(torch.from_numpy(X).float())
    for ours, expected in zip((logits, log_counts), theirs, strict=True):
        np.testing.assert_allclose(ours, expected.numpy(), rtol=0, atol=2e-6 * float(expected.abs().max()))


@pytest.mark.slow
def test_equals_cherimoya_on_the_demo(demo_sequences):
    X = np.stack(list(demo_sequences.values()))
    theirs = demo_model().predict(X)
    for ours, expected in zip(dense_truth.predictions(demo_model().module, X), theirs, strict=True):
        np.testing.assert_allclose(ours, expected.numpy(), rtol=0, atol=5e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("group", [0, 1, None])
def test_scores_are_those_of_the_wrappers(group):
    module = strong_model(signal_groups=(1, 2), controls=1).module
    X = random_sequences(4, 2 * module.trimming + 60)
    scores = dense_truth.scores(module, *dense_truth.predictions(module, X), group)
    for head, wrapper in {"counts": LogCountWrapper, "profile": ProfileWrapper}.items():
        with torch.no_grad():
            theirs = wrapper(ControlWrapper(module), group=group)(torch.from_numpy(X).float()).numpy()
        assert scores[head].shape == theirs.shape
        np.testing.assert_allclose(scores[head], theirs, rtol=0, atol=1e-5)


def test_edits_replace_bases():
    X = random_sequences(1, 30)[0]
    bases = random_sequences(1, 5, seed=1)[0]
    made = dense_truth.edited(X, [LocalEdit(0, bases), LocalEdit(25, bases)])
    np.testing.assert_array_equal(made[0], np.concatenate([bases, X[:, 5:]], axis=1))
    np.testing.assert_array_equal(made[1], np.concatenate([X[:, :25], bases], axis=1))


def test_strong_models_reach_the_curved_part_of_gelu():
    """Fresh weights would not, and what is tested on them is tested on a nearly linear network."""
    from cherimoya import Cherimoya

    X = torch.from_numpy(random_sequences(1, 200)).float()

    def hidden_spread(module):
        seen = []
        for block in module.blocks:
            block.activation.register_forward_hook(lambda _, inputs, __: seen.append(float(inputs[0].std())))
        with torch.no_grad():
            module(X)
        return min(seen)

    fresh = as_loaded(Cherimoya(n_filters=8, n_layers=3, compile=False, random_state=0))
    assert hidden_spread(fresh.module) < 0.1
    assert hidden_spread(strong_model().module) > 1

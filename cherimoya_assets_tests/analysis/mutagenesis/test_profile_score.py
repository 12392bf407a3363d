"""The profile score of an unedited sequence, and its slope, against torch's own derivative."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.mutagenesis.profile_score import profile_score

LOGITS = np.random.default_rng(0).normal(0, 2, (3, 41)).astype(np.float32)


@pytest.mark.parametrize(("group", "rows"), [(0, slice(0, 1)), (1, slice(1, 3)), (None, slice(0, 3))])
def test_slope_is_the_derivative_of_the_score(group, rows):
    score = profile_score(LOGITS, (1, 2), group)
    assert (score.first, score.last) == (rows.start * 41, rows.stop * 41)
    logits = torch.from_numpy(LOGITS[rows]).double().flatten().requires_grad_()
    y = logits - logits.mean()
    (torch.softmax(y, dim=0) * y).sum().backward()
    np.testing.assert_allclose(score.slope, logits.grad, atol=1e-12)
    assert abs(score.slope.sum()) < 1e-12
    np.testing.assert_allclose(score.softmax.sum(), 1, rtol=1e-12)


def test_packed_for_compiled_code():
    packed = profile_score(LOGITS, (1, 2), 1).packed
    assert (packed.first, packed.last, len(packed.softmax), len(packed.score)) == (41, 123, 96, 96)
    assert not packed.softmax[82:].any() and not packed.score[82:].any()

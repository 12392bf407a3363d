"""GELU as a difference and the convolution with its sums, in both dtypes, against float64 written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cherimoya_assets.analysis.mutagenesis.windowed import gelu as constants
from cherimoya_assets.analysis.mutagenesis.windowed.general.arithmetic import (
    activate,
    convolve,
    convolved_with_sums,
    difference_,
)
from cherimoya_assets_tests.analysis.mutagenesis.dense_truth import gelu

SINGLE, DOUBLE = "single", "double"
PRECISION = {SINGLE: 1e-6, DOUBLE: 1e-12}
"""Of a change, relative to what went in: a few roundings."""

examples = settings(max_examples=40, deadline=None, derandomize=True)
every_path = pytest.mark.parametrize("path", PRECISION)


def dtype(path: str) -> torch.dtype:
    return torch.float64 if path == DOUBLE else torch.float32


def assert_within(found, truth, bound, spread):
    """The truth itself is a difference in float64, good to 1e-14; beyond |u| = 10 a sigmoid is cut off."""
    floor = 1e-14 if spread < 10 else 30 * math.exp(constants.FAR - constants.LARGEST_EXPONENT)
    excess = (found.double() - truth).abs() - bound - floor
    assert float(excess.max()) <= 0


@every_path
@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0, 15.0])
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1e-1, 1.0, 10.0, 30.0])
def test_difference_keeps_its_digits(path, spread, size):
    """From changes that float32 could not see in gelu(u + d) to those that cross from one saturation to the other."""
    generator = torch.Generator().manual_seed(0)
    u = torch.empty(6, 40).uniform_(-spread, spread, generator=generator).to(dtype(path))
    change = torch.empty(4, 3, 40).uniform_(-size, size, generator=generator).to(dtype(path))
    d, before = change.double(), u.double()[1:5, None]
    truth = gelu(before + d) - gelu(before)
    as_it_is = torch.tensor([[0.0], [1.0], [0.0]], dtype=dtype(path)).repeat(1, 3)
    found = difference_(change, activate(u), 1, as_it_is, torch.zeros(40, dtype=dtype(path)))
    assert found is change
    assert_within(found, truth, PRECISION[path] * d.abs(), spread)


@every_path
@examples
@given(
    width=st.integers(1, 5),
    edits=st.integers(1, 4),
    hidden=st.integers(1, 37),
    first=st.integers(0, 3),
    size=st.sampled_from([1e-6, 1e-2, 1.0, 20.0]),
    spread=st.sampled_from([0.5, 4.0, 15.0]),
    seed=st.integers(0, 1000),
)
def test_difference_of_any_shape_and_statistics(path, width, edits, hidden, first, size, spread, seed):
    random = np.random.default_rng(seed)

    def drawn(scale, *shape):
        return torch.from_numpy(random.uniform(-scale, scale, shape)).to(dtype(path))

    u, change = drawn(spread, first + width + 2, hidden), drawn(size, width, edits, hidden)
    stretch, scale, moved, column = drawn(0.1, edits), drawn(2, edits), drawn(size, edits), drawn(1, hidden)
    before = u.double()[first : first + width, None]
    terms = (
        stretch.double()[:, None] * before,
        scale.double()[:, None] * change.double(),
        -moved.double()[:, None] * column.double(),
    )
    truth = gelu(before + sum(terms)) - gelu(before)
    given_sizes = sum(term.abs() for term in terms)
    found = difference_(change, activate(u), first, torch.stack([stretch, scale, moved]), column)
    assert_within(found, truth, 2 * PRECISION[path] * given_sizes, spread)


@every_path
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["change", "before", "stretch", "scale", "moved", "column"])
def test_no_number_gives_no_number(path, where, wrong):
    """Where something is no number its difference is none; elsewhere nothing changes."""
    generator = torch.Generator().manual_seed(1)
    values = {
        "change": torch.randn(4, 3, 5, generator=generator),
        "before": torch.randn(4, 5, generator=generator),
        **{name: torch.randn(3, generator=generator) for name in ("stretch", "scale", "moved")},
        "column": torch.randn(5, generator=generator),
    }
    right = computed(path, values)
    spoiled = {name: value.clone() for name, value in values.items()}
    spoiled[where].view(-1)[0] = wrong
    found = computed(path, spoiled)
    reached = {"change": np.s_[0, 0, 0], "before": np.s_[0, :, 0], "column": np.s_[:, :, 0]}.get(where, np.s_[:, 0])
    hit = torch.zeros(found.shape, dtype=torch.bool)
    hit[reached] = True
    if np.isnan(wrong):
        assert found[hit].isnan().all()
    elif where == "before":
        assert not found[hit].isfinite().any()
    else:
        # gelu(-inf) is 0: a change to it may be finite, and is then what it closes.
        finite = hit & found.isfinite()
        closed = -gelu(values["before"].double())[:, None].expand(found.shape)
        torch.testing.assert_close(found[finite].double(), closed[finite], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found[~hit], right[~hit], atol=0, rtol=0)


def computed(path, values):
    factors = torch.stack([values[name] for name in ("stretch", "scale", "moved")])
    return difference_(values["change"].clone(), activate(values["before"]), 0, factors, values["column"])


@every_path
def test_activated(path):
    u = torch.linspace(-15, 15, 301, dtype=torch.float64).to(dtype(path)).requires_grad_()
    value = torch.nn.functional.gelu(u, approximate="tanh")
    value.sum().backward()
    found, exact = activate(u.detach()), 1e-12 if path == DOUBLE else 2e-6
    torch.testing.assert_close(found.before * found.gate, value.detach(), atol=exact, rtol=exact)
    torch.testing.assert_close(found.derivative(), u.grad, atol=exact, rtol=exact)
    # 1 - gate with all its digits: at 15 it is far below the last digit of 1.
    assert found.shut.min() > 0
    torch.testing.assert_close(found.shut, found.gate.flip(0), atol=0, rtol=1e-5)


@every_path
@examples
@given(
    positions=st.integers(1, 12),
    edits=st.integers(1, 3),
    channels=st.integers(1, 19),
    dilation=st.integers(1, 16),
    offset=st.integers(-6, 6),
    width=st.integers(1, 14),
    seed=st.integers(0, 1000),
)
def test_convolved_with_sums_of_any_shape(path, positions, edits, channels, dilation, offset, width, seed):
    random = np.random.default_rng(seed)
    x, taps = random.normal(size=(positions, edits, channels)), random.normal(size=(3, channels))
    centred, low = random.normal(size=(width + 4, channels)), int(random.integers(0, 5))
    x, taps, centred = (torch.from_numpy(values).to(dtype(path)) for values in (x, taps, centred))
    rows, weights, reference = (values.double().numpy() for values in (x, taps, centred))
    truth = np.zeros((width, edits, channels))
    for q in range(width):
        for tap, reach in enumerate((-dilation, 0, dilation)):
            if 0 <= q + offset + reach < positions:
                truth[q] += weights[tap] * rows[q + offset + reach]
    terms = truth * (2 * reference[low : low + width, None] + truth)
    h, totals = convolved_with_sums(x, offset, taps, dilation, centred, (low, low + width))
    assert h.dtype == dtype(path) and totals.dtype == torch.float64
    exact = 1e-12 if path == DOUBLE else 2e-6
    np.testing.assert_allclose(h.double(), truth, rtol=0, atol=10 * exact)
    np.testing.assert_allclose(totals[0], truth.sum(axis=(0, 2)), rtol=0, atol=exact * (1 + np.abs(truth).sum()))
    np.testing.assert_allclose(totals[1], terms.sum(axis=(0, 2)), rtol=0, atol=exact * (1 + np.abs(terms).sum()))


@every_path
@pytest.mark.parametrize("dilation", [1, 3, 20])
def test_convolve_is_zero_beyond_both_ends(path, dilation):
    """Also where no tap but the middle one meets the sequence."""
    generator = torch.Generator().manual_seed(2)
    x, taps = (torch.randn(*shape, generator=generator).to(dtype(path)) for shape in ((11, 2, 5), (3, 5)))
    truth = torch.nn.functional.conv1d(
        x.double().permute(1, 2, 0), taps.double().T[:, None], padding=dilation, dilation=dilation, groups=5
    ).permute(2, 0, 1)
    found = convolve(x, taps, dilation)
    torch.testing.assert_close(found.double(), truth, atol=1e-5 if path != DOUBLE else 1e-13, rtol=0)


@every_path
def test_no_number_in_a_convolution_reaches_its_sums(path):
    x, taps, centred = torch.ones(5, 2, 3), torch.ones(3, 3), torch.ones(5, 3)
    x[2, 1, 0] = float("nan")
    h, totals = convolved_with_sums(x, 0, taps, 1, centred, (0, 5))
    assert h[1:4, 1, 0].isnan().all() and int(h.isnan().sum()) == 3
    assert totals.isnan().tolist() == [[False, True]] * 2

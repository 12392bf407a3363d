"""The weights as the windowed engine has them, and the profile head of windows, against the convolution written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cherimoya_assets.analysis.mutagenesis.windowed.general.network import profile_convolution, read_network
from cherimoya_assets.analysis.mutagenesis.windowed.kernels import full_precision
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import strong_model

WIDTH = 75


@pytest.mark.slow
@pytest.mark.parametrize("path", ["single", "double"])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 60),
    edits=st.integers(1, 3),
    outputs=st.integers(1, 3),
    length=st.integers(1, 90),
    first=st.integers(-100, 130),
    seed=st.integers(0, 100),
)
def test_the_profile_of_a_window_anywhere(path, rows, edits, outputs, length, first, seed):
    """It is added to what is there, inside the output alone."""
    dtype = torch.float64 if path == "double" else torch.float32
    module = strong_model(signal_groups=(outputs,), seed=seed).module
    network = read_network(module, dtype, "cpu")
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, edits, 8, generator=generator).to(dtype)
    logits = torch.randn(edits, outputs, length, generator=generator).to(dtype)
    expected = logits.double()
    for row in range(rows):
        for tap in range(WIDTH):
            # The tap before the middle sees what lies before its output.
            place = first + row + WIDTH // 2 - tap
            if 0 <= place < length:
                expected[:, :, place] += x[row].double() @ module.fconv.weight[:, :, tap].detach().double().T
    profile_convolution(network, x, first, logits)
    torch.testing.assert_close(logits.double(), expected, rtol=0, atol=1e-12 if path == "double" else 3e-5)


def test_weights_are_copies_of_their_sort():
    module = strong_model(controls=2, signal_groups=(1, 2), residual_scale=0.7).module
    network = read_network(module, torch.float64, "cpu")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    for weights in (network.stem, network.profile, network.counts, network.blocks[1].expand, network.blocks[2].taps):
        assert weights.dtype == torch.float64 and weights.abs().min() > 0
    assert (network.n_filters, network.n_hidden, network.signal_groups) == (8, 16, (1, 2))
    assert [block.dilation for block in network.blocks] == [1, 2, 4]


def test_full_precision_is_put_back():
    """What cherimoya sets on import, after an error too."""
    cudnn, set_precision = torch.backends.cudnn, torch.set_float32_matmul_precision

    def switches():
        return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic

    def used(error):
        with full_precision():
            inside.append(switches())
            raise error

    before, inside = switches(), []
    try:
        set_precision("high")
        cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = True, True, False
        with pytest.raises(ValueError, match="inside"):
            used(ValueError("inside"))
        assert inside == [("highest", False, False, True)]
        assert switches() == ("high", True, True, False)
    finally:
        set_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before[1:]

"""Batch sizes, against what torch's own allocator counts and against arithmetic on a pretended GPU."""

from __future__ import annotations

import pytest
import torch

from cherimoya_assets.analysis.memory import CPU_BATCH, MOST, PLANES, SHARE, forward_batch_size, plane_bytes
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets_tests.small_models import IN_WINDOW, bpnet_file, cherimoya_file, chrombpnet_file

GB = 2**30


@pytest.fixture(scope="module", params=[cherimoya_file, bpnet_file, chrombpnet_file], ids=lambda make: make.__name__)
def model(request, tmp_path_factory):
    return load_model(request.param(tmp_path_factory.mktemp("models")))


@pytest.fixture
def pretend_gpu(monkeypatch):
    """Sets free, reserved and allocated bytes of cuda:1; any other device has none."""

    def pretend(free: int, reserved: int = 0, allocated: int = 0) -> None:
        numbers = {"memory_reserved": reserved, "memory_allocated": allocated, "mem_get_info": (free, 80 * GB)}
        for name, number in numbers.items():
            nothing = (0, 0) if name == "mem_get_info" else 0
            monkeypatch.setattr(
                torch.cuda, name, lambda device, n=number, none=nothing: n if device == "cuda:1" else none
            )

    return pretend


def allocator_peak(run) -> int:
    """The most bytes held at once beyond what was held before, counted by torch's allocator."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def test_a_plane_is_one_float_for_each_position_and_filter_of_the_widest_layer(tmp_path):
    # Cherimoya's 8 filters are widened to 16 inside each block; BPNet has 8 throughout.
    assert plane_bytes(load_model(cherimoya_file(tmp_path)).module, 100) == 100 * 16 * 4
    assert plane_bytes(load_model(bpnet_file(tmp_path)).module, 100) == 100 * 8 * 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cherimoya", "bpnet", "chrombpnet"])
def test_a_forward_pass_of_usual_width_holds_no_more_planes_than_the_estimate(kind):
    from bpnetlite.bpnet import BPNet
    from bpnetlite.chrombpnet import ChromBPNet
    from cherimoya import Cherimoya

    def narrow():
        return BPNet(n_filters=64, n_layers=3, n_outputs=1, n_control_tracks=0, verbose=False)

    module = {
        "cherimoya": lambda: Cherimoya(n_filters=128, n_layers=3, compile=False, random_state=0),
        "bpnet": narrow,
        "chrombpnet": lambda: ChromBPNet(narrow(), narrow()),
    }[kind]().eval()
    X = torch.zeros(4, 4, 1000)
    X[:, 0] = 1
    with torch.no_grad():
        module(X)
        peak = allocator_peak(lambda: module(X))
    # At least two: what a layer reads and what it writes.
    assert 2 <= peak / (len(X) * plane_bytes(module, X.shape[-1])) <= PLANES


def test_a_cpu_takes_a_fixed_batch(model):
    assert forward_batch_size(model.module, IN_WINDOW, "cpu") == CPU_BATCH
    assert model.batch_size(10_000_000, "cpu") == CPU_BATCH


@pytest.mark.parametrize("free", [1 * GB, 8 * GB, 80 * GB])
@pytest.mark.parametrize("length", [2114, 200_000, 5_000_000])
def test_a_gpu_takes_the_largest_power_of_two_that_fits(model, pretend_gpu, free, length):
    pretend_gpu(free)
    need = PLANES * plane_bytes(model.module, length)
    fitting = [n for n in (2**k for k in range(30)) if n * need <= SHARE * free and n <= MOST]
    assert model.batch_size(length, "cuda:1") == max(fitting, default=1)


def test_the_cases_above_reach_both_ends(model, pretend_gpu):
    pretend_gpu(GB)
    assert model.batch_size(2114, "cuda:1") == MOST
    assert 1 < model.batch_size(200_000, "cuda:1") < MOST
    assert model.batch_size(5_000_000, "cuda:1") == 1


def test_what_torch_holds_without_using_it_counts_as_free(model, pretend_gpu):
    pretend_gpu(GB)
    alone = model.batch_size(500_000, "cuda:1")
    pretend_gpu(0, reserved=3 * GB, allocated=2 * GB)
    assert model.batch_size(500_000, "cuda:1") == alone > 1
    pretend_gpu(0, reserved=3 * GB, allocated=3 * GB)
    assert model.batch_size(500_000, "cuda:1") == 1

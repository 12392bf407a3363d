"""Devices: what each word takes on machines with no, one and several GPUs, all of them pretended."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace
from uuid import UUID

import numpy as np
import pytest
import torch

from cherimoya_assets.errors import DeviceError
from cherimoya_assets.resources import leases
from cherimoya_assets.resources.gpu import GPUResource, physical_device, resolve_device
from cherimoya_assets_tests.small_models import cherimoya_file
from cherimoya_assets_tests.tiny_experiment import tiny_experiment


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Pretends this many GPUs, named as `uuid` says, of which CUDA_VISIBLE_DEVICES shows some as the driver does."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(leases, "POLL_S", 0.01)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def with_gpus(n: int) -> None:
        def visible() -> list[int]:
            shown = os.environ.get("CUDA_VISIBLE_DEVICES")
            return list(range(n)) if shown is None else [int(index) for index in shown.split(",") if index]

        def properties(device: str) -> SimpleNamespace:
            return SimpleNamespace(uuid=uuid(visible()[int(device.partition(":")[2])]))

        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(visible()))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(visible()))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Pretended {device}")
        monkeypatch.setattr(torch.cuda, "get_device_properties", properties)

    return with_gpus


def uuid(physical: int) -> UUID:
    return UUID(int=physical)


def leased(requested: str, log=lambda _: None):
    """A lease that is held until the test ends it."""
    return GPUResource().lease(requested, log)


@pytest.mark.parametrize(
    ("gpus", "requested", "chosen"),
    [
        (0, "cpu", "cpu"),
        (0, "auto", "cpu"),
        (1, "auto", "cuda:0"),
        (1, "cuda", "cuda:0"),
        (1, "cuda:0", "cuda:0"),
        (1, "cpu", "cpu"),
        (4, "auto", "cuda:0"),
        (4, "cuda", "cuda:0"),
        (4, "cuda:3", "cuda:3"),
    ],
)
def test_a_word_takes_its_device(machine, gpus, requested, chosen):
    machine(gpus)
    assert resolve_device(requested, lambda _: None) == chosen
    with leased(requested) as device:
        assert device == chosen


@pytest.mark.parametrize(
    ("gpus", "requested", "sentence"),
    [
        (0, "cuda", r"^device cuda was requested, but no GPU is available to PyTorch \d.*set device to auto or cpu\.$"),
        (0, "cuda:2", r"^device cuda:2 was requested, but no GPU is available"),
        (1, "cuda:1", r"^device cuda:1 was requested, but there are 1 GPU\(s\), cuda:0 to cuda:0\. Choose"),
        (4, "cuda:4", r"^device cuda:4 was requested, but there are 4 GPU\(s\), cuda:0 to cuda:3\. Choose"),
    ],
)
def test_a_gpu_that_is_not_there_is_one_sentence(machine, gpus, requested, sentence):
    machine(gpus)
    with pytest.raises(DeviceError, match=sentence) as caught:
        resolve_device(requested, lambda _: None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("gpus", "requested", "said"),
    [
        (0, "auto", ["device auto took the CPU: no GPU is available to PyTorch"]),
        (2, "auto", ["device auto took cuda:0 (Pretended cuda:0)"]),
        (2, "cuda:1", ["device cuda:1 is cuda:1 (Pretended cuda:1)"]),
        (2, "cpu", []),
    ],
)
def test_the_log_says_what_was_taken(machine, gpus, requested, said):
    machine(gpus)
    log: list[str] = []
    resolve_device(requested, log.append)
    assert log == said


def test_the_resources_device_stands_above_the_experiments(machine):
    machine(2)
    with GPUResource(device="cuda:1").lease("cpu", lambda _: None) as device:
        assert device == "cuda:1"
    with GPUResource(device="cpu").lease("cuda", lambda _: None) as device:
        assert device == "cpu"


@pytest.mark.parametrize("requested", ["auto", "cuda"])
def test_steps_at_the_same_time_have_a_device_each(machine, requested):
    machine(3)
    with leased(requested) as first, leased("cuda:1") as second, leased(requested) as third:
        assert (first, second, third) == ("cuda:0", "cuda:1", "cuda:2")
    with leased(requested) as again:
        assert again == "cuda:0"


def test_the_log_says_which_device_is_taken_instead(machine):
    machine(2)
    said: list[str] = []
    with leased("cuda"), leased("cuda", said.append):
        assert said == ["device cuda took cuda:1 (Pretended cuda:1): others before it are in use"]


def test_a_certain_device_is_waited_for_while_others_are_free(machine):
    machine(2)

    def interrupt(sentence):
        if sentence.startswith("waiting"):
            raise KeyboardInterrupt(sentence)

    resource = GPUResource()
    resource.setup_for_execution(SimpleNamespace(run=SimpleNamespace(run_id="the-run-that-has-it")))
    with (
        resource.lease("cuda:1", print),
        pytest.raises(KeyboardInterrupt, match=rf"held by pid {os.getpid()}, run the-run-that-has-it, since"),
        leased("cuda:1", interrupt),
    ):
        pytest.fail("two have it")


def test_a_cpu_is_shared(machine):
    machine(0)
    with leased("cpu") as first, leased("auto") as second:
        assert (first, second) == ("cpu", "cpu")


def test_only_visible_devices_are_leased_and_processes_agree_which_they_are(machine, monkeypatch, tmp_path):
    machine(3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with leased("cuda") as first, leased("cuda") as second:
        assert (first, second) == ("cuda:0", "cuda:1")
        (folder,) = tmp_path.glob("cherimoya_assets-*")
        assert {path.name for path in folder.glob("*.lease")} == {f"{uuid(1)}.lease", f"{uuid(2)}.lease"}
        # Another process that sees them in another order, and one device more.
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1,0")
        with leased("cuda") as third:
            assert third == "cuda:2"


@pytest.mark.parametrize(("visible", "name"), [(None, "1"), ("4,6", "6"), ("GPU-x,GPU-y", "GPU-y")])
def test_a_pytorch_that_does_not_tell_names_a_device_as_the_variable_does(monkeypatch, visible, name):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert physical_device("cuda:1") == name


def test_cuda_without_a_gpu_fails_before_a_model_is_opened(machine, tmp_path, monkeypatch):
    """The asset itself: not its check in advance, but what a run does when the GPU has gone since."""
    import dagster as dg

    from cherimoya_assets.analysis.loci import place_windows, read_loci
    from cherimoya_assets.analysis.one_hot import SequenceBlock
    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets.assets.made import assets_of
    from cherimoya_assets.experiment import read_experiment
    from cherimoya_assets.home import Home

    machine(0)
    monkeypatch.setattr(GPUResource, "load", lambda *_: pytest.fail("a model was opened"))
    experiment = read_experiment(tiny_experiment(tmp_path, {"device": "cuda"}))
    lineage = ExperimentLineage(experiment, Home(tmp_path / "home"))
    (asset,) = assets_of(lineage, lineage.steps["attributions"])
    context = dg.build_asset_context(partition_key="chrA")
    nothing = SequenceBlock("chrA", np.zeros((0, 4, 150), np.int8), place_windows(read_loci([]), {}, 150, None, []))
    with pytest.raises(dg.Failure, match="device cuda was requested, but no GPU is available"):
        list(asset(context, gpu=GPUResource(), sequences=nothing))


def test_a_model_is_loaded_onto_the_device(tmp_path):
    model = GPUResource().load(cherimoya_file(tmp_path), "cpu")
    assert {parameter.device.type for parameter in model.module.parameters()} == {"cpu"}


def test_memory_is_the_peak_of_that_device_and_nothing_on_a_cpu(monkeypatch):
    peaks = {"cuda:0": 0, "cuda:1": 3 * 2**20}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", peaks.__getitem__)
    assert GPUResource().memory("cuda:1") == {"gpu_peak_mb": 3.0}
    assert GPUResource().memory("cpu") == {}


@pytest.mark.slow
def test_importing_the_code_location_does_not_touch_cuda_or_torch():
    # A process that has touched CUDA cannot be forked, and torch takes seconds to import.
    code = "import sys, cherimoya_assets.resources.gpu; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"

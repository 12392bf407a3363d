"""A device whose memory ends: the batch is halved for good, the result is the same, and the log says it.

An error of the device is raised where memory would end; a CPU has none of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.loci import KEPT, place_windows
from cherimoya_assets.analysis.marginalization import draw_backgrounds, marginalization_effects
from cherimoya_assets.analysis.memory import Batch
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.mutagenesis import cherimoya_engine
from cherimoya_assets.analysis.mutagenesis.windowed.general import kernels as general
from cherimoya_assets.errors import DeviceError
from cherimoya_assets_tests.analysis.test_attributions import HEADS, attributed, block_of
from cherimoya_assets_tests.small_models import IN_WINDOW, bpnet_file, cherimoya_file

BATCH, MOST = 16, 5
ONE_SENTENCE = (
    r"^cpu: does not have enough free memory for even one sequence at a time \(no more\)\. Free memory on it, or set "
)

# bpnet-lite has an elementwise rule for its profile head, and tangermeme says at each call that it does not add up.
pytestmark = pytest.mark.filterwarnings("ignore:Convergence deltas are:RuntimeWarning")


@contextmanager
def model_limit(model, most: int, unit: int):
    """The model raises where more than `most` units of so many sequences come at once; yields the numbers that came."""
    sizes = []

    def enter(module, inputs) -> None:
        sizes.append(len(inputs[0]) // unit)
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("no more")

    handle = model.module.register_forward_pre_hook(enter)
    try:
        yield sizes
    finally:
        handle.remove()


@contextmanager
def sweep_limit(most: int):
    """The same of the windowed engine, in edits."""
    sizes, sweep = [], general.sweep

    def limited(network, reference, outside, edits, *, heads):
        sizes.append(len(edits.change))
        if len(edits.change) > most:
            raise torch.OutOfMemoryError("no more")
        return sweep(network, reference, outside, edits, heads=heads)

    general.sweep = limited
    try:
        yield sizes
    finally:
        general.sweep = sweep


@pytest.fixture(autouse=True)
def kernels_of_a_gpu(monkeypatch):
    """The compiled kernels hold what fits a CPU's cache; a GPU's, which run anywhere, have a batch."""

    def kernels_for(module, device, batch):
        return general.GeneralKernels(module, torch.float32, device, batch)

    monkeypatch.setattr(cherimoya_engine, "kernels_for", kernels_for)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {"cherimoya": load_model(cherimoya_file(folder)), "bpnet": load_model(bpnet_file(folder))}


@pytest.fixture(scope="module")
def effects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genome")
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 2000))
    (folder / "genome.fa").write_text(f">chrA\n{bases}\n")
    genome = open_genome(folder / "genome.fa", folder / "cache")
    loci = pd.DataFrame({"chrom": "chrA", "start": [300, 900, 1500], "end": [340, 940, 1540]})
    loci = loci.assign(locus_id=[f"chrA:{s}" for s in loci["start"]], source=0)
    placed = place_windows(loci, genome.chrom_sizes, IN_WINDOW, None, ("chrA",))
    assert (placed["status"] == KEPT).all()
    backgrounds = draw_backgrounds(genome, placed, IN_WINDOW, n_loci=3, shuffle=False, random_state=0)
    random = np.random.default_rng(1)
    motifs = {f"m{k}": random.dirichlet(np.ones(4), 6).T for k in range(60)}

    def compute(model, tolerance: float, batch_size: int | None) -> dict[str, np.ndarray]:
        found = marginalization_effects(
            {"one": model},
            genome,
            backgrounds,
            motifs,
            chrom="chrA",
            in_window=IN_WINDOW,
            tolerance=tolerance,
            batch_size=batch_size,
            device="cpu",
            dtype="float32",
        )
        return {
            "effects": found.table[["before", "after"]].to_numpy(),
            "profile": found.mean_profile_after(),
        }

    return compute


@pytest.fixture
def compute(request, models, effects) -> tuple[Callable[[int | None], dict[str, np.ndarray]], Callable]:
    """A computation by batch size, and what limits the memory of its device."""

    def scores(kind: str, **arguments):
        def run(batch_size: int | None):
            blocks, _ = attributed({"one": models[kind]}, block_of(3), batch_size=batch_size, **arguments)
            return {head: blocks[head].scores for head in HEADS}

        return run

    def limit_of(kind: str, unit: int = 1):
        return lambda most: model_limit(models[kind], most, unit)

    dense = {"algorithm": "saturation_mutagenesis", "tolerance": 0.0}
    # The model sees a sequence and a reference of each pair.
    shap = {"algorithm": "deep_lift_shap", "fast": False, "n_shuffles": BATCH}
    return {
        "dense": (scores("cherimoya", **dense), limit_of("cherimoya")),
        "dense, BPNet": (scores("bpnet", **dense), limit_of("bpnet")),
        "windowed": (scores("cherimoya", algorithm="saturation_mutagenesis", attr_window=24), sweep_limit),
        "deep_lift_shap": (scores("cherimoya", **shap), limit_of("cherimoya", 2)),
        "deep_lift_shap, BPNet": (scores("bpnet", **shap), limit_of("bpnet", 2)),
        "marginalization": (lambda size: effects(models["bpnet"], 0.0, size), limit_of("bpnet")),
        "windowed marginalization": (lambda size: effects(models["cherimoya"], 5e-4, size), sweep_limit),
    }[request.param]


WAYS = [
    "dense",
    "dense, BPNet",
    "windowed",
    "deep_lift_shap",
    "deep_lift_shap, BPNet",
    "marginalization",
    "windowed marginalization",
]


@pytest.mark.parametrize("compute", WAYS, indirect=True)
def test_the_batch_is_halved_the_result_is_the_same_and_the_log_says_it(compute, caplog):
    run, limit = compute
    expected = run(BATCH)
    with limit(MOST) as sizes:
        found = run(BATCH)
    too_large = [size for size in sizes if size > MOST]
    assert too_large
    # A size that was too large is not tried again, by no locus; and what fits is used.
    assert all(b <= (a + 1) // 2 for a, b in pairwise(too_large))
    assert max(size for size in sizes if size <= MOST) > MOST // 2
    assert [r.levelname for r in caplog.records] == ["WARNING"] * len(too_large)
    assert caplog.records[0].name == "cherimoya_assets.analysis.memory"
    first = too_large[0]
    assert caplog.messages[0] == f"cpu ran out of memory with {first} at once; continuing with {first // 2}"
    for name, values in expected.items():
        assert np.abs(values).max() > 0
        # Another batch rounds otherwise; nothing else may differ, and nothing be lost, doubled or moved.
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-4 * np.abs(values).max())


@pytest.mark.parametrize("compute", WAYS, indirect=True)
def test_one_that_does_not_fit_is_one_sentence(compute):
    run, limit = compute
    with limit(0) as sizes, pytest.raises(DeviceError, match=ONE_SENTENCE) as caught:
        run(BATCH)
    assert 1 in sizes
    assert "\n" not in str(caught.value)


def test_the_fast_path_of_deep_lift_says_what_to_set(models, monkeypatch):
    from cherimoya._deep_lift_shap_engine import Engine

    def run(self, *arguments, **keywords):
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(Engine, "run", run)
    with pytest.raises(DeviceError, match=r"^cpu: .* one sequence with its 3 references at once\. Set fast to false"):
        attributed({"one": models["cherimoya"]}, block_of(1), algorithm="deep_lift_shap")


def test_memory_that_ends_beside_the_batch_is_the_same_sentence(models, monkeypatch):
    """The pass over the unedited sequence, and the model of the outside, have no batch."""
    for name in ("reference_pass", "with_nodes"):
        with monkeypatch.context() as patch:

            def more(*arguments, **keywords):
                raise torch.OutOfMemoryError("no more\nand a table of what is taken")

            patch.setattr(general, name, more)
            with pytest.raises(DeviceError, match=ONE_SENTENCE):
                attributed(
                    {"one": models["cherimoya"]}, block_of(1), algorithm="saturation_mutagenesis", attr_window=24
                )


def test_another_error_is_not_taken_for_it():
    batch = Batch(8)
    with pytest.raises(RuntimeError, match="something else"):
        batch.run(lambda size: (_ for _ in ()).throw(RuntimeError("something else")), "cpu")
    assert batch.size == 8

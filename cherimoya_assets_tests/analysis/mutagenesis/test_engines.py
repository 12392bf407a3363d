"""Which engine a model gets: the only place that chooses."""

from __future__ import annotations

from pathlib import Path

import pytest

from cherimoya_assets.analysis.bpnet_model import BPNetModel, ChromBPNetModel
from cherimoya_assets.analysis.mutagenesis.bpnet_engine import BPNetEngine
from cherimoya_assets.analysis.mutagenesis.cherimoya_engine import CherimoyaEngine
from cherimoya_assets.analysis.mutagenesis.engines import engine_for
from cherimoya_assets.analysis.mutagenesis.tangermeme_engine import TangermemeEngine
from cherimoya_assets_tests.analysis.mutagenesis.convolutional.test_network import bpnet, chrombpnet
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import strong_model

OF_BPNET = BPNetModel(bpnet(), (2,), 0, 49, Path("bpnet"), "")
OF_CHROMBPNET = ChromBPNetModel(chrombpnet({}, {}), (1,), 0, 49, Path("chrombpnet"), "")


@pytest.mark.parametrize(
    ("model", "arguments", "engine"),
    [
        (strong_model(), {}, CherimoyaEngine),
        (strong_model(n_layers=0), {}, TangermemeEngine),
        (strong_model(), {"tolerance": 0.0}, TangermemeEngine),
        (strong_model(), {"dtype": "bfloat16"}, TangermemeEngine),
        (OF_BPNET, {}, BPNetEngine),
        (OF_CHROMBPNET, {}, BPNetEngine),
        (OF_BPNET, {"tolerance": 0.0}, TangermemeEngine),
        (OF_BPNET, {"dtype": "float16"}, TangermemeEngine),
        # A batch is given, so that no device is asked for its memory.
        (OF_BPNET, {"device": "cuda", "batch_size": 8}, TangermemeEngine),
    ],
)
def test_the_engine_is_the_one_for_model_precision_and_device(model, arguments, engine):
    assert type(engine_for(model, length=200, **arguments)) is engine


def test_an_engine_says_its_name_its_version_and_whether_threads_matter():
    """They are part of what a chunk is kept under."""
    found = {
        engine_for(model, length=200, **arguments).__class__: (engine.name, engine.version, engine.alone)
        for model, arguments in ((strong_model(), {}), (OF_BPNET, {}), (OF_BPNET, {"tolerance": 0.0}))
        for engine in [engine_for(model, length=200, **arguments)]
    }
    assert found == {
        CherimoyaEngine: ("windowed", 2, True),
        BPNetEngine: ("windowed", 1, True),
        TangermemeEngine: ("tangermeme", 2, False),
    }

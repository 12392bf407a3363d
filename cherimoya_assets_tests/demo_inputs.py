"""The demo's real genome and trained model, opened for tests that need no experiment."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cherimoya_assets.analysis.genome import Genome, open_genome
from cherimoya_assets.analysis.models import SequenceModel, load_model
from cherimoya_assets.experiment.model import ModelFile
from cherimoya_assets_tests.narrow_demo import DEMO

IN_WINDOW = 718


def demo_genome(folder: Path) -> Genome:
    """The yeast genome, decompressed into `folder`."""
    return open_genome(DEMO / "sacCer3.fa.gz", folder)


@cache
def demo_model() -> SequenceModel:
    """The Cherimoya that was trained on the demo's ATAC-seq."""
    return load_model(ModelFile(path=DEMO / "model.torch"))

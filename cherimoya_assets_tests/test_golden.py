"""Nothing that a stored value stands on changes unseen: the golden texts are those of `golden.py`, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.build import stages
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets_tests import golden
from cherimoya_assets_tests.narrow_demo import materialize_everything
from cherimoya_assets_tests.test_build import SHAPES, defs_of, lineage_of
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

TEXTS = Path(__file__).with_name("golden")


def compare(name: str, found: str) -> None:
    """With the text that is kept; where there is none, it is written, to be read and committed."""
    kept = TEXTS / f"{name.replace(' ', '_')}.txt"
    if not kept.exists():
        TEXTS.mkdir(exist_ok=True)
        kept.write_text(found)
        pytest.fail(f"{kept.name} was not there and is written anew. Read it and commit it.")
    assert found == kept.read_text(), (
        f"what stored values stand on changed: homes that exist are out of date now. If that is meant, say in the "
        f"changelog what is recomputed, delete golden/{kept.name}, run this test once, and commit it."
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_code_versions_sources_and_jobs(shape, tmp_path):
    lineage = lineage_of(tmp_path, SHAPES[shape])
    compare(shape, golden.graph(lineage, defs_of(lineage)))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["saturation_mutagenesis", "deep_lift_shap"])
def test_stamps_and_files(algorithm, tmp_path):
    (tmp_path / "x.bed").write_text("chrA\t280\t300\n")
    changes = {"output": ["counts", "profile"], "exclusion_lists": ["x.bed"], "algorithm": algorithm}
    file = tiny_experiment(tmp_path, changes)
    materialize_everything(file, tmp_path / "home")
    lineage = ExperimentLineage(read_experiment(file), Home(tmp_path / "home"))
    compare(f"stored by {algorithm}", golden.store(lineage, stored(lineage)))


def stored(lineage: ExperimentLineage):
    """Every stored partition with its manifest, in the order of the stages."""
    for stage in stages(lineage):
        for key in stage.keys:
            for partition in lineage.chroms if stage.partitioned else (None,):
                manifest = lineage.store.manifest(tuple(key.path), partition)
                assert manifest is not None
                yield key, partition, manifest

"""The attribution asset: every fold or none, one head or both. Its checks are broken one by one in test_checks.py."""

from __future__ import annotations

import dagster as dg
import numpy as np
import pytest

from cherimoya_assets.analysis.mutagenesis import saturation_mutagenesis
from cherimoya_assets.analysis.mutagenesis.cherimoya_engine import CherimoyaEngine
from cherimoya_assets.analysis.mutagenesis.method import SaturationMutagenesis
from cherimoya_assets.analysis.one_hot import one_hot_sequences
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.one_hot_sequences import placed_loci
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets_tests.assets.stored_experiment import put
from cherimoya_assets_tests.small_models import cherimoya_file
from cherimoya_assets_tests.tiny_experiment import ATTR_WINDOW, IN_WINDOW, tiny_experiment

pytestmark = pytest.mark.slow

CHROM = "chrA"
CHECKS = {"rows_match_sequences", "finite", "centred", "folds_complete", "matches_dense"}


@pytest.fixture
def lineage(tmp_path) -> ExperimentLineage:
    """The tiny experiment with two folds and both heads; the sequences of one chromosome are stored."""
    other = cherimoya_file(tmp_path, seed=3).path.name
    changes = {"model": {"a": "model.torch", "b": other}, "output": ["counts", "profile"]}
    found = ExperimentLineage(read_experiment(tiny_experiment(tmp_path, changes)), Home(tmp_path / "home"))
    put(found, ("one_hot_sequences",), sequences(found), CHROM)
    return found


def sequences(lineage):
    loci = placed_loci(lineage)
    return one_hot_sequences(lineage.genome, loci[loci["chrom"] == CHROM], CHROM, IN_WINDOW)


def materialize(lineage, *heads: str) -> dg.ExecuteInProcessResult:
    defs = build_defs([lineage.experiment], lineage.home.root)
    return dg.materialize(
        list(defs.assets),
        selection=[lineage.key(head, "attributions") for head in heads],
        resources=dict(defs.resources),
        partition_key=CHROM,
    )


def stored(lineage, head: str) -> bool:
    return lineage.store.manifest(tuple(lineage.key(head, "attributions").path), CHROM) is not None


def test_what_is_stored_is_the_mean_over_both_folds(lineage):
    from cherimoya_assets.analysis.models import load_model

    result = materialize(lineage, "counts", "profile")
    materialized = {event.asset_key: event for event in result.asset_materializations_for_node("tiny__attributions")}
    block, models = sequences(lineage), [load_model(file) for file in lineage.experiment.model.values()]
    start = IN_WINDOW // 2 - ATTR_WINDOW // 2
    each = [saturation_mutagenesis(model, block.one_hot, start, start + ATTR_WINDOW) for model in models]
    for head in lineage.heads:
        key = lineage.key(head, "attributions")
        expected = np.mean([fold.scores[head] for fold in each], axis=0, dtype=np.float64).astype(np.float32)
        np.testing.assert_array_equal(lineage.store.load(tuple(key.path), CHROM).scores, expected)
        assert np.abs(expected).max() > 0
        assert materialized[key].metadata["folds"].value == 2
        assert set(materialized[key].metadata["report"].value["folds"]) == {"a", "b"}
    assert {e.check_name for e in result.get_asset_check_evaluations() if e.passed} == CHECKS


def test_a_missing_fold_fails_before_anything_is_computed(lineage, monkeypatch):
    monkeypatch.setattr(SaturationMutagenesis, "engine", lambda *_, **__: pytest.fail("something was computed"))
    missing = lineage.experiment.model["b"].path
    missing.unlink()
    with pytest.raises(dg.Failure, match=rf"{missing.name}: cannot be read \(No such file or directory\)"):
        materialize(lineage, "counts", "profile")
    assert not stored(lineage, "counts") and not stored(lineage, "profile")


def test_one_head_alone_is_computed_and_stored_alone(lineage, monkeypatch):
    heads, each_locus = [], CherimoyaEngine.each_locus

    def listening(engine, X, asked, stretch):
        heads.append(asked.outputs)
        return each_locus(engine, X, asked, stretch)

    monkeypatch.setattr(CherimoyaEngine, "each_locus", listening)
    materialize(lineage, "profile")
    assert heads == [("profile",), ("profile",)]
    assert (stored(lineage, "counts"), stored(lineage, "profile")) == (False, True)


def test_deep_lift_shap_is_not_asked_what_only_mutagenesis_can_answer(tmp_path):
    experiment = read_experiment(tiny_experiment(tmp_path, {"algorithm": "deep_lift_shap"}))
    lineage = ExperimentLineage(experiment, Home(tmp_path / "home"))
    specs = lineage.check_specs(lineage.steps["attributions"], lineage.key("counts", "attributions"))
    assert {spec.name for spec in specs} == CHECKS - {"centred", "matches_dense"}

"""A method of attribution that is one module is everywhere that methods are: file, lineage, drift, checks, report."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.cli.init import template
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.cli.test_drift import change, drift
from cherimoya_assets_tests.third_method import IntegratedGradients, add_method
from cherimoya_assets_tests.tiny_experiment import ATTR_WINDOW, IN_WINDOW, tiny_experiment

pytestmark = pytest.mark.slow

ALGORITHM = {"algorithm": "integrated_gradients", "n_points": 1}
STEP = "attributions"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The tiny experiment with its attributions by the third method, and what the command said."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_method(monkeypatch)
        file = tiny_experiment(tmp_path_factory.mktemp("third"), ALGORITHM)
        yield file, command("run", file)


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    add_method(monkeypatch)


def lineage_of(file) -> ExperimentLineage:
    return ExperimentLineage(read_experiment(file), Home(file.parent / "cherimoya_home"))


def test_its_scores_are_stored_and_are_those_of_autograd(made):
    file, said = made
    assert said.code == 0, said
    lineage = lineage_of(file)
    block = lineage.store.load(("tiny", "counts", STEP), "chrA")
    sequences = lineage.store.load(("tiny", "one_hot_sequences"), "chrA").one_hot
    (model,) = (load_model(one) for one in lineage.experiment.model.values())
    X = torch.from_numpy(sequences).float().requires_grad_()
    model.counts_wrapper(0)(X).sum().backward()
    left = (IN_WINDOW - ATTR_WINDOW) // 2
    gradients = X.grad.numpy()[:, :, left : left + ATTR_WINDOW]
    expected = gradients - gradients.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(block.scores, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected).max() > 0


def test_the_file_to_fill_in_shows_its_parameters():
    lines = template().splitlines()
    there = lines.index("# of integrated_gradients:")
    assert lines[there : there + 3] == ["# of integrated_gradients:", "# n_points: 2", "# n_messages: 1"]
    assert "or deep_lift_shap or integrated_gradients" in template()


def test_the_stamp_names_it_with_what_decides_its_numbers(made):
    file, _ = made
    parameters = lineage_of(file).store.manifest(("tiny", "counts", STEP), "chrA").stamp.parameters
    assert parameters.pop("report")["algorithm"] == "integrated_gradients"
    assert parameters == {
        "algorithm": "integrated_gradients",
        "attr_window": ATTR_WINDOW,
        "group": 0,
        "dtype": "float32",
        "n_points": 1,
        "head": "counts",
    }


def test_its_checks_are_the_lineages(made):
    lineage = lineage_of(made[0])
    specs = lineage.check_specs(lineage.steps[STEP], lineage.key("counts", STEP))
    assert {spec.name for spec in specs} == {"rows_match_sequences", "finite", "folds_complete", "some_gradient"}


def test_drift_follows_its_parameters_and_not_what_decides_nothing(made):
    file, _ = made
    assert drift(file) == {}
    text = file.read_text()
    try:
        change(file, n_messages=5)
        assert drift(file) == {}
        change(file, n_points=3)
        assert drift(file)[f"counts/{STEP}", "chrA"] == "n_points is 3, was 1"
    finally:
        file.write_text(text)


def test_the_report_names_it(made):
    page = next((made[0].parent / "cherimoya_home").rglob("experiment.html")).read_text()
    assert f"integrated gradients over the central {ATTR_WINDOW} bp" in page


def test_what_it_cannot_do_is_said_before_any_work(tmp_path):
    said = command("check", tiny_experiment(tmp_path, {**ALGORITHM, "dtype": "bfloat16"}))
    assert said.code == 2
    assert "model.torch: integrated gradients are computed in float32. Set dtype to float32." in said.out + said.err


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_points": 0}, "`n_points`: Input should be greater than 0, found 0"),
        ({"n_points": "two"}, "`n_points`: a number is needed, not the text 'two'"),
        ({"n_point": 2}, "unknown key `n_point`. Did you mean `n_points`?"),
    ],
)
def test_its_parameters_are_read_strictly(tmp_path, changes, sentence):
    said = command("check", tiny_experiment(tmp_path, {"algorithm": IntegratedGradients.name, **changes}))
    assert said.code == 2
    assert sentence in said.out + said.err

"""The preflight: every problem of an experiment at once, by looking, and by one locus that each fold predicts."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.sequence_model import SequenceModel
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.preflight import check_experiment
from cherimoya_assets_tests.bad_inputs import BAD_INPUTS, ODD_BUT_VALID, BadInput
from cherimoya_assets_tests.small_models import (
    NamedFile,
    basepairnet_file,
    bpnet_file,
    cherimoya_file,
    chrombpnet_file,
)
from cherimoya_assets_tests.tiny_experiment import IN_WINDOW, tiny_experiment

pytestmark = pytest.mark.usefixtures("only_one_locus")


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=str)
def test_a_bad_input_gets_its_one_sentence(bad: BadInput, tmp_path):
    experiment = tiny_experiment(tmp_path)
    bad.damage(tmp_path)
    problems = check_experiment(experiment, tmp_path / "cache")
    matching = [problem for problem in problems if re.search(bad.sentence, problem)]
    assert len(matching) == 1, problems
    assert all("\n" not in problem for problem in problems)
    assert not (tmp_path / "EXECUTED").exists()


@pytest.mark.parametrize(("name", "damage"), ODD_BUT_VALID, ids=[name for name, _ in ODD_BUT_VALID])
def test_what_is_odd_but_valid_passes(name, damage, tmp_path):
    experiment = tiny_experiment(tmp_path)
    damage(tmp_path)
    assert check_experiment(experiment, tmp_path / "cache") == []


def test_the_demo_passes(tmp_path):
    assert check_experiment(DEMO_EXPERIMENT, tmp_path / "cache") == []


def folds(folder, *files) -> dict[str, object]:
    """The `model` of an experiment with these files of `small_models`."""
    described = ({"path": str(f.path), "kind": f.kind, "trusted": f.trusted, "sha256": f.sha256} for f in files)
    return {
        f"fold_{number}": {key: value for key, value in one.items() if value is not None}
        for number, one in enumerate(described)
    }


def test_each_fold_predicts_one_real_locus(tmp_path, only_one_locus):
    files = [cherimoya_file(tmp_path, seed=seed) for seed in (0, 1)]
    experiment = tiny_experiment(tmp_path, {"model": folds(tmp_path, *files)})
    assert check_experiment(experiment, tmp_path / "cache") == []
    assert only_one_locus == [(file.path.name, (1, 4, IN_WINDOW)) for file in files]


def test_the_locus_is_the_first_without_an_unknown_base(tmp_path, monkeypatch):
    experiment = tiny_experiment(tmp_path)
    text = (tmp_path / "genome.fa").read_text()
    sequence = "".join(line for line in text.split(">")[1].splitlines()[1:])
    # The window of the first locus, [245, 395), loses a base; that of the second is [845, 995).
    spoiled = sequence[:300] + "N" + sequence[301:]
    (tmp_path / "genome.fa").write_text(f">chrA\n{spoiled}\n" + ">" + text.split(">", 2)[2])
    asked = []
    monkeypatch.setattr(SequenceModel, "check_prediction", lambda self, X, dtype: asked.append((X, dtype)))
    assert check_experiment(experiment, tmp_path / "cache") == []
    ((X, dtype),) = asked
    assert "".join("ACGT"[base] for base in X[0].argmax(axis=0)) == sequence[845:995]
    assert (X.sum(axis=1) == 1).all()
    assert dtype == "float32"


def of_other_versions(folder):
    """Files that once passed the check and did not run."""

    def older(module):
        for name in ("_log", "_exp1", "_exp2"):
            delattr(module, name)

    def saved(file, change, name):
        module = torch.load(file.path, weights_only=False)
        torch.save(change(module) or module, folder / name)
        return NamedFile.trusting(folder / name, file.kind)

    return {
        "chrombpnet of 0.6": saved(chrombpnet_file(folder), older, "older.torch"),
        "chrombpnet in bfloat16": saved(chrombpnet_file(folder), lambda m: m.bfloat16(), "half.torch"),
        "bpnet in float64": saved(bpnet_file(folder), lambda m: m.double(), "double.torch"),
        "basepairnet": basepairnet_file(folder),
    }


@pytest.mark.parametrize("algorithm", ["saturation_mutagenesis", "deep_lift_shap"])
@pytest.mark.parametrize("name", ["chrombpnet of 0.6", "chrombpnet in bfloat16", "bpnet in float64", "basepairnet"])
def test_what_passes_runs(name, algorithm, tmp_path, monkeypatch):
    file = of_other_versions(tmp_path)[name]
    changes = {"model": folds(tmp_path, file), "algorithm": algorithm, "output": ["counts", "profile"]}
    path = tiny_experiment(tmp_path, changes)
    assert check_experiment(path, tmp_path / "cache") == []
    monkeypatch.undo()
    experiment = read_experiment(path)
    X = np.eye(4, dtype=np.int8)[np.random.default_rng(0).integers(0, 4, (1, IN_WINDOW))].transpose(0, 2, 1)
    scores, _ = experiment.method.attribute(load_model(file), np.ascontiguousarray(X), 70, 80, experiment.output)
    for head in ("counts", "profile"):
        assert np.isfinite(scores[head]).all() and np.abs(scores[head]).max() > 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: setattr(m, "n_layers", 3), r"bpnet\.torch: cannot predict a locus of 150 bp \(.*range"),
        (
            lambda m: setattr(m, "n_outputs", 1),
            r"bpnet\.torch: predicts a profile of shape \(1, 2, 44\) .* \(1, 1, 44\)",
        ),
        (
            lambda m: m.fconv.weight.data.fill_(3e38),
            r"bpnet\.torch: predicts NaN or infinity of a locus in float32\. Name",
        ),
    ],
    ids=["fails", "has other outputs than it says", "is not finite"],
)
def test_a_model_that_cannot_predict_is_one_sentence_before_anything_is_computed(change, sentence, tmp_path):
    path = tmp_path / "bpnet.torch"
    module = torch.load(bpnet_file(tmp_path).path, weights_only=False)
    change(module)
    torch.save(module, path)
    experiment = tiny_experiment(tmp_path, {"model": folds(tmp_path, NamedFile.trusting(path, "bpnet"))})
    (problem,) = check_experiment(experiment, tmp_path / "cache")
    assert re.match(sentence, problem)
    assert "\n" not in problem


def test_what_overflows_in_half_precision_is_told_the_dtype_that_does_not(tmp_path):
    path = tmp_path / "bpnet.torch"
    module = torch.load(bpnet_file(tmp_path).path, weights_only=False)
    module.linear.weight.data.mul_(1e6)
    torch.save(module, path)
    changes = {"model": folds(tmp_path, NamedFile.trusting(path, "bpnet"))}
    (problem,) = check_experiment(tiny_experiment(tmp_path, changes | {"dtype": "float16"}), tmp_path / "cache")
    assert problem == "bpnet.torch: predicts NaN or infinity of a locus in float16. Set dtype to float32."
    assert check_experiment(tiny_experiment(tmp_path, changes), tmp_path / "cache") == []


def test_all_problems_are_said_at_once(tmp_path):
    experiment = tiny_experiment(tmp_path)
    chosen = {"no such GPU", "empty genome", "end before start", "bad negatives", "truncated model", "motif twice"}
    damaged = [bad for bad in BAD_INPUTS if bad.name in chosen]
    for bad in damaged:
        bad.damage(tmp_path)
    problems = check_experiment(experiment, tmp_path / "cache")
    assert len(problems) == len(damaged) == len(chosen)
    for bad in damaged:
        assert re.search(bad.sentence, "\n".join(problems)), bad.name


def test_a_file_that_two_folds_name_has_its_problems_once(tmp_path):
    experiment = tiny_experiment(tmp_path, {"model": {"a": "no.torch", "b": "no.torch"}})
    assert len(check_experiment(experiment, tmp_path / "cache")) == 1


def test_the_device_asked_for_on_the_command_line_is_the_one_that_is_looked_for(tmp_path):
    experiment = tiny_experiment(tmp_path, {"device": "cuda:98"})
    (problem,) = check_experiment(experiment, tmp_path / "cache", device="cuda:99")
    assert "cuda:99" in problem
    assert check_experiment(experiment, tmp_path / "cache", device="cpu") == []


def test_the_users_folder_is_left_as_it_was(tmp_path):
    experiment = tiny_experiment(tmp_path / "mine")
    before = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert check_experiment(experiment, tmp_path / "cache") == []
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == before

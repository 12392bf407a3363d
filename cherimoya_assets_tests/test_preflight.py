"""The preflight: every problem of an experiment at once, by looking, without computing."""

from __future__ import annotations

import re

import pytest
import torch

from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.preflight import check_experiment
from cherimoya_assets_tests.bad_inputs import BAD_INPUTS, ODD_BUT_VALID, BadInput
from cherimoya_assets_tests.tiny_experiment import tiny_experiment


@pytest.fixture(autouse=True)
def no_model_runs(monkeypatch):
    """A model that is asked for anything fails the test."""
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_, **__: pytest.fail("a model was run"))


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

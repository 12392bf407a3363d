"""Every bad input gets its one clear sentence, and nothing is executed or computed on the way."""

from __future__ import annotations

import re

import pytest

from cherimoya_assets.analysis.models import SequenceModel
from cherimoya_assets.preflight import check_experiment
from cherimoya_assets_tests.bad_inputs import BAD_INPUTS, ODD_BUT_VALID, BadInput
from cherimoya_assets_tests.tiny_experiment import tiny_experiment


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=str)
def test_a_bad_input_gets_its_sentence(bad: BadInput, tmp_path, monkeypatch):
    experiment = tiny_experiment(tmp_path)
    bad.damage(tmp_path)
    monkeypatch.setattr(SequenceModel, "with_controls", lambda *_: pytest.fail("a model was run"))
    problems = check_experiment(experiment, tmp_path / "cache")
    matching = [problem for problem in problems if re.search(bad.sentence, problem)]
    assert len(matching) == 1, problems
    assert "\n" not in matching[0]
    assert not (tmp_path / "EXECUTED").exists()


@pytest.mark.parametrize(("name", "damage"), ODD_BUT_VALID, ids=[name for name, _ in ODD_BUT_VALID])
def test_what_is_odd_but_valid_passes(name, damage, tmp_path):
    experiment = tiny_experiment(tmp_path)
    damage(tmp_path)
    assert check_experiment(experiment, tmp_path / "cache") == []


def test_all_problems_are_said_at_once(tmp_path):
    experiment = tiny_experiment(tmp_path)
    chosen = {"end before start", "bad negatives", "truncated model", "motif twice", "no such GPU"}
    for bad in BAD_INPUTS:
        if bad.name in chosen:
            bad.damage(tmp_path)
    problems = "\n".join(check_experiment(experiment, tmp_path / "cache"))
    for bad in BAD_INPUTS:
        if bad.name in chosen:
            assert re.search(bad.sentence, problems), bad.name


def test_the_users_folder_is_left_as_it_was(tmp_path):
    experiment = tiny_experiment(tmp_path / "mine")
    before = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert check_experiment(experiment, tmp_path / "cache") == []
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == before


def test_there_are_at_least_forty_bad_inputs():
    assert len({bad.name for bad in BAD_INPUTS}) == len(BAD_INPUTS) >= 40

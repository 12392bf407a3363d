"""A hostile input executes nothing, writes nowhere else, ends soon, and is one sentence for the user."""

from __future__ import annotations

import re

import pytest

from cherimoya_assets_tests.bad_inputs import BAD_INPUTS, BadInput
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.security.attacks import ATTACKS, SECRET
from cherimoya_assets_tests.security.surroundings import nothing_happens_around
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

pytestmark = pytest.mark.slow

BAD_INPUT = 2


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory):
    # What is imported at first use would count as memory of the first attack.
    command("check", tiny_experiment(tmp_path_factory.mktemp("valid")))


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_an_attack_is_a_sentence_and_nothing_else(attack: BadInput, tmp_path, monkeypatch):
    experiment, home = tiny_experiment(tmp_path / "tiny"), tmp_path / "home"
    attack.damage(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path / "tiny")
    with nothing_happens_around(tmp_path, but=(home,)):
        said = command("check", experiment, "--home", home)
    assert {path.name for path in home.glob("*")} <= {"cache"}
    assert (said.code, said.out) == (BAD_INPUT, "")
    assert len([line for line in said.err.splitlines() if re.search(attack.sentence, line)]) == 1, said.err[:2000]
    assert all(c.isprintable() or c == "\n" for c in said.err)
    assert "Traceback" not in said.err and SECRET not in said.err
    assert len(said.err) < 20_000


def test_attacks_are_many_and_none_is_a_bad_input_already():
    names = {attack.name for attack in ATTACKS}
    assert len(names) == len(ATTACKS) >= 30
    assert not names & {bad.name for bad in BAD_INPUTS}

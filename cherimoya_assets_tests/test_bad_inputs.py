"""On the command line, a bad input is its one sentence and a non-zero exit, before a model runs on more than a locus.

Nothing is lost: what was stored before is there afterwards, and nothing is stored or started.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cherimoya_assets_tests.bad_inputs import BAD_INPUTS, BadInput
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

BAD_INPUT = 2


def files(home: Path) -> dict[str, bytes]:
    """Everything in a home but the cache, which is safe to delete."""
    return {
        name: path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not (name := path.relative_to(home).as_posix()).startswith("cache/")
    }


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("bad", BAD_INPUTS, ids=str)
def test_a_bad_input_is_its_sentence_and_a_non_zero_exit(bad: BadInput, verb, tmp_path, only_one_locus):
    experiment = tiny_experiment(tmp_path / "tiny")
    home = tmp_path / "home"
    (home / "store" / "tiny").mkdir(parents=True)
    (home / "store" / "tiny" / "earlier").write_text("what was stored before")
    bad.damage(tmp_path / "tiny")
    said = command(verb, experiment, "--home", home)
    assert (said.code, said.out) == (BAD_INPUT, "")
    assert len([line for line in said.err.splitlines() if re.search(bad.sentence, line)]) == 1, said.err
    assert "Traceback" not in said.err
    assert files(home) == {"store/tiny/earlier": b"what was stored before"}
    assert not (tmp_path / "tiny" / "EXECUTED").exists()


@pytest.mark.parametrize("verb", ["check", "run"])
def test_several_problems_are_a_numbered_list(verb, tmp_path):
    experiment = tiny_experiment(tmp_path)
    for bad in BAD_INPUTS:
        if bad.name in ("no genome", "no model", "no motif file"):
            bad.damage(tmp_path)
    said = command(verb, experiment, "--home", tmp_path / "home")
    first, *rest = said.err.splitlines()
    assert first == "3 problems:"
    assert [line.split(".")[0].strip() for line in rest] == ["1", "2", "3"]


@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_home_that_cannot_be_written_is_one_sentence(verb, tmp_path):
    experiment = tiny_experiment(tmp_path)
    (tmp_path / "file").write_text("")
    said = command(verb, experiment, "--home", tmp_path / "file" / "home")
    assert (said.code, said.out) == (1, "")
    assert re.fullmatch(r"\S+/file/home: cannot be written.*--home\.\n", said.err)


def test_there_are_at_least_forty_bad_inputs():
    assert len({bad.name for bad in BAD_INPUTS}) == len(BAD_INPUTS) >= 40

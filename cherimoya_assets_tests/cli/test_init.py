"""`cherimoya-assets init`: a template that is true to the model it describes, and a copy of the demo."""

from __future__ import annotations

import re

import pytest
import yaml

from cherimoya_assets.analysis.methods import METHODS
from cherimoya_assets.cli import main
from cherimoya_assets.cli.init import FILE_NAME, NOTES, template
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.experiment import Experiment, read_experiment

EXAMPLES = {"negatives", "exclusion_lists", "chroms", "motifs", "model"}
"""Keys whose comment shows an example and not the default (there is none)."""


def test_the_template_is_an_experiment_as_it_is(tmp_path):
    assert main(["init", str(tmp_path)]) == 0
    experiment = read_experiment(tmp_path / FILE_NAME)
    assert experiment.name == "my_experiment"
    assert experiment.sequences == tmp_path / "genome.fa"


def test_the_template_shows_every_key_with_its_default():
    shown = yaml.safe_load(_uncommented(template()))
    defaults = Experiment.model_validate({"name": "x", "sequences": "g", "loci": "l", "model": "m"}).model_dump(
        mode="json", exclude={"source"}
    )
    for method in METHODS.values():
        defaults |= {method.key(field): value for field, value in method().model_dump(mode="json").items()}
    assert shown.keys() == defaults.keys()
    for key in defaults.keys() - EXAMPLES - {"name", "sequences", "loci"}:
        shown_value = [shown[key]] if key == "output" else shown[key]
        assert shown_value == defaults[key], key


def test_every_note_is_beside_its_parameter():
    assert [note for note in NOTES.values() if f"  # {note}\n" not in template()] == []


def test_an_existing_file_is_never_overwritten(tmp_path, capsys):
    (tmp_path / FILE_NAME).write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert (tmp_path / FILE_NAME).read_text() == "mine"
    assert FILE_NAME in capsys.readouterr().err


def test_the_demo_comes_with_its_inputs_and_says_what_to_type_next(tmp_path, capsys):
    assert main(["init", str(tmp_path / "demo"), "--demo"]) == 0
    experiment = read_experiment(tmp_path / "demo" / DEMO_EXPERIMENT.name)
    named = [experiment.sequences, *experiment.loci, *experiment.negatives, *experiment.exclusion_lists]
    assert all(path.is_file() and path.parent == tmp_path / "demo" for path in [*named, experiment.motifs])
    assert f"cherimoya-assets run {tmp_path / 'demo' / DEMO_EXPERIMENT.name}" in capsys.readouterr().out
    assert main(["init", str(tmp_path / "demo"), "--demo"]) == 2


@pytest.mark.parametrize("arguments", [["init"], ["init", "a", "b"]])
def test_wrong_usage_is_2(arguments):
    assert main(arguments) == 2


def _uncommented(template: str) -> str:
    """The template with its commented keys switched on (and the alternatives for `model` left out)."""
    lines = []
    for line in template.splitlines():
        if re.match(r"# ?(model:|  fold_)", line):
            continue
        lines.append(re.sub(r"^# (?=(  )?[a-z_]+:( |$))", "", line))
    return "\n".join(lines)

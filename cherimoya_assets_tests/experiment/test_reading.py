"""Experiment files: strictly read, every problem at once, paths relative to the file."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml
from pydantic import BaseModel

from cherimoya_assets.errors import ExperimentError, Problems
from cherimoya_assets.experiment import Experiment, ModelFile, read_experiment, read_experiments, read_folder
from cherimoya_assets.experiment.reading import LARGEST, SECTIONS

MINIMAL = {"name": "x", "sequences": "g.fa", "loci": "a.bed", "model": "m.torch"}

SECTION_MODELS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Experiment.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}


def written(folder: Path, content: object, name: str = "x.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def problems_of(folder: Path, content: object) -> tuple[str, ...]:
    with pytest.raises(Problems) as caught:
        read_experiment(written(folder, content))
    return caught.value.problems


def misspelled(key: str) -> str:
    """The key with its second and third letters swapped, or doubled where they are the same."""
    return key[0] + key[2] + key[1] + key[3:] if key[1] != key[2] else key + key[-1]


def test_the_shortest_experiment_is_four_keys(tmp_path):
    experiment = read_experiment(written(tmp_path, MINIMAL))
    assert (experiment.name, experiment.output, experiment.algorithm) == ("x", ("counts",), "saturation_mutagenesis")
    assert experiment.model == {"model": ModelFile(path=tmp_path / "m.torch")}


@pytest.mark.parametrize("key", [key for key in Experiment.model_fields if key != "source"])
def test_a_misspelled_key_is_refused_with_its_nearest_spelling(tmp_path, key):
    (problem,) = problems_of(tmp_path, {**MINIMAL, misspelled(key): 1})
    assert problem == f"x.yaml: unknown key `{misspelled(key)}`. Did you mean `{key}`?"


@pytest.mark.parametrize(
    ("section", "key"), [(section, key) for section, model in SECTION_MODELS.items() for key in model.model_fields]
)
def test_a_misspelled_key_of_a_section_too(tmp_path, section, key):
    (problem,) = problems_of(tmp_path, {**MINIMAL, section: {misspelled(key): 1}})
    assert problem == f"x.yaml: unknown key `{section}.{misspelled(key)}`. Did you mean `{key}`?"


def test_a_misspelled_key_of_a_model_too(tmp_path):
    (problem,) = problems_of(tmp_path, {**MINIMAL, "model": {"path": "m", "trustd": True}})
    assert problem.endswith("unknown key `model.model.trustd`. Did you mean `trusted`?")


def test_there_is_no_key_that_says_where_the_file_is(tmp_path):
    assert problems_of(tmp_path, {**MINIMAL, "source": "/elsewhere"}) == ("x.yaml: unknown key `source`. Remove it.",)


def test_all_problems_of_a_file_are_said_at_once(tmp_path):
    wrong = {"name": "1x", "loci": [], "model": "m", "outptu": "counts", "batch_size": "8", "seqlets": {"threshold": 3}}
    said = problems_of(tmp_path, wrong)
    found = [next(key for key in ("sequences", *wrong) if f"`{key}" in problem) for problem in said]
    assert sorted(found) == sorted(["sequences", "name", "loci", "outptu", "batch_size", "seqlets"])
    assert all("\n" not in problem and problem.startswith("x.yaml: ") for problem in said)


@pytest.mark.parametrize("section", [section for section in SECTION_MODELS if section != "automation"])
def test_numbers_in_quotes_and_truth_values_are_no_numbers(tmp_path, section):
    fields = SECTION_MODELS[section].model_fields.items()
    numeric = [key for key, field in fields if field.annotation in (int, float, int | None)]
    assert len(numeric) >= 2
    for key in numeric:
        for value in ("7", True):
            (problem,) = problems_of(tmp_path, {**MINIMAL, section: {key: value}})
            assert f"`{section}.{key}`: a number is needed, not" in problem


@pytest.mark.parametrize("value", [".nan", "-.inf", "0.0", "1.5"])
def test_a_threshold_is_a_probability(tmp_path, value):
    text = yaml.safe_dump(MINIMAL) + f"seqlets: {{threshold: {value}}}\n"
    (problem,) = problems_of(tmp_path, text)
    assert "`seqlets.threshold`" in problem


@pytest.mark.parametrize("value", [-1, 2**32, 10**30])
def test_a_seed_is_one_that_numpy_takes(tmp_path, value):
    (problem,) = problems_of(tmp_path, {**MINIMAL, "random_state": value})
    assert "`random_state`" in problem


def test_paths_are_relative_to_the_file_and_not_to_where_one_stands(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    path = written(
        tmp_path,
        {
            **MINIMAL,
            "loci": ["sub/a.bed", "/abs/b.bed"],
            "negatives": "n.bed",
            "exclusion_lists": ["../x.bed"],
            "motifs": "~/m.meme",
            "model": {"a": "a.torch", "b": {"path": "sub/b.torch"}},
            "marginalize": {"loci": "own.bed", "motifs": "own.meme"},
        },
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", "/home/somebody")
    experiment = read_experiment("../" + path.name)
    assert experiment.folder == tmp_path
    assert experiment.sequences == tmp_path / "g.fa"
    assert experiment.loci == (tmp_path / "sub/a.bed", Path("/abs/b.bed"))
    assert experiment.negatives == (tmp_path / "n.bed",)
    assert experiment.exclusion_lists[0].resolve() == tmp_path.parent / "x.bed"
    assert experiment.motifs == Path("/home/somebody/m.meme")
    assert [file.path for file in experiment.model.values()] == [tmp_path / "a.torch", tmp_path / "sub/b.torch"]
    assert experiment.marginalize.loci == (tmp_path / "own.bed",)
    assert experiment.marginalize.motifs == tmp_path / "own.meme"


@pytest.mark.parametrize(
    ("given", "heads"),
    [
        ("counts", ("counts",)),
        ("logcounts", ("counts",)),
        ("profile", ("profile",)),
        (["profile", "counts"], ("profile", "counts")),
        (["counts", "logcounts"], ("counts",)),
    ],
)
def test_output_is_a_head_or_both(tmp_path, given, heads):
    assert read_experiment(written(tmp_path, {**MINIMAL, "output": given})).output == heads


def test_chromosomes_that_yaml_takes_for_numbers_are_names(tmp_path):
    text = yaml.safe_dump(MINIMAL) + "chroms: [1, 2, X]\n"
    assert read_experiment(written(tmp_path, text)).chroms == ("1", "2", "X")


def test_modisco_takes_the_window_that_is_there_unless_one_is_asked_for(tmp_path):
    narrow = {**MINIMAL, "attr_window": 61}
    assert read_experiment(written(tmp_path, narrow)).modisco.window == 60
    assert read_experiment(written(tmp_path, {**MINIMAL, "attr_window": 1000})).modisco.window == 400
    (problem,) = problems_of(tmp_path, {**narrow, "modisco": {"window": 400}})
    assert "modisco.window 400 is wider than attr_window 61" in problem


@pytest.mark.parametrize("section", SECTIONS)
def test_a_step_file_that_is_not_there_or_not_json_is_one_sentence(tmp_path, section):
    path = written(tmp_path, {**MINIMAL, section: "step.json"})
    with pytest.raises(ExperimentError, match=r"step\.json: no such experiment file"):
        read_experiment(path)
    (tmp_path / "step.json").write_text('{"threshold": 0.1,\n')
    with pytest.raises(ExperimentError, match=r"step\.json line 2: is not JSON"):
        read_experiment(path)


def test_a_step_file_with_other_values_than_paths_is_refused(tmp_path):
    (tmp_path / "step.json").write_text('{"loci": 5, "motifs": [1]}')
    said = problems_of(tmp_path, {**MINIMAL, "marginalize": "step.json"})
    assert any("`marginalize.loci" in problem for problem in said)
    assert any("`marginalize.motifs`" in problem for problem in said)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("loci: &a [*a]\n", r"line 1: is not YAML: the alias `\*a` is not supported"),
        ("a: &a [x, x]\nloci: [*a, *a]\n", r"line 2: is not YAML: the alias"),
        ("? [a, b]\n: c\n", r"line 1: is not YAML: found unhashable key"),
        ("name: x\nname: y\n", r"line 2: is not YAML: the key `name` appears twice"),
        ("model: {a: m, a: n}\n", r"line 1: is not YAML: the key `a` appears twice"),
        ("[" * 3000, r"is nested too deeply for an experiment file"),
        ("--- 1\n--- 2\n", r"line 2: is not YAML: but found another document"),
        ("x" * (LARGEST + 1), r"larger than 1 MB"),
    ],
    ids=["recursive", "alias", "list as key", "key twice", "fold twice", "deep", "two documents", "large"],
)
def test_yaml_that_is_too_clever_is_one_sentence(tmp_path, text, sentence):
    with pytest.raises(ExperimentError, match=sentence) as caught:
        read_experiment(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice_in_json_is_refused(tmp_path):
    with pytest.raises(ExperimentError, match="the key `loci` appears twice"):
        read_experiment(written(tmp_path, '{"loci": "a", "loci": "b"}', "x.json"))


def test_the_experiments_of_a_folder_are_read_together(tmp_path):
    for name in ("b", "a"):
        written(tmp_path, {**MINIMAL, "name": name}, f"{name}.yaml")
    written(tmp_path, {**MINIMAL, "name": "c"}, "c.yml")
    written(tmp_path, "no: experiment", ".hidden.yaml")
    written(tmp_path, "{}", "parameters.json")
    written(tmp_path, "notes", "README.md")
    assert [experiment.name for experiment in read_experiments(tmp_path)] == ["a", "b", "c"]
    assert [experiment.name for experiment in read_experiments(tmp_path / "a.yaml")] == ["a"]


def test_problems_of_all_files_of_a_folder_are_said_at_once(tmp_path):
    written(tmp_path, {**MINIMAL, "outptu": 1}, "a.yaml")
    written(tmp_path, "- a list", "b.yaml")
    written(tmp_path, MINIMAL, "c.yaml")
    written(tmp_path, MINIMAL, "d.yaml")
    with pytest.raises(Problems) as caught:
        read_experiments(tmp_path)
    first, second, third = caught.value.problems
    assert "a.yaml: unknown key `outptu`" in first
    assert "b.yaml: expected keys and values" in second
    assert third == ("d.yaml: the name x is already used by c.yaml; names are asset keys and must differ. Rename one.")


def test_of_a_folder_what_can_be_read_is_read(tmp_path):
    written(tmp_path, {**MINIMAL, "outptu": 1}, "a.yaml")
    written(tmp_path, MINIMAL, "b.yaml")
    experiments, unreadable = read_folder(tmp_path)
    assert [experiment.source.name for experiment in experiments] == ["b.yaml"]
    assert [(one.source.name, len(one.problems)) for one in unreadable] == [("a.yaml", 1)]


def test_a_folder_without_experiments_is_one_sentence(tmp_path):
    with pytest.raises(ExperimentError, match="no experiment file"):
        read_experiments(tmp_path)


@pytest.mark.parametrize(
    ("value", "mode", "cron", "force"),
    [
        ("manual", "manual", None, False),
        ("eager", "eager", None, False),
        ("cron: 0 3 * * 0", "cron", "0 3 * * 0", False),
        ({"cron": "*/5 0-6/2 1,15 * 7"}, "cron", "*/5 0-6/2 1,15 * 7", False),
        ({"cron": "0 3 * * 0", "force": True}, "cron", "0 3 * * 0", True),
        ({"cron": "@weekly"}, "cron", "@weekly", False),
        ("cron: 0 3 * * SUN", "cron", "0 3 * * SUN", False),
    ],
)
def test_automation_is_a_word_or_a_schedule(tmp_path, value, mode, cron, force):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, "automation": value}))
    automation = read_experiment(path).automation
    assert (automation.mode, automation.cron, automation.force) == (mode, cron, force)
    # Dagster reads the schedule as we do.
    assert cron is None or dg.AutomationCondition.cron_tick_passed(cron)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("always", "`automation.mode`: Input should be 'manual', 'eager' or 'cron', found 'always'"),
        ({"cron": "0 3 * *"}, "'0 3 * *' is not a cron schedule"),
        ({"cron": "61 3 * * 0"}, "'61 3 * * 0' is not a cron schedule"),
        ({"cron": "0 3 31 2 *"}, "is not a cron schedule"),
        ({"cron": "@reboot"}, "is not a cron schedule"),
        ("cron:", "'' is not a cron schedule"),
        ("cron", "as in `{cron: "),
        ({"mode": "eager", "force": True}, "as in `{cron: "),
    ],
)
def test_another_automation_is_refused_with_what_it_could_be(tmp_path, value, said):
    (problem,) = problems_of(tmp_path, {**MINIMAL, "automation": value})
    assert said in problem

"""The code location loads, and any change of its assets shows in a review of `asset_specs.txt`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import dagster as dg
import pytest

from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.runs.pool_waiting import sleeping_executor
from cherimoya_assets_tests.asset_specs import describe
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

SNAPSHOT = Path(__file__).with_name("asset_specs.txt")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of two experiments, named by the environment as the code location reads it."""
    tiny_experiment(tmp_path, {"name": "first", "output": ["counts", "profile"]}).rename(tmp_path / "first.yaml")
    tiny_experiment(tmp_path, {"name": "second", "motifs": None}).rename(tmp_path / "second.yaml")
    monkeypatch.setenv("CHERIMOYA_ASSETS_EXPERIMENTS", str(tmp_path))
    monkeypatch.setenv("CHERIMOYA_ASSETS_HOME", str(tmp_path / "home"))
    return tmp_path


def loaded() -> dg.Definitions:
    """`cherimoya_assets.definitions` as a fresh process would import it."""
    sys.modules.pop("cherimoya_assets.definitions", None)
    return importlib.import_module("cherimoya_assets.definitions").defs


def test_the_code_location_is_loadable_and_has_every_experiment_of_the_folder(folder):
    defs = loaded()
    dg.Definitions.validate_loadable(defs)
    groups = {node.group_name for node in defs.resolve_asset_graph().asset_nodes}
    assert groups == {"first", "second", "shared_inputs"}
    assert defs.executor is sleeping_executor


def test_without_a_home_everything_lands_beside_the_experiments(folder, monkeypatch):
    monkeypatch.delenv("CHERIMOYA_ASSETS_HOME")
    assert loaded().resources["store"].root == str((folder / "cherimoya_home" / "store").resolve())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: second\noutptu: counts\n", "second.yaml: unknown key `outptu`"),
        ("name: 'second", "second.yaml line 1: is not YAML"),
        ("- a list", "second.yaml: expected keys and values"),
        (None, "gone.fa: no such file"),
        ("name", "second.yaml: the name first is already used by first.yaml"),
    ],
    ids=["unknown key", "not YAML", "no map", "no genome", "the name of another"],
)
def test_a_bad_experiment_is_an_asset_that_says_why_and_takes_no_other_with_it(folder, text, sentence):
    file = folder / "second.yaml"
    if text == "name":
        text = file.read_text().replace("name: second", "name: first")
    file.write_text(text or file.read_text().replace("genome.fa", "gone.fa"))
    defs = loaded()
    dg.Definitions.validate_loadable(defs)
    nodes = defs.resolve_asset_graph().asset_nodes
    assert {node.group_name for node in nodes} == {"first", "second", "shared_inputs"}
    (node,) = [node for node in nodes if node.group_name == "second"]
    assert node.key == dg.AssetKey(["second", "not_loaded"])
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[node.key], raise_on_error=False
        )
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert sentence in failure.user_failure_data.description
    assert "reload the code location" in node.description


def test_files_that_cannot_be_loaded_have_names_of_their_own(tmp_path, monkeypatch):
    for name in ("a-b.yaml", "a b.yaml"):
        (tmp_path / name).write_text("- no experiment")
    monkeypatch.setenv("CHERIMOYA_ASSETS_EXPERIMENTS", str(tmp_path))
    assert {node.key.path[0] for node in loaded().resolve_asset_graph().asset_nodes} == {"a_b", "a_b_2"}


def test_asset_specs_are_those_of_the_snapshot(tmp_path):
    changes = {"output": ["counts", "profile"], "exclusion_lists": ["exclusion.bed"]}
    experiment = read_experiment(tiny_experiment(tmp_path, changes))
    found = describe(build_defs([experiment], tmp_path / "home"))
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(found)
        pytest.fail(f"{SNAPSHOT.name} was not there and is written anew. Read it and commit it.")
    assert found == SNAPSHOT.read_text(), (
        f"the assets changed. If they were meant to, delete {SNAPSHOT.name}, run this test once, and commit it."
    )

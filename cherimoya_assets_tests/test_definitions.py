"""The code location loads, and any change of its assets shows in a review of `asset_specs.txt`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import dagster as dg
import pytest

from cherimoya_assets.code_location import build_defs
from cherimoya_assets.errors import Problems
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


def test_a_bad_experiment_is_said_when_the_code_location_loads(folder):
    (folder / "second.yaml").write_text("name: second\noutptu: counts\n")
    with pytest.raises(Problems, match="unknown key `outptu`"):
        loaded()


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

"""A step that is added as CONTRIBUTING says it is everywhere that steps are: its row is all that the rest is told."""

from __future__ import annotations

import json
import re

import pytest

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.build import stages
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets_tests.changed_step import change_step
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.cli.test_drift import change, drift
from cherimoya_assets_tests.tiny_experiment import CHROMS
from cherimoya_assets_tests.toy_step import ROW, Toy, add_toy

TOYS = {("counts/toys", chrom) for chrom in CHROMS}


@pytest.fixture
def with_toy(tiny_copy, monkeypatch):
    """A complete experiment of the time before the step was added: (experiment file, home)."""
    add_toy(monkeypatch)
    return tiny_copy


@pytest.fixture
def made(with_toy):
    """The same once the step was made, and what the command said."""
    file, home = with_toy
    return file, home, command("run", file, "--select", "toys")


def test_it_is_missing_and_nothing_else_is_out_of_date(with_toy):
    assert drift(with_toy[0]) == dict.fromkeys(TOYS, "has not been made")


def test_it_is_made_and_shown_like_every_other(made):
    file, home, said = made
    assert said.code == 0, said
    assert re.search(r"^1 of 1  toys, one run a chromosome$", said.out, re.MULTILINE)
    for chrom in CHROMS:
        assert re.search(rf"^ +{chrom}.* 0 counts toys", said.out, re.MULTILINE), said.out
    lineage = ExperimentLineage(read_experiment(file), Home(home))
    assert stages(lineage)[-1].keys == (lineage.key("counts", "toys"),)
    for chrom in CHROMS:
        assert lineage.store.load(("tiny", "counts", "toys"), chrom) == Toy(0)
    stamp = lineage.store.manifest(("tiny", "counts", "toys"), "chrA").stamp
    assert stamp.inputs.keys() == {"counts/modisco_patterns", "genome[chrA]"}
    assert stamp.parameters == {"n_seqlets": 100_000}
    assert {"model", "peaks[chrB]"} <= stamp.upstream.keys()
    assert drift(file) == {}


def test_drift_says_why_it_is_out_of_date(made, monkeypatch):
    file, _, _ = made
    change(file, modisco={"n_seqlets": 50, "window": 20, "size": 10, "trim_size": 10})
    reason = "modisco.n_seqlets is 50, was 100000"
    hop = "; it stands on counts/modisco_patterns, which is out of date"
    assert {drift(file)[cell] for cell in TOYS} == {reason + hop}
    change(file, modisco={"window": 20, "size": 10, "trim_size": 10})
    change_step(monkeypatch, "toys", version=2)
    assert drift(file) == dict.fromkeys(TOYS, "the code of toys changed (version 2, was 1)")


def test_dagster_has_it(with_toy):
    file, home = with_toy
    experiment = read_experiment(file)
    defs = build_defs([experiment], home)
    node = defs.resolve_asset_graph().get(ExperimentLineage(experiment, Home(home)).key("counts", "toys"))
    assert node.partitions_def.get_partition_keys() == list(CHROMS)
    assert {key.path[-1] for key in node.parent_keys if key.path[0] == "tiny"} == {"modisco_patterns"}
    assert (node.kinds, node.description) == (ROW.kinds, "Toys of the counts patterns.")
    assert defs.resolve_job_def("tiny__toys").asset_layer.executable_asset_keys == {node.key}


def test_a_chromosome_alone_can_be_made_and_the_rest_is_said_to_be_missing(with_toy):
    file, _ = with_toy
    assert command("run", file, "--select", "counts/toys", "--chroms", "chrB").code == 0
    cells = json.loads(command("drift", file, "--json").out)
    missing = {(cell["asset"], cell["partition"]) for cell in cells if not cell["fresh"]}
    assert missing == TOYS - {("counts/toys", "chrB")}

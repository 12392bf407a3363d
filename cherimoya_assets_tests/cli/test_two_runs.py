"""Two `run`s of one home at once: they share the work, each says whom it waits for, and nothing is made twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.build import Stage
from cherimoya_assets.cli.run import write_tracebacks
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.instance import open_instance
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets.resources.turns import turn
from cherimoya_assets.walk import Failure, Made, Outcome
from cherimoya_assets_tests.cli.test_run import COMMAND, stored
from cherimoya_assets_tests.tiny_experiment import CHROMS, tiny_experiment

pytestmark = pytest.mark.slow


def materializations(home: Path) -> Counter[tuple[str, str | None]]:
    """How often each partition was stored, as Dagster's own events say."""
    with open_instance(Home(home)) as instance:
        return Counter(
            (entry.asset_key.to_user_string(), entry.partition_key)
            for key in instance.all_asset_keys()
            for entry in instance.fetch_materializations(key, limit=1000).records
        )


def begin(*arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def make_twice_at_once(file: Path, home: Path, *options: str) -> Counter[tuple[str, str | None]]:
    """How often two runs, begun together, stored each partition."""
    before = materializations(home)
    runs = [begin("run", file, "--home", home, *options) for _ in range(2)]
    said = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    return materializations(home) - before


def test_two_runs_make_each_partition_once(tiny_run, tmp_path):
    made = make_twice_at_once(tiny_run[0], tmp_path)
    assert set(made.values()) == {1}
    assert {(name.removeprefix("tiny/"), partition) for name, partition in made} == set(stored(tmp_path))


def test_two_forced_runs_make_each_partition_once_more(tiny_copy):
    made = make_twice_at_once(*tiny_copy, "--force", "--select", "one_hot_sequences")
    assert made == Counter({("tiny/one_hot_sequences", chrom): 1 for chrom in CHROMS})


def test_who_finds_a_chromosome_taken_makes_the_others_and_says_whom_it_waits_for(tmp_path):
    home, file = tmp_path / "home", tiny_experiment(tmp_path / "files")
    lineage = ExperimentLineage(read_experiment(file), Home(home))
    work = "tiny__1_attribution chrA"
    with turn(lineage.home.turns, work, "") as other:
        assert not other
        run = begin("run", file, "--home", home, "--select", "one_hot_sequences")
        lines = []
        while "waiting" not in (line := run.stdout.readline()):
            assert line, "".join(lines)
            lines.append(line)
        assert "waiting for chrA, which another run makes: pid " in line
        store = AssetStore(home / "store")
        there = {chrom for chrom in CHROMS if store.manifest(("tiny", "one_hot_sequences"), chrom) is not None}
        assert there == set(CHROMS) - {"chrA"}
    rest = run.communicate(timeout=120)[0]
    assert run.returncode == 0, rest
    assert "chrA" in rest
    assert store.manifest(("tiny", "one_hot_sequences"), "chrA") is not None


def test_the_tracebacks_of_a_run_stay_when_another_ends_well_and_stand_beside_those_of_one_that_fails(tmp_path):
    def outcome(*tracebacks: str) -> Outcome:
        failures = tuple(Failure((), "failed", traceback) for traceback in tracebacks)
        return Outcome(made=[Made(Stage("seqlets", True, (), "job"), "chrA", "a-run", 1.0, {}, failures)])

    assert write_tracebacks(outcome("ZeroDivisionError"), Home(tmp_path)) == tmp_path / "tracebacks.txt"
    assert write_tracebacks(outcome(), Home(tmp_path)) is None
    assert write_tracebacks(outcome("KeyError"), Home(tmp_path)) == tmp_path / "tracebacks.txt"
    said = (tmp_path / "tracebacks.txt").read_text()
    assert "ZeroDivisionError" in said
    assert "KeyError" in said


def test_the_tracebacks_of_the_run_before_are_forgotten(tiny_copy):
    file, home = tiny_copy
    (home / "tracebacks.txt").write_text("ZeroDivisionError")
    assert begin("run", file, "--home", home, "--select", "one_hot_sequences").wait(120) == 0
    assert not (home / "tracebacks.txt").exists()

"""`cherimoya-assets rename`: a renamed experiment has everything under its new name, and nothing was computed."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.cli.test_drift import NOTHING, change
from cherimoya_assets_tests.cli.test_run import stored


def test_a_renamed_experiment_takes_over_what_it_had_and_everything_is_fresh(tiny_copy):
    file, home = tiny_copy
    before = stored(home)
    change(file, name="renamed", automation="eager")
    said = command("drift", file)
    assert "\n0 of 22 partitions are up to date" in said.out
    rename = f"cherimoya-assets rename {file} tiny --home {home}"
    assert f"{home}/store/tiny holds the same: 22 partitions" in said.out and said.out.endswith(f"{rename}\n")
    said = command(*rename.split()[1:])
    assert (said.code, said.err) == (0, "")
    assert said.out == ("renamed has taken over what was stored as tiny: 22 partitions. Nothing was computed.\n")
    assert stored(home) == before
    assert {path.name for path in (home / "store").iterdir() if path.name[0] != "."} == {"renamed"}
    assert command("drift", file).out == "Everything is up to date: 22 partitions.\n"
    said = command("run", file)
    assert (said.code, said.out.endswith(NOTHING)) == (0, True)
    assert stored(home) == before
    assert stale_for_dagster(file, home) == {}
    assert requested(file, home) == set()


def test_a_run_says_that_another_name_holds_the_same_and_what_it_makes_is_not_lost(tiny_copy):
    file, home = tiny_copy
    change(file, name="renamed")
    said = command("run", file, "--select", "one_hot_sequences")
    assert said.code == 0
    assert f"{home}/store/tiny holds the same: 22 partitions" in said.out
    said = command("rename", file, "tiny")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"{home}/store/renamed: renamed already holds values of its own")
    assert len(list(AssetStore(home / "store").contents())) == 22 + 3
    assert "holds the same" not in command("run", file, "--select", "one_hot_sequences").out


def stale_for_dagster(file: Path, home: Path) -> dict[str, str]:
    """What is not fresh as Dagster itself judges it for its UI, and why."""
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    lineage = ExperimentLineage(read_experiment(file), Home(home))
    graph = build_defs([lineage.experiment], home).resolve_asset_graph()
    found = {}
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        for key in lineage.asset_keys:
            for partition in lineage.partitions_of(key):
                if (status := resolver.get_status(key, partition)) != StaleStatus.FRESH:
                    found[f"{key.to_user_string()}[{partition}]"] = (
                        f"{status}: {[cause.reason for cause in resolver.get_stale_causes(key, partition)]}"
                    )
    return found


def requested(file: Path, home: Path) -> set[dg.AssetKey]:
    """What automation asks for."""
    lineage = ExperimentLineage(read_experiment(file), Home(home))
    defs = build_defs([lineage.experiment], home)
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        chosen = dg.AssetSelection.groups(lineage.name).materializable()
        result = dg.evaluate_automation_conditions(defs, instance, asset_selection=chosen)
    return {key for key in lineage.asset_keys if result.get_num_requested(key)}

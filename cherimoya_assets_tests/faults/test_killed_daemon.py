"""kill -9 of the daemon, and of everything at once, while a backfill goes on. It comes to its end by itself."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
import pytest

from cherimoya_assets.code_location import build_defs
from cherimoya_assets_tests.faults import deeds
from cherimoya_assets_tests.faults.daemons import Deployment, prepare_daemon
from cherimoya_assets_tests.faults.scene import Cell, Scene, scene_of_many_chromosomes
from cherimoya_assets_tests.faults.warm import PATIENCE_S

pytestmark = pytest.mark.slow

NAMES = ("one_hot_sequences", "counts/attributions")
CHROMS = 4

DAEMON, EVERYTHING = 5, 5
"""Kills, one after the other, each at a moment that nobody chose."""

WORKERS_DIE_WHEN = (
    "it has begun",
    "it computes",
    "its files are written",
    "its data are to get their name",
    "its data have their name",
    "its manifest is in place",
    "its commit is done",
    "its event is recorded",
)

KILLS = DAEMON + EVERYTHING + len(WORKERS_DIE_WHEN)
"""In this module."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, warm) -> tuple[Scene, dict[Cell, str]]:
    """An experiment that is asked for, nothing of it made; and what a run gives that nobody kills."""
    scene = scene_of_many_chromosomes(tmp_path_factory.mktemp("backfill") / "scene", CHROMS)
    prepare_daemon(scene.home)
    scene.keep("empty")
    warm.do(deeds.make, **scene.names, names=NAMES)
    return scene, scene.versions()


@pytest.mark.parametrize(("kill", "times"), [("kill_daemon", DAEMON), ("kill_everything", EVERYTHING)])
def test_a_backfill_comes_to_its_end_by_itself(uninterrupted, warm, kill, times):
    scene, versions = uninterrupted
    with asked(scene) as instance:
        seen: dict[Cell, str] = {}
        for _ in range(times):
            deployment = Deployment.start(warm, scene)
            time.sleep(random.uniform(0.5, 3))
            getattr(deployment, kill)()
            before, seen = seen, scene.versions()
            assert before.items() <= seen.items() <= versions.items()
        completes(scene, instance, Deployment.start(warm, scene), versions)


def test_runs_whose_workers_are_killed_are_made_again_by_the_daemon(uninterrupted, warm):
    """Each worker that is forked dies at the next point of the list, until there is none left."""
    scene, versions = uninterrupted
    with asked(scene) as instance:
        deployment = Deployment.start(warm, scene, points=WORKERS_DIE_WHEN)
        completes(scene, instance, deployment, versions)
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        assert len(failed) == len(WORKERS_DIE_WHEN)
        for run in failed:
            said = [entry.message for entry in instance.all_logs(run.run_id)]
            assert any("killed by signal 9" in line or "is gone" in line for line in said), said


def completes(scene: Scene, instance: dg.DagsterInstance, deployment: Deployment, versions: Mapping[Cell, str]) -> None:
    """The backfill comes to its end, and all is as if nothing had happened."""
    try:
        wait(instance, deployment)
    finally:
        deployment.stop()
    assert instance.get_backfill("asked").status.value == "COMPLETED_SUCCESS"
    assert scene.versions() == versions
    assert scene.left() == []


@contextmanager
def asked(scene: Scene) -> Iterator[dg.DagsterInstance]:
    """The instance of the scene, in which nothing is made and everything asked for."""
    scene.back_to("empty")
    with dg.DagsterInstance.from_config(str(scene.home.dagster)) as instance:
        ask(scene, instance)
        yield instance


def ask(scene: Scene, instance: dg.DagsterInstance) -> None:
    """For a backfill of all chromosomes, as the UI does."""
    from dagster._core.execution.backfill import PartitionBackfill

    graph = build_defs([scene.lineage.experiment], scene.home.root).get_repository_def().asset_graph
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id="asked",
        asset_graph=graph,
        partition_names=None,
        asset_selection=[scene.lineage.key(*name.split("/")) for name in NAMES],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=True,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)


def wait(instance: dg.DagsterInstance, deployment: Deployment) -> None:
    """Until the backfill has ended, one way or the other."""
    until = time.monotonic() + PATIENCE_S
    while instance.get_backfill("asked").status.value in ("REQUESTED", "FAILING"):
        assert not deployment.daemon.code.done(), "the daemon ended by itself"
        assert time.monotonic() < until, [run.status.value for run in instance.get_runs()]
        time.sleep(0.2)

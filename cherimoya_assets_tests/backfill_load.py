"""A load of asset backfills through the real daemon, and what Dagster and the store say became of it.

Used by the tests at a small size and by `benchmarks/load.py` at the size of a laboratory.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.execution.backfill import PartitionBackfill

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.build import stages
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiments
from cherimoya_assets.home import Home
from cherimoya_assets.instance import prepare_instance
from cherimoya_assets_tests.many_experiments import many_experiments

Cell = tuple[dg.AssetKey, str | None]

PATIENCE_S = 600.0
"""Without any run that ended in between, something hangs."""

COMPLAINTS = re.compile(r"\blocked|[Dd]eadlock|Traceback|Error\b|\bERROR\b|\bFATAL\b|could not serialize")
"""What a log must not say."""

DAEMON = """
import sys
from dagster._daemon import controller
from dagster._daemon.cli import main
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = float(sys.argv.pop(1))
main()
"""
"""`dagster-daemon`, which looks after backfills at this interval; Dagster has no setting for its 30 seconds."""


@dataclass(frozen=True)
class Load:
    """Experiments in a home of their own, and nothing made yet. `environment` belongs to whoever opens the home."""

    home: Home
    files: Path
    lineages: tuple[ExperimentLineage, ...]
    environment: Mapping[str, str]

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The Dagster instance of the home."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            with dg.DagsterInstance.from_config(str(self.home.dagster)) as instance:
                yield instance
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    @property
    def log(self) -> Path:
        return self.home.root / "daemon.log"

    @property
    def log_until_the_end(self) -> Path:
        """What the log said when the daemon was told to end."""
        return self.home.root / "daemon_until_the_end.log"

    def cells(self, names: Collection[str] | None = None) -> set[Cell]:
        """Every partition of the assets with these last names (of all assets), of all experiments."""
        return {
            (key, chrom)
            for lineage in self.lineages
            for stage in stages(lineage)
            for key in stage.keys
            if names is None or key.path[-1] in names
            for chrom in (lineage.chroms if stage.partitioned else (None,))
        }


def prepare(
    folder: Path,
    experiments: int,
    chromosomes: int,
    *,
    settings: str = "",
    environment: Mapping[str, str] | None = None,
) -> Load:
    """Write the experiments and the home's `dagster.yaml`, to which `settings` are added as a user would."""
    files = many_experiments(folder, experiments, chromosomes)
    home = Home(folder / "home")
    config = prepare_instance(home) / "dagster.yaml"
    written = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**written, **(yaml.safe_load(settings) or {})}))
    lineages = tuple(ExperimentLineage(experiment, home) for experiment in read_experiments(files))
    return Load(
        home,
        files,
        lineages,
        {
            **(environment or {}),
            "DAGSTER_HOME": str(home.dagster),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "CHERIMOYA_ASSETS_EXPERIMENTS": str(files),
            "CHERIMOYA_ASSETS_HOME": str(home.root),
        },
    )


@contextmanager
def daemon(load: Load, *, seconds_between_looks: float = 30.0) -> Iterator[Callable[[], None]]:
    """`dagster-daemon run` and its code server; yields what fails when the daemon has ended."""
    command = [sys.executable, "-W", "ignore", "-c", DAEMON, str(seconds_between_looks)]
    with load.log.open("w") as said:
        # A process group of its own, so that what it started can be ended with it.
        process = subprocess.Popen(
            [*command, "run", "-m", "cherimoya_assets.definitions"],
            env={**os.environ, **load.environment},
            cwd=load.home.root,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )

    def alive() -> None:
        assert process.poll() is None, f"the daemon ended with {process.returncode}: {load.log.read_text()[-3000:]}"

    try:
        yield alive
    finally:
        # What it says when it is interrupted, at whatever it does then, is no complaint.
        shutil.copy(load.log, load.log_until_the_end)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        finally:
            # The group's id is the pid of its leader; there is nobody left where all has gone well.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def submit(load: Load, instance: dg.DagsterInstance, names: Collection[str] | None = None) -> dict[str, float]:
    """Ask for a backfill of every experiment, as the UI does; returns the time of each by its id.

    `names` are the last names of the assets, None for the whole graph. The UI's `launchPartitionBackfill` makes the
    same object from its arguments and adds it in the same way.
    """
    graph = (
        build_defs([lineage.experiment for lineage in load.lineages], load.home.root).get_repository_def().asset_graph
    )
    asked = {}
    for lineage in load.lineages:
        keys = {key for key, _ in load.cells(names) if key.path[0] == lineage.name}
        now = time.time()
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id=lineage.name,
            asset_graph=graph,
            partition_names=None,
            asset_selection=sorted(keys),
            backfill_timestamp=now,
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=True,
            title=None,
            description=None,
            run_config=None,
        )
        instance.add_backfill(backfill)
        asked[backfill.backfill_id] = now
    return asked


def wait_for(
    instance: dg.DagsterInstance,
    backfills: Collection[str],
    alive: Callable[[], None],
    tell: Callable[[int], None] = lambda ended: None,
) -> None:
    """Wait until every backfill says that it is completed; `tell` is called with the number of runs that ended."""
    ended, moved = -1, time.monotonic()
    while True:
        alive()
        over = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
        now = instance.get_runs_count(over)
        if now != ended:
            ended, moved = now, time.monotonic()
            tell(ended)
        found = [instance.get_backfill(backfill) for backfill in backfills]
        if all(
            backfill is not None and backfill.status.value.startswith(("COMPLETED", "FAILED")) for backfill in found
        ):
            return
        assert time.monotonic() < moved + PATIENCE_S, f"no run ended for {PATIENCE_S:.0f} s after {ended} that did"
        time.sleep(1)


def landed(load: Load, instance: dg.DagsterInstance) -> Counter[Cell]:
    """How many materializations of each partition the event log has."""
    counts: Counter[Cell] = Counter()
    for key in {key for key, _ in load.cells()}:
        for record in instance.fetch_materializations(key, limit=10_000).records:
            counts[key, record.partition_key] += 1
    return counts


def contradictions(load: Load, instance: dg.DagsterInstance) -> list[str]:
    """Where the event log and the store do not say the same of a partition: its run and its data version."""
    differing = []
    for key in sorted({key for key, _ in load.cells()}):
        for record in instance.fetch_materializations(key, limit=10_000).records:
            manifest = load.lineages[0].store.manifest(tuple(key.path), record.partition_key)
            entry = record.event_log_entry
            logged = (entry.run_id, entry.asset_materialization.tags["dagster/data_version"])
            stored = None if manifest is None else (manifest.stamp.run_id, manifest.version)
            if logged != stored:
                differing.append(
                    f"{key.to_user_string()} [{record.partition_key}]: {logged} is logged, {stored} stored"
                )
    return differing


def complaints(load: Load, instance: dg.DagsterInstance, *texts: str) -> list[str]:
    """Everything that went wrong by the logs: of the daemon while it was up, of all runs, and a server's `texts`."""
    texts = (load.log_until_the_end.read_text(), *texts)
    said = [line for text in texts for line in text.splitlines() if COMPLAINTS.search(line)]
    for run in instance.get_runs():
        if run.status != dg.DagsterRunStatus.SUCCESS:
            said.append(f"run {run.run_id} is {run.status.value}")
        for entry in instance.all_logs(run.run_id):
            if entry.level >= 40 or COMPLAINTS.search(entry.message):
                said.append(f"run {run.run_id}: {entry.message}")
    return said

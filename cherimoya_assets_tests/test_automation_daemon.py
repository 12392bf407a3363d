"""The real daemon, its code server and its sensors: a changed peak becomes a new report without a hand on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import Versions
from cherimoya_assets.build import stages
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.instance import open_instance
from cherimoya_assets_tests.narrow_demo import materialize_everything
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

pytestmark = pytest.mark.slow

PATIENCE_S = 420.0
"""A step of the chain takes some ten seconds on two busy cores, and there are six."""


def test_a_changed_peak_becomes_a_new_report_by_itself(tmp_path):
    # Without names of seqlets: a step less to wait for. The motifs are inserted still.
    file = tiny_experiment(
        tmp_path,
        {"automation": "eager", "motifs": None, "chroms": ["chrA", "chrB"], "marginalize": {"motifs": "motifs.meme"}},
    )
    lineage = ExperimentLineage(read_experiment(file), Home(tmp_path / "home"))
    materialize_everything(file, lineage.home.root)
    before = stamps(lineage)
    page = lineage.store.folder(("tiny", "experiment_report"), None) / "latest" / "experiment.html"
    was = page.read_bytes()

    with (tmp_path / "peaks.bed").open("a") as peaks:
        peaks.write("chrB\t800\t840\n")
    with daemon(lineage, tmp_path) as alive:
        wait(lambda: remade(lineage, before) >= {("experiment_report", None)}, alive)
        found = remade(lineage, before)
        with open_instance(lineage.home) as instance:
            wait(lambda: observed(instance, lineage) == Versions(lineage).by_chromosome(lineage.key("peaks")), alive)

    assert found == {
        ("one_hot_sequences", "chrB"),
        ("counts/attributions", "chrB"),
        ("counts/seqlet_null", None),
        ("counts/seqlets", "chrA"),
        ("counts/seqlets", "chrB"),
        ("counts/modisco_patterns", None),
        *({("counts/modisco_report", None)} & found),  # too few loci for a pattern: the same file as before
        ("counts/attribution_tracks", None),
        ("experiment_report", None),
    }
    assert page.read_bytes() != was
    kept = lineage.store.load(("tiny", "one_hot_sequences"), "chrB").kept
    assert "chrB:800-840" in list(kept["locus_id"])


@contextmanager
def daemon(lineage: ExperimentLineage, folder: Path) -> Iterator[Callable[[], None]]:
    """`dagster-daemon run` with the sensors started; yields what fails the test when the daemon has ended."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(lineage.home.dagster.resolve()),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "CHERIMOYA_ASSETS_EXPERIMENTS": str(lineage.experiment.source),
        "CHERIMOYA_ASSETS_HOME": str(lineage.home.root),
        "CHERIMOYA_ASSETS_AUTOMATION": "on",
    }
    log = folder / "daemon.log"
    command = [sys.executable, "-W", "ignore", "-m", "dagster._daemon", "run", "-m", "cherimoya_assets.definitions"]
    with log.open("w") as said:
        # A process group of its own, so that what it started can be ended with it.
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=said, stderr=said, start_new_session=True
        )

    def alive() -> None:
        if process.poll() is not None:
            pytest.fail(f"the daemon ended with {process.returncode}: {log.read_text()[-3000:]}")

    try:
        yield alive
    except BaseException:
        print(log.read_text()[-5000:])
        raise
    finally:
        for stop in (signal.SIGINT, signal.SIGKILL):
            if process.poll() is None:
                # The group's id is the pid of its leader, which lives still.
                process.send_signal(stop) if stop == signal.SIGINT else os.killpg(process.pid, stop)
                try:
                    process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    continue


def wait(until: Callable[[], bool], alive: Callable[[], None]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not until():
        alive()
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.5)


def stamps(lineage: ExperimentLineage) -> dict[tuple[str, str | None], str]:
    """The run that made each cell."""
    versions = Versions(lineage)
    return {
        ("/".join(key.path[1:]), chrom): versions.manifest(key, chrom).stamp.run_id
        for stage in stages(lineage)
        for key in stage.keys
        for chrom in (lineage.chroms if stage.partitioned else (None,))
    }


def remade(lineage: ExperimentLineage, before: dict[tuple[str, str | None], str]) -> set[tuple[str, str | None]]:
    return {cell for cell, run in stamps(lineage).items() if run != before[cell]}


def observed(instance: dg.DagsterInstance, lineage: ExperimentLineage) -> dict[str, str]:
    """The versions of the peaks that Dagster knows."""
    found = {}
    for chrom in lineage.chroms:
        record = instance.get_latest_data_version_record(lineage.key("peaks"), partition_key=chrom)
        found[chrom] = record.event_log_entry.asset_observation.data_version
    return found

"""Many experiments through Dagster's daemon: does each partition land once, what does it cost beyond its work?

    .venv/bin/python benchmarks/load.py --storage sqlite --experiments 12 --chromosomes 24      # some ten minutes
    .venv/bin/python benchmarks/load.py --storage postgres --experiments 12 --chromosomes 24
    .venv/bin/python benchmarks/load.py --storage sqlite --experiments 1 --chromosomes 24 --whole-graph

One asset backfill for each experiment is submitted as the UI does it: one_hot_sequences and attributions of all
chromosomes, a run each, or with `--whole-graph` everything. Daemon, code server and run workers are the real ones, with
the `dagster.yaml` of a new home and runs that start warm (`warm_launcher.py`); PostgreSQL's server is started on
loopback for the occasion. The experiments are tiny (two loci a chromosome, a model of two layers), so that what is
measured is not their work.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import dagster as dg
from machine import describe

ROOT = Path(__file__).parent.parent
# The same code as the test's; tests are not installed with the package.
sys.path.insert(0, str(ROOT))

from cherimoya_assets.analysis.attributions import attribute  # noqa: E402
from cherimoya_assets.analysis.models import load_model  # noqa: E402
from cherimoya_assets.analysis.one_hot import one_hot_sequences  # noqa: E402
from cherimoya_assets.assets.lineage import ExperimentLineage  # noqa: E402
from cherimoya_assets.assets.one_hot_sequences import placed_loci  # noqa: E402
from cherimoya_assets_tests.backfill_load import (  # noqa: E402
    Load,
    complaints,
    contradictions,
    daemon,
    landed,
    prepare,
    submit,
    wait_for,
)
from cherimoya_assets_tests.servers.postgresql import documented_settings, postgresql  # noqa: E402

BY_CHROMOSOME = ("one_hot_sequences", "attributions")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--storage", choices=("sqlite", "postgres"), required=True)
    parser.add_argument("--experiments", type=int, default=12)
    parser.add_argument("--chromosomes", type=int, default=24)
    parser.add_argument("--whole-graph", action="store_true", help="every asset, pooled ones too")
    arguments = parser.parse_args()
    names = None if arguments.whole_graph else BY_CHROMOSOME
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="load")))
        size = (arguments.experiments, arguments.chromosomes)
        if arguments.storage == "postgres":
            server = stack.enter_context(postgresql())
            load = prepare(folder, *size, settings=documented_settings(), environment=server.environment)
        else:
            server, load = None, prepare(folder, *size)
        instance = stack.enter_context(load.instance())
        progress = Progress(size[0] * size[1] * (2 if arguments.whole_graph else 1))
        with daemon(load) as alive:
            began = time.time()
            backfills = submit(load, instance, names)
            wait_for(instance, backfills, alive, progress.tell)
            completed = time.time() - began
        report(load, instance, names, began, completed, arguments, server.said() if server else "")


class Progress:
    """A line now and then: how far, since when, how long still."""

    def __init__(self, runs: int) -> None:
        self._runs, self._began, self._last = runs, time.monotonic(), 0.0
        print("runs ended   of at least   minutes   minutes left", flush=True)

    def tell(self, ended: int) -> None:
        now = time.monotonic()
        if ended == 0 or now - self._last < 15:
            return
        self._last, minutes = now, (now - self._began) / 60
        left = f"{minutes * (self._runs - ended) / ended:12.1f}" if ended < self._runs else ""
        print(f"{ended:10d} {self._runs:13d} {minutes:9.1f} {left}", flush=True)


def report(
    load: Load,
    instance: dg.DagsterInstance,
    names: Collection[str] | None,
    began: float,
    completed: float,
    arguments: argparse.Namespace,
    server_log: str,
) -> None:
    """Print what became of the load, and what it cost."""
    records = instance.get_run_records()
    partitions = arguments.experiments * arguments.chromosomes
    cores = len(os.sched_getaffinity(0))
    last = max(record.end_time for record in records if record.end_time) - began
    lives = [record.end_time - record.start_time for record in records if record.end_time and record.start_time]
    steps = sum(
        entry.dagster_event.step_success_data.duration_ms / 1000
        for record in records
        for entry in instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
    )
    counts, wanted = landed(load, instance), load.cells(names)
    said = complaints(load, instance, server_log)
    differing = contradictions(load, instance)
    print()
    print(describe())
    print(f"cores      {cores}, load average at the end {os.getloadavg()[1]:.1f} (5 minutes)")
    what = "the whole graph" if arguments.whole_graph else " and ".join(BY_CHROMOSOME)
    print(f"work       {arguments.experiments} experiments x {arguments.chromosomes} chromosomes, {what}")
    print(f"storage    {arguments.storage}: {type(instance.run_storage).__name__}")
    print()
    print(f"partitions of assets wanted, landed once        {len(wanted)}, {sum(counts[cell] == 1 for cell in wanted)}")
    print(f"landed more than once, or not wanted            {sum(counts[c] != 1 or c not in wanted for c in counts)}")
    print(f"event log and store differ                      {len(differing)}")
    print(f"runs; complaints in logs of runs and servers    {len(records)}; {len(said)}")
    print(f"from submission to the last run's end           {last:.1f} s")
    print(f"from submission to completed                    {completed:.1f} s")
    print(f"a run from start to end, median                 {median(lives):.2f} s")
    if not arguments.whole_graph:
        work = seconds_of_work(load.lineages[0])
        print(f"work of a partition, without Dagster            {work:.2f} s")
        print(f"wall clock a partition                          {completed / partitions:.2f} s")
        print(f"overhead a partition, wall clock                {completed / partitions - work / cores:.2f} s")
        print(f"overhead a partition, seconds of a core         {completed * cores / partitions - work:.2f} s")
        print(f"the same, with the steps' own seconds as work   {(completed * cores - steps) / partitions:.2f} s")
    for line in [*said, *differing][:20]:
        print(f"  {line}")
    if said or differing or counts != dict.fromkeys(wanted, 1):
        raise SystemExit(1)


def seconds_of_work(lineage: ExperimentLineage) -> float:
    """What the two steps of a chromosome compute, in this process with everything imported."""
    experiment = lineage.experiment
    models = {fold: load_model(file, "cpu") for fold, file in experiment.model.items()}
    seconds = []
    for chrom in lineage.chroms[:4]:
        began = time.perf_counter()
        loci = placed_loci(lineage)
        block = one_hot_sequences(lineage.genome, loci[loci["chrom"] == chrom], chrom, experiment.in_window)
        attribute(
            models,
            block,
            outputs=experiment.output,
            method=experiment.method,
            attr_window=experiment.attr_window,
            group=experiment.group,
            batch_size=experiment.batch_size,
            dtype=experiment.dtype,
            device="cpu",
        )
        seconds.append(time.perf_counter() - began)
    # The first compiles.
    return median(seconds[1:])


if __name__ == "__main__":
    main()

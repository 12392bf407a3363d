"""run: make what is out of date of an experiment, stage by stage, with a line a chromosome."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cherimoya_assets.cli.arguments import add_device, add_experiment, add_home, writable_home
from cherimoya_assets.errors import Problems
from cherimoya_assets.printable import printable

if TYPE_CHECKING:
    from dagster import AssetKey

    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets.home import Home
    from cherimoya_assets.walk import Outcome

DONE, FAILED = 0, 1

TRACEBACKS = "tracebacks.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    parser.add_argument(
        "--select",
        nargs="+",
        default=[],
        metavar="ASSET",
        help="only these assets: seqlets (of every head), counts/seqlets, marginalization_report, ...",
    )
    parser.add_argument(
        "--chroms",
        nargs="+",
        default=[],
        metavar="CHROM",
        help="only these chromosomes of the experiment; pooled assets are made once every chromosome is there",
    )
    parser.add_argument("--force", action="store_true", help="make what is up to date, too")
    add_home(parser)
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets.experiment import read_experiment
    from cherimoya_assets.installation import verify_installation
    from cherimoya_assets.preflight import check_experiment
    from cherimoya_assets.runs.pool_waiting import sleep_while_waiting
    from cherimoya_assets.walk import select_assets, select_chroms

    home = writable_home(arguments)
    verify_installation()
    # The runs of a walk are in this process, and have no executor of their own.
    sleep_while_waiting()
    if problems := check_experiment(arguments.experiment, home.cache, device=arguments.device):
        raise Problems(problems)
    lineage = ExperimentLineage(read_experiment(arguments.experiment), home)
    keys = select_assets(lineage, arguments.select) if arguments.select else None
    chroms = select_chroms(lineage, arguments.chroms) if arguments.chroms else lineage.chroms
    return walk_and_show(lineage, home, keys, chroms, arguments.device or "", force=arguments.force)


def walk_and_show(
    lineage: ExperimentLineage,
    home: Home,
    keys: Collection[AssetKey] | None,
    chroms: tuple[str, ...],
    device: str,
    *,
    force: bool = False,
) -> int:
    """Walk the stages under the eyes of the user; returns the exit code."""
    from cherimoya_assets.cli.display import Display
    from cherimoya_assets.cli.summary import ending
    from cherimoya_assets.cli.terminal import own_terminal
    from cherimoya_assets.instance import open_instance
    from cherimoya_assets.renaming import kept_under_another_name
    from cherimoya_assets.walk import walk

    began, weights = time.perf_counter(), loci_of_chroms(lineage)
    # Those of the run before. At the end of this one they may be those of another that goes on beside it.
    (home.root / TRACEBACKS).unlink(missing_ok=True)
    with own_terminal() as terminal:
        print(printable(headline(lineage, weights, chroms)), file=terminal)
        if elsewhere := kept_under_another_name(lineage):
            print(printable(elsewhere), file=terminal)
        display = Display.on(terminal, {chrom: weights[chrom] for chrom in chroms})
        try:
            with open_instance(home) as instance:
                outcome = walk(lineage, instance, display, keys=keys, chroms=chroms, device=device, force=force)
        finally:
            display.stage_ends()
    if not outcome.made and not outcome.skipped:
        if outcome.elsewhere:
            print("\nEverything is up to date: other runs made it meanwhile.")
        else:
            print("\nEverything is up to date: nothing was made. To make it anyway: --force")
        return DONE
    tracebacks = write_tracebacks(outcome, home)
    print(printable(ending(outcome, lineage, tracebacks, time.perf_counter() - began)))
    nothing = keys is not None and not outcome.made and not outcome.elsewhere
    return FAILED if outcome.failed or nothing else DONE


def loci_of_chroms(lineage: ExperimentLineage) -> dict[str, int]:
    """Loci with a window on each chromosome: how the work is spread."""
    from cherimoya_assets.analysis.loci import KEPT
    from cherimoya_assets.assets.one_hot_sequences import placed_loci

    loci = placed_loci(lineage)
    counts = loci.loc[loci["status"] == KEPT, "chrom"].value_counts()
    return {chrom: int(counts.get(chrom, 0)) for chrom in lineage.chroms}


def headline(lineage: ExperimentLineage, weights: Mapping[str, int], chroms: tuple[str, ...]) -> str:
    loci = sum(weights[chrom] for chrom in chroms)
    some = "" if len(chroms) == len(lineage.chroms) else f" (of {len(lineage.chroms)})"
    return (
        f"{lineage.name}: {counted(loci, 'locus', 'loci')} on {counted(len(chroms), 'chromosome')}{some}, "
        f"{' and '.join(lineage.heads)}, {counted(len(lineage.experiment.model), 'model')}\n"
        f"home: {lineage.home.root}"
    )


def counted(n: int, noun: str, plural: str = "") -> str:
    """`1 locus`, `2 loci`."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def write_tracebacks(outcome: Outcome, home: Home) -> Path | None:
    """Keep the tracebacks of unforeseen failures for a bug report, below those of runs at the same time."""
    texts = [
        f"{made.partition or 'all chromosomes'}, run {made.run_id}\n{failure.traceback}\n"
        for made in outcome.made
        for failure in made.failures
        if failure.traceback
    ]
    if not texts:
        return None
    path = home.root / TRACEBACKS
    with path.open("a") as file:
        file.write("\n".join(texts))
    return path

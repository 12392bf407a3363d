"""rename: take over what an experiment stored under its old name, without computing anything."""

from __future__ import annotations

import argparse

from cherimoya_assets.cli.arguments import add_experiment, add_home, writable_home
from cherimoya_assets.printable import printable

DONE = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    parser.add_argument("old", metavar="OLD", help="the name that the experiment had when its values were made")
    add_home(parser)


def run(arguments: argparse.Namespace) -> int:
    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets.experiment import read_experiment
    from cherimoya_assets.renaming import take_over

    lineage = ExperimentLineage(read_experiment(arguments.experiment), writable_home(arguments))
    print(printable(take_over(lineage, arguments.old)))
    return DONE

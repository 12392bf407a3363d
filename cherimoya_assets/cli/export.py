"""export: write the files that cherimoya's own pipeline would have written, for its commands and others to read."""

from __future__ import annotations

import argparse
from pathlib import Path

from cherimoya_assets.cli.arguments import add_experiment, add_home, chosen_home
from cherimoya_assets.printable import printable

DONE, INCOMPLETE = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    parser.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder to write into; several heads go to DIR/counts and DIR/profile, one head to DIR itself",
    )
    parser.add_argument(
        "--head", choices=("counts", "profile"), help="only this head (default: every head of the experiment)"
    )
    add_home(parser)


def run(arguments: argparse.Namespace) -> int:
    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets.errors import ExperimentError
    from cherimoya_assets.experiment import read_experiment
    from cherimoya_assets.export import export_experiment

    lineage = ExperimentLineage(read_experiment(arguments.experiment), chosen_home(arguments))
    if arguments.head and arguments.head not in lineage.heads:
        raise ExperimentError(
            f"--head {arguments.head}: {lineage.name} has only {', '.join(lineage.heads)}. "
            "Add it to `output` in the experiment file and run it."
        )
    exported = export_experiment(
        lineage, arguments.to.resolve(), (arguments.head,) if arguments.head else lineage.heads
    )
    print(printable("\n".join(map(str, exported.paths))))
    if not exported.left_out:
        return DONE
    print(printable("\n".join(["\nNot exported:", *(f"  {sentence}" for sentence in exported.left_out)])))
    return INCOMPLETE

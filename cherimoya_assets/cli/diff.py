"""diff: what changed from one run of an experiment to another: motifs, attributions, seqlets, inputs, parameters."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cherimoya_assets.cli.arguments import add_experiment, add_home, chosen_home

if TYPE_CHECKING:
    from cherimoya_assets.analysis.run_comparison import RunRecord
    from cherimoya_assets.assets.lineage import ExperimentLineage

COMPARED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    parser.add_argument(
        "--against",
        type=Path,
        required=True,
        metavar="B",
        help="what to compare with: another home, or a run_record.npz (or a folder with one, such as a report)",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a self-contained page")
    add_home(parser)


def run(arguments: argparse.Namespace) -> int:
    from cherimoya_assets.analysis.run_comparison import compare_runs
    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets.assets.run_record import record_run
    from cherimoya_assets.errors import StorageError
    from cherimoya_assets.experiment import read_experiment
    from cherimoya_assets.reports.run_comparison import comparison_page, comparison_text

    home = chosen_home(arguments)
    lineage = ExperimentLineage(read_experiment(arguments.experiment), home)
    before, after = record_of(arguments.against, lineage), record_run(lineage)
    if not after.heads:
        raise StorageError(
            f"{home.root}: no attributions of {lineage.name} are stored. "
            f"Run the experiment first: cherimoya-assets run {arguments.experiment} --home {home.root}"
        )
    difference = compare_runs(before, after)
    print(comparison_text(difference))
    if arguments.html is not None:
        page = comparison_page(difference, lineage.name, str(arguments.against), str(home.root))
        try:
            arguments.html.write_text(page, encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{arguments.html}: cannot be written ({error.strerror}). Name another file.") from error
        print(f"\n{arguments.html}")
    return COMPARED


def record_of(place: Path, lineage: ExperimentLineage) -> RunRecord:
    """The record of a home, of a folder that has a record, or of a record file.

    Raises:
        StorageError: there is nothing to compare with.
    """
    from cherimoya_assets.analysis.run_record_file import read_record
    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets.assets.run_record import RECORD, record_run
    from cherimoya_assets.errors import StorageError
    from cherimoya_assets.home import Home

    file = place / RECORD if place.is_dir() else place
    if file.is_file():
        return read_record(file.read_bytes(), str(file))
    home = Home(place.resolve())
    record = record_run(ExperimentLineage(lineage.experiment, home))
    if not record.heads:
        raise StorageError(
            f"--against {place}: neither a home in which attributions of {lineage.name} are stored nor a folder with "
            f"{RECORD}. Name one of them."
        )
    return record

"""drift: for each partition of each asset, whether it is up to date, and the reason where it is not."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from cherimoya_assets.cli.arguments import add_experiment, add_home, chosen_home
from cherimoya_assets.printable import printable

if TYPE_CHECKING:
    from cherimoya_assets.assets.drift import Freshness

ANSWERED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a list of {asset, partition, fresh, reason}, partition null if pooled",
    )
    add_home(parser)


def run(arguments: argparse.Namespace) -> int:
    from cherimoya_assets.assets.drift import Drift
    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets.build import stages
    from cherimoya_assets.experiment import read_experiment
    from cherimoya_assets.renaming import kept_under_another_name

    lineage = ExperimentLineage(read_experiment(arguments.experiment), chosen_home(arguments))
    found = Drift(lineage).of_assets(key for stage in stages(lineage) for key in stage.keys)
    print(
        json.dumps([as_json(one) for one in found], indent=1)
        if arguments.json
        else as_text(found, kept_under_another_name(lineage))
    )
    return ANSWERED


def as_json(one: Freshness) -> dict[str, object]:
    """One partition as plain values."""
    return {
        "asset": "/".join(one.key.path[1:]),
        "partition": one.partition,
        "fresh": one.fresh,
        "reason": one.reason,
    }


def as_text(found: list[Freshness], elsewhere: str) -> str:
    """A line for each partition that is not fresh, how many are, and where else their values are."""
    stale = [one for one in found if not one.fresh]
    if not stale:
        return f"Everything is up to date: {len(found)} partitions."
    lines = [one.sentence for one in stale]
    lines.append(f"\n{len(found) - len(stale)} of {len(found)} partitions are up to date; `run` makes the others.")
    if elsewhere:
        lines.append(elsewhere)
    return printable("\n".join(lines))

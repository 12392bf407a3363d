"""reap: end what a crash left behind: runs without a process, places in pools, device leases, half-written files."""

from __future__ import annotations

import argparse
from pathlib import Path

from cherimoya_assets.errors import StorageError
from cherimoya_assets.home import HOME_NAME, Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--home",
        type=Path,
        default=Path(HOME_NAME),
        metavar="DIR",
        help=f"the home to look at (default: {HOME_NAME} in this folder)",
    )


def run(arguments: argparse.Namespace) -> int:
    home = Home(arguments.home.resolve())
    if not home.dagster.is_dir():
        raise StorageError(f"{home.root}: is not a home: it has no dagster folder. Name one with --home.")
    print("\n".join(reap(home) or ["nothing to do"]))
    return 0


def reap(home: Home) -> list[str]:
    """End what a crash left behind in a home and on this machine; says what, a sentence each."""
    import dagster as dg

    from cherimoya_assets.instance import prepare_instance
    from cherimoya_assets.resources.chunks import forget_landed
    from cherimoya_assets.resources.leases import clear_leases
    from cherimoya_assets.resources.storage import AssetStore
    from cherimoya_assets.runs.reaping import end_abandoned_runs, free_slots

    with dg.DagsterInstance.from_config(str(prepare_instance(home))) as instance:
        done = [f"run {run_id}: ended, its process is gone" for run_id in end_abandoned_runs(instance)]
        done += [f"run {run_id}: its pool slots are released" for run_id in free_slots(instance)]
    done += clear_leases()
    store = AssetStore(home.store)
    done += [f"{left}: removed, its partition has landed" for left in forget_landed(store)]
    return done + [f"{left}: removed, its writer died" for left in store.sweep()]

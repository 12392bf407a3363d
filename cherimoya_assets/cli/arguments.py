"""Arguments that several commands take, and what they mean."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cherimoya_assets.errors import StorageError
from cherimoya_assets.home import HOME_NAME, Home, default_home


def add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "experiment",
        type=Path,
        metavar="EXPERIMENT.yaml",
        help="the experiment file (or one of cherimoya's JSON parameter files)",
    )


def add_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        help=f"where the Dagster instance and the assets live (default: {HOME_NAME} beside the experiment file)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", metavar="D", help="auto, cpu, cuda or cuda:N (default: what the experiment file says)"
    )


def chosen_home(arguments: argparse.Namespace) -> Home:
    """`--home`, or the home beside the experiment."""
    return Home(arguments.home.resolve()) if arguments.home else default_home(arguments.experiment)


def writable_home(arguments: argparse.Namespace) -> Home:
    """The chosen home, for a command that writes into it.

    Raises:
        StorageError: it cannot be made or written, or the store elsewhere cannot. No folder is made to find that out.
    """
    home = chosen_home(arguments)
    there = next(path for path in (home.root, *home.root.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "is no folder" if not there.is_dir() else "may not be written by you"
        raise StorageError(f"{home.root}: cannot be written, {there} {reason}. Name a writable folder with --home.")
    if isinstance(home.store, str):
        # Dagster comes along with it: only where `storage.yaml` asks for it.
        from cherimoya_assets.resources.storage import AssetStore

        AssetStore(home.store).verify_writable()
    return home

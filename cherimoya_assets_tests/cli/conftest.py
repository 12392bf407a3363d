"""A tiny experiment that `cherimoya-assets run` has made, for every command that looks at one."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A complete run: (experiment file, home, what was said). Not to be written to."""
    from cherimoya_assets_tests.cli.command import command
    from cherimoya_assets_tests.tiny_experiment import tiny_experiment

    folder = tmp_path_factory.mktemp("tiny_run")
    file = tiny_experiment(folder)
    return file, folder / "cherimoya_home", command("run", file)


@pytest.fixture
def tiny_copy(tiny_run, tmp_path):
    """The same in a folder of its own, to be changed: (experiment file, home)."""
    folder = tmp_path / "experiment"
    shutil.copytree(tiny_run[0].parent, folder, symlinks=True)
    return folder / tiny_run[0].name, folder / "cherimoya_home"

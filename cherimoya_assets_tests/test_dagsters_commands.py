"""Dagster's own commands find the code location: in the checkout, and where the package is only installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cherimoya_assets_tests.tiny_experiment import tiny_experiment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
VALID = "All definitions loaded successfully."

OF_THEIRS = {
    "theirs/definitions.py": "from cherimoya_assets.definitions import defs",
    "dg.toml": 'directory_type = "project"\n\n[project]\nroot_module = "theirs"',
}
"""As the README has them."""


@pytest.fixture
def said(tmp_path):
    """Runs a command of Dagster's in a folder, for a tiny experiment; what it said."""
    dagster_home = tmp_path / "dagster_home"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    surroundings = {
        **os.environ,
        "DAGSTER_HOME": str(dagster_home),
        "CHERIMOYA_ASSETS_EXPERIMENTS": str(tiny_experiment(tmp_path)),
        "CHERIMOYA_ASSETS_HOME": str(tmp_path / "home"),
    }

    def run(folder: Path, command: str) -> str:
        program, *words = command.split()
        words = [sys.executable, str(Path(sys.executable).with_name(program)), *words]
        done = subprocess.run(words, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def elsewhere(tmp_path):
    """A folder outside of the checkout, with the two files that `dg` wants there."""
    folder = tmp_path / "elsewhere"
    (folder / "theirs").mkdir(parents=True)
    for name, text in OF_THEIRS.items():
        (folder / name).write_text(text)
    return folder


def test_dg_checks_and_lists_the_definitions_in_the_checkout(said):
    assert VALID in said(ROOT, "dg check defs")
    assert '"tiny/counts/seqlets"' in said(ROOT, "dg list defs --json")


def test_dg_checks_and_lists_them_in_a_folder_of_ones_own(said, elsewhere):
    assert VALID in said(elsewhere, "dg check defs")
    assert '"tiny/counts/seqlets"' in said(elsewhere, "dg list defs --json")


@pytest.mark.parametrize(
    ("inside", "words"), [(True, ""), (True, "-w workspace.yaml"), (False, "-m cherimoya_assets.definitions")]
)
def test_dagster_validates_the_definitions(said, elsewhere, inside, words):
    found = said(ROOT if inside else elsewhere, f"dagster definitions validate {words}")
    assert "Validation successful for code location cherimoya_assets" in found


def test_the_readme_shows_the_files_that_dg_wants():
    readme = (ROOT / "README.md").read_text()
    assert all(name in readme and text in readme for name, text in OF_THEIRS.items())

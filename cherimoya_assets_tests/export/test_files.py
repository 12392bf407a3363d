"""Exported files: which ones, where, what is not overwritten, and that the field's own reports read them.

That their numbers are those of the field's commands is held in `test_parity.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.narrow_demo import HEADS

BIN = Path(sys.executable).parent

FILES = {
    "narrow.attributions.ohe.npz",
    "narrow.attributions.attr.npz",
    "narrow.attributions.idxs.npy",
    "narrow.seqlets.bed",
    "narrow.seqlets_annotated.bed",
    "narrow.motif_seqlet_count.tsv",
    "narrow_modisco_results.h5",
    "narrow_modisco",
    "narrow_marginalize",
    "narrow.attribute.json",
    "narrow.seqlets.json",
    "narrow.marginalize.json",
    "narrow.export.json",
}


@pytest.fixture(scope="module")
def exported(narrow_run, tmp_path_factory):
    """The folder with both heads' exported files."""
    folder = tmp_path_factory.mktemp("exported")
    said = command("export", narrow_run.file, "--home", narrow_run.home, "--to", folder)
    assert said.code == 0, said
    return folder


def tool(folder: Path, *arguments: object) -> str:
    """Run a command of the field in a folder; returns what it printed."""
    done = subprocess.run(
        [str(BIN / str(arguments[0])), *map(str, arguments[1:])], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("head", HEADS)
def test_every_file_of_the_pipeline_is_there(exported, head):
    assert {path.name for path in (exported / head).iterdir()} == FILES


@pytest.mark.parametrize("head", HEADS)
def test_modisco_reads_the_exported_patterns(exported, head, tmp_path):
    h5 = exported / head / "narrow_modisco_results.h5"
    tool(tmp_path, "modisco", "report", "-i", h5, "-o", tmp_path / "report", "-s", "./")
    assert (tmp_path / "report" / "report.html").is_file() or (tmp_path / "report" / "motifs.html").is_file()


def test_one_head_goes_to_the_folder_itself(exported, narrow_run, tmp_path):
    said = command("export", narrow_run.file, "--home", narrow_run.home, "--to", tmp_path, "--head", "profile")
    assert said.code == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert (tmp_path / "narrow.seqlets.bed").read_text() == (exported / "profile" / "narrow.seqlets.bed").read_text()
    # Once more over itself.
    assert (
        command("export", narrow_run.file, "--home", narrow_run.home, "--to", tmp_path, "--head", "profile").code == 0
    )


def test_a_foreign_file_is_not_overwritten(narrow_run, tmp_path):
    (tmp_path / "narrow.seqlets.bed").write_text("mine")
    said = command("export", narrow_run.file, "--home", narrow_run.home, "--to", tmp_path, "--head", "counts")
    assert (said.code, (tmp_path / "narrow.seqlets.bed").read_text()) == (2, "mine")
    assert "narrow.seqlets.bed" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["narrow.seqlets.bed"]


def test_nothing_materialized_is_one_sentence(narrow_run, tmp_path):
    said = command("export", narrow_run.file, "--home", tmp_path / "empty", "--to", tmp_path / "to")
    assert said.code == 1
    assert "cherimoya-assets run" in said.err
    assert not (tmp_path / "to").exists()

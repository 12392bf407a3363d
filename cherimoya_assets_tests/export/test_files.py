"""Exported files: which ones, where, what is not overwritten, and that the field's own reports read them.

That their numbers are those of the field's commands is held in `test_parity.py`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cherimoya_assets.analysis.modisco import ModiscoPatterns
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.narrow_demo import CHROMS, HEADS

BIN = Path(sys.executable).parent

FILES = {
    "narrow.attributions.ohe.npz",
    "narrow.attributions.attr.npz",
    "narrow.attributions.idxs.npy",
    "narrow.peaks.narrowPeak",
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


def test_of_a_file_that_was_sorted_since_everything_exported_has_its_order(exported, narrow_run, tmp_path, monkeypatch):
    shutil.copytree(narrow_run.file.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("home"))
    file = tmp_path / "copy" / narrow_run.file.name
    (loci,) = read_experiment(file).loci
    loci.write_text("".join(sorted(loci.read_text().splitlines(keepends=True), key=hash_of)))
    named = []
    monkeypatch.setattr(ModiscoPatterns, "naming_rows_of", lambda own, loci: named.append(list(loci)) or own)
    said = command("export", file, "--home", narrow_run.home, "--to", tmp_path / "to")
    assert said.code == 0, said
    rows = [line.split("\t")[:3] for line in loci.read_text().splitlines()]
    rows = [f"{chrom}:{start}-{end}" for chrom, start, end in rows if chrom in CHROMS]
    for head, names in zip(HEADS, named, strict=True):
        before, after = arrays(exported / head), arrays(tmp_path / "to" / head)
        assert sorted(map(bytes, before)) == sorted(map(bytes, after))
        assert list(map(bytes, before)) != list(map(bytes, after))
        kept = np.load(tmp_path / "to" / head / "narrow.attributions.idxs.npy")
        assert names == [row for row, there in zip(rows, kept, strict=True) if there]


def hash_of(row: str) -> str:
    return hashlib.sha256(row.encode()).hexdigest()


def arrays(folder: Path):
    return np.load(folder / "narrow.attributions.attr.npz")["arr_0"]

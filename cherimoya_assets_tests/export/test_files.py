"""Exported files against the field's own commands: rerun on the same input, read what was written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
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
def test_attributions_equal_one_unpartitioned_cherimoya_attribute(exported, head, tmp_path):
    parameters = exported / head / "narrow.attribute.json"
    tool(tmp_path, "cherimoya", "attribute", "-p", parameters)
    for name, tolerance in (("ohe.npz", 0), ("attr.npz", 1e-5)):
        ours = np.load(exported / head / f"narrow.attributions.{name}")["arr_0"]
        theirs = np.load(tmp_path / f"narrow.attributions.{name}")["arr_0"]
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
    ours, theirs = (np.load(folder / "narrow.attributions.idxs.npy") for folder in (exported / head, tmp_path))
    assert ours.dtype == theirs.dtype == bool
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("head", HEADS)
def test_seqlets_equal_cherimoya_seqlets_on_the_exported_attributions(exported, head, tmp_path):
    parameters = json.loads((exported / head / "narrow.seqlets.json").read_text())
    parameters["output_filename"] = str(tmp_path / "theirs.bed")
    (tmp_path / "p.json").write_text(json.dumps(parameters))
    tool(exported / head, "cherimoya", "seqlets", "-p", tmp_path / "p.json")
    theirs = (tmp_path / "theirs.bed").read_text()
    assert theirs
    assert (exported / head / "narrow.seqlets.bed").read_text() == theirs


@pytest.mark.parametrize("head", HEADS)
def test_annotated_seqlets_equal_ttl_on_the_exported_seqlets(exported, head, narrow_run):
    lineage = narrow_run.lineage
    bins = ["-s", 100, "-m", 1000, "-a", 100, "-c", 250]
    bed = exported / head / "narrow.seqlets.bed"
    printed = tool(exported / head, "ttl", "-f", lineage.genome.fasta, "-b", bed, "-t", lineage.motif_file, *bins)
    assert (exported / head / "narrow.seqlets_annotated.bed").read_text() == printed
    # As cherimoya's pipeline counts them.
    column = pd.read_csv(
        exported / head / "narrow.seqlets_annotated.bed", sep="\t", header=None, usecols=(3,), names=["motifs"]
    )
    counted = column.value_counts().to_csv(sep="\t")
    assert (exported / head / "narrow.motif_seqlet_count.tsv").read_text() == counted


@pytest.mark.parametrize("head", HEADS)
def test_modisco_reads_the_exported_patterns(exported, head, tmp_path):
    h5 = exported / head / "narrow_modisco_results.h5"
    tool(tmp_path, "modisco", "report", "-i", h5, "-o", tmp_path / "report", "-s", "./")
    assert (tmp_path / "report" / "report.html").is_file() or (tmp_path / "report" / "motifs.html").is_file()


def test_marginalize_runs_on_the_exported_parameters(exported, tmp_path):
    tool(tmp_path, "cherimoya", "marginalize", "-p", exported / "counts" / "narrow.marginalize.json")
    ours = {
        path.relative_to(exported / "counts").as_posix()
        for path in (exported / "counts" / "narrow_marginalize").rglob("*")
        if path.is_file()
    }
    theirs = {
        path.relative_to(tmp_path).as_posix() for path in (tmp_path / "narrow_marginalize").rglob("*") if path.is_file()
    }
    assert ours == theirs


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

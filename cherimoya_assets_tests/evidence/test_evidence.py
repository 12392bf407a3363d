"""Files as people have them: every row of evidence.yaml gives the values that are right, or its sentence."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.loci import place_windows, read_loci
from cherimoya_assets.analysis.main_chromosomes import main_chromosomes
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.errors import CherimoyaAssetsError
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.preflight import check_experiment
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

TABLE: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "evidence.yaml").read_text())

ROWS = [row for row in TABLE if row["kind"] not in ("checkpoint", "parameters")]
"""test_checkpoints.py and test_parameter_files.py have the others."""

FILES = {"fasta": "genome.fa", "bed": "peaks.bed", "meme": "motifs.meme", "experiment": "tiny.yaml"}


def content(row: dict[str, Any]) -> bytes:
    packed = row.get("as", "utf-8")
    if packed == "gzip":
        return gzip.compress(row["text"].encode())
    if packed == "bgzip":
        # A block for each line, as bgzip's members follow each other.
        return b"".join(gzip.compress(line.encode()) for line in row["text"].splitlines(keepends=True))
    return row["text"].encode(packed)


def written(row: dict[str, Any], folder: Path) -> Path:
    path = folder / row.get("file", FILES[row["kind"]])
    path.write_bytes(content(row))
    return path


def chosen(row: dict[str, Any], folder: Path) -> Any:
    return list(main_chromosomes(row["contigs"]).chosen)


def sequences(row: dict[str, Any], folder: Path) -> Any:
    genome = open_genome(written(row, folder), folder / "cache")
    return {chrom: genome.fetch(chrom, 0, size) for chrom, size in genome.chrom_sizes.items()}


def loci(row: dict[str, Any], folder: Path) -> Any:
    placed = place_windows(
        read_loci([written(row, folder)], row["sizes"]), row["sizes"], row["window"], None, list(row["sizes"])
    )
    kept = placed["status"] == "kept"
    return list(placed.loc[kept, "locus_id"]), placed.loc[~kept, "status"].value_counts().to_dict()


def motifs(row: dict[str, Any], folder: Path) -> Any:
    return {name: matrix.T.tolist() for name, matrix in read_motifs(written(row, folder)).items()}


def values(row: dict[str, Any], folder: Path) -> Any:
    file = tiny_experiment(folder)
    file.write_text(file.read_text() + row["text"])
    experiment = read_experiment(file)
    return {key: list(getattr(experiment, key)) for key in row["values"]}


FOUND = {"contigs": chosen, "fasta": sequences, "bed": loci, "meme": motifs, "experiment": values}


def right(row: dict[str, Any]) -> Any:
    if row["kind"] == "bed":
        return row["kept"], row.get("lost", {})
    return row[{"contigs": "main", "fasta": "sequences", "meme": "motifs", "experiment": "values"}[row["kind"]]]


def named(row: dict[str, Any]) -> str:
    return f"{row['kind']}: {row['name']}"


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_a_file_gives_what_is_right(row, tmp_path):
    if "sentence" in row:
        with pytest.raises(CherimoyaAssetsError, match=row["sentence"]):
            FOUND[row["kind"]](row, tmp_path)
    else:
        assert FOUND[row["kind"]](row, tmp_path) == right(row)


@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] != "contigs"], ids=named)
def test_check_says_the_same(row, tmp_path):
    """The file in an experiment that is right otherwise: nothing of it is found, or the one sentence."""
    changes: dict[str, Any] = {"negatives": None, "motifs": "motifs.meme"}
    if row["kind"] in ("bed", "meme"):
        changes["loci" if row["kind"] == "bed" else "motifs"] = row.get("file", FILES[row["kind"]])
    experiment = tiny_experiment(tmp_path, changes)
    if row["kind"] == "experiment":
        experiment.write_text(experiment.read_text() + row["text"])
        genome = dict.fromkeys(row["values"]["chroms"], 600)
    else:
        written(row, tmp_path)
        genome = row.get("sizes", {})
    if genome:
        (tmp_path / "genome.fa").write_text("".join(f">{chrom}\n{'ACGT' * (n // 4)}\n" for chrom, n in genome.items()))
    if row["kind"] in ("fasta", "experiment"):
        first = next(iter(genome or row.get("sequences", {"chrA": ""})))
        (tmp_path / "peaks.bed").write_text(f"{first}\t0\t2\n")
    problems = check_experiment(experiment, tmp_path / "cache")
    if "sentence" in row:
        assert len(problems) == 1 and re.search(row["sentence"], problems[0]), problems
    else:
        assert problems == []


@pytest.mark.parametrize("row", [row for row in ROWS if "motifs" in row and "w=" in row["text"]], ids=named)
def test_motifs_are_those_of_memelite(row, tmp_path):
    from memelite.io import read_meme

    truth = read_meme(str(written(row, tmp_path)))
    assert {name: np.asarray(matrix).T.tolist() for name, matrix in truth.items()} == row["motifs"]


def test_no_two_rows_are_one():
    assert len({(row["kind"], row["name"]) for row in TABLE}) == len(TABLE)
    assert all(row["source"].startswith("http") for row in TABLE)

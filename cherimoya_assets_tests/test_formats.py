"""docs/formats.md against the files themselves: columns, dtypes, shapes, signs and coordinates."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyfaidx
import pytest

from cherimoya_assets.analysis.annotation import annotate_seqlets
from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.seqlets import COLUMNS, SeqletTable
from cherimoya_assets.analysis.tables import typed_table
from cherimoya_assets_tests.narrow_demo import CHROMS, HEADS

pytestmark = pytest.mark.slow

FORMATS = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()

TYPES = {"int64": "int64", "float64": "float64", "float32": "float32", "int8": "int8", "text": "str"}


def documented() -> dict[tuple[str, str], str]:
    """What the table of the store says of each file of each asset."""
    found, asset = {}, ""
    for row in re.findall(r"^\| (.*?) ?\| `([\w.]+)` \| (.*) \|$", FORMATS.partition("## The export")[0], re.MULTILINE):
        asset = row[0] or asset
        found[asset, row[1]] = row[2]
    return found


DOCUMENTED = documented()


def columns(text: str) -> dict[str, str]:
    """Names in backticks before the first full stop, each with the type that follows it, if one does."""
    listed = (
        re.split(r"\. |: a row", text)[0] if not text.startswith("a row") else text.split(": ", 1)[1].split(". ")[0]
    )
    names: dict[str, str] = {}
    for name, said in re.findall(r"`([\w-]+)`(?: \(([^)]*)\))?", listed):
        kind = next((kind for kind in TYPES if re.match(kind, said or "")), "")
        names[name] = kind
    return names


@pytest.fixture(scope="module")
def store(narrow_run):
    return narrow_run.lineage.home.store / "narrow"


@pytest.fixture(scope="module")
def genome(narrow_run):
    with pyfaidx.Fasta(str(narrow_run.lineage.genome.fasta)) as genome:
        yield genome


def files(store: Path, asset: str, name: str) -> list[Path]:
    found = [*store.glob(f"{asset}/*/latest/{name}"), *store.glob(f"*/{asset}/*/latest/{name}")]
    assert found, (asset, name)
    return found


def bases(genome, chrom: str, start: int, end: int) -> str:
    return str(genome[chrom][start:end]).upper()


def letters(one_hot) -> str:
    return "".join(np.array(list("ACGT"))[one_hot.argmax(axis=0)])


TABLES = [key for key in DOCUMENTED if key[1].endswith(".parquet")]


@pytest.mark.parametrize(("asset", "name"), TABLES, ids=str)
def test_a_table_has_the_columns_of_the_document(store, asset, name):
    said = columns(DOCUMENTED[asset, name])
    if asset == "annotated_seqlets":
        said = columns(DOCUMENTED["seqlets", "seqlets.parquet"]) | said
    assert said
    for path in files(store, asset, name):
        table = pd.read_parquet(path)
        assert set(table.columns) == set(said), path
        for column, kind in said.items():
            if kind:
                assert str(table[column].dtype) == kind, (path, column)


ARRAYS = [key for key in DOCUMENTED if key[1].endswith(".npz") and "run_record" not in key[1]]


@pytest.mark.parametrize(("asset", "name"), ARRAYS, ids=str)
def test_arrays_have_the_names_and_types_of_the_document(store, asset, name):
    said = DOCUMENTED[asset, name]
    for path in files(store, asset, name):
        with np.load(path, allow_pickle=False) as held:
            assert set(held.files) <= set(re.findall(r"`(\w+)`", said)), path
            for array, kind in re.findall(r"`(\w+)`: (int8|int64|float32|float64)", said):
                if array in held.files:
                    assert held[array].dtype == kind, (path, array)


def test_windows_are_where_the_document_says(store, genome, narrow_run):
    experiment = narrow_run.lineage.experiment
    for chrom in CHROMS:
        (folder,) = store.glob(f"one_hot_sequences/{chrom}/latest")
        loci = pd.read_parquet(folder / "loci.parquet")
        middle = loci["start"] + (loci["end"] - loci["start"]) // 2
        assert (loci["window_start"] == middle - experiment.in_window // 2).all()
        kept = loci[loci["status"] == "kept"]
        one_hot = np.load(folder / "one_hot.npz")["arr_0"]
        assert one_hot.shape == (len(kept), 4, experiment.in_window)
        for window, start in zip(one_hot, kept["window_start"], strict=True):
            assert letters(window) == bases(genome, chrom, start, start + experiment.in_window)
        for head in HEADS:
            (folder,) = store.glob(f"{head}/attributions/{chrom}/latest")
            with np.load(folder / "loci.npz") as held:
                assert list(held["locus_id"]) == list(kept["locus_id"])
                shift = experiment.in_window // 2 - experiment.attr_window // 2
                assert (held["window_start"] == kept["window_start"].to_numpy() + shift).all()
                starts = held["window_start"]
            for window, start in zip(np.load(folder / "attributions.ohe.npz")["arr_0"], starts, strict=True):
                assert letters(window) == bases(genome, chrom, start, start + experiment.attr_window)


def projected(store: Path, head: str, chrom: str) -> tuple[np.ndarray, np.ndarray]:
    (folder,) = store.glob(f"{head}/attributions/{chrom}/latest")
    scores, one_hot = (np.load(folder / f"attributions.{name}.npz")["arr_0"] for name in ("attr", "ohe"))
    return (scores * one_hot).sum(axis=1), np.load(folder / "loci.npz")["window_start"]


@pytest.mark.parametrize("head", HEADS)
def test_a_seqlet_s_attribution_is_the_sum_over_its_coordinates(store, head):
    seen = 0
    for chrom in CHROMS:
        contributions, starts = projected(store, head, chrom)
        (path,) = store.glob(f"{head}/seqlets/{chrom}/latest/seqlets.parquet")
        for row in pd.read_parquet(path).itertuples():
            first = row.start - starts[row.example_idx]
            total = contributions[row.example_idx, first : first + row.end - row.start].sum()
            assert row.attribution == pytest.approx(total, rel=1e-4)
            seen += 1
    assert seen


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize(
    ("before", "part"), [(3, slice(0, 10)), (0, slice(0, 10)), (0, slice(3, 10)), (5, slice(0, 7))]
)
def test_the_sign_of_an_offset(tmp_path, strand, before, part):
    """A motif, or a part of it, planted in a genome: on either strand it begins -offset bases after the seqlet."""
    motif = "TGACTCAGCG"
    matrix = np.where(np.array(list("ACGT"))[:, None] == np.array(list(motif)), 0.94, 0.02)
    random = np.random.default_rng(0)
    others = {f"other {k}": random.dirichlet([0.3] * 4, size=9).T for k in range(50)}
    laid = motif if strand == "+" else motif[::-1].translate(str.maketrans("ACGT", "TGCA"))
    seqlet = "A" * before + laid[part]
    (tmp_path / "genome.fa").write_text(f">chr1\n{'C' * 20}{seqlet}{'C' * 20}\n")
    row = {"locus_id": ["x"], "chrom": ["chr1"], "start": [20], "end": [20 + len(seqlet)], "attribution": [1.0]}
    table = typed_table(COLUMNS, {**row, "p-value": [0.01], "example_idx": [0]})
    genome = open_genome(tmp_path / "genome.fa", tmp_path / "cache")
    found = annotate_seqlets(SeqletTable("chr1", table), genome, {"planted": matrix, **others}).table.iloc[0]
    assert (found["motif"], found["strand"]) == ("planted", strand)
    begins = before - part.start
    assert found["offset"] == -begins
    assert found["overlap"] == part.stop - part.start


def test_pattern_seqlets_are_mapped_as_the_document_says(store, narrow_run):
    import h5py

    experiment, seen = narrow_run.lineage.experiment, 0
    for head in HEADS:
        (folder,) = store.glob(f"{head}/modisco_patterns/_pooled/latest")
        assert set(json.loads((folder / "counts.json").read_text())) == set(
            re.findall(r"`(\w+)`", DOCUMENTED["modisco_patterns", "counts.json"])
        )
        pooled = {chrom: projected(store, head, chrom)[1] for chrom in CHROMS}
        starts = {f"{chrom}:{start}": start for chrom, values in pooled.items() for start in values.tolist()}
        assert starts
        table = pd.read_parquet(folder / "seqlets.parquet")
        with h5py.File(folder / "modisco_results.h5") as handle:
            for row in table.itertuples():
                held = handle[row.metacluster][row.pattern]["seqlets"]
                offset = experiment.attr_window // 2 - experiment.modisco.window // 2
                window_start = row.start - offset - int(held["start"][row.seqlet])
                assert f"{row.chrom}:{window_start}" in starts
                assert row.end - row.start == int(held["end"][row.seqlet]) - int(held["start"][row.seqlet])
                seen += 1
    assert seen or all(not len(pd.read_parquet(path)) for path in files(store, "modisco_patterns", "seqlets.parquet"))

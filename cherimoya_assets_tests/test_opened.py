"""An opened experiment gives what is stored, whole, verified and by name, and says what is not stored yet."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

import cherimoya_assets as ca
from cherimoya_assets.errors import InputError, StorageError
from cherimoya_assets.resources.stamp import Stamp
from cherimoya_assets_tests.assets.stored_experiment import put, stored_experiment
from cherimoya_assets_tests.toy_step import Toy, add_toy


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The tiny experiment with everything stored but tracks and experiment report. Not to be written to."""
    return stored_experiment(tmp_path_factory.mktemp("opened"))


@pytest.fixture
def lineage(tmp_path):
    return stored_experiment(tmp_path)


def opened_of(lineage):
    return ca.open_experiment(lineage.experiment.source, lineage.home.root)


def files(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_every_stored_asset_is_given_by_name_and_nothing_is_written(filled):
    before, opened = files(filled.home.root), opened_of(filled)
    for name in opened.names():
        if opened.state(name) != "not stored yet":
            assert opened[name] is not None
    assert files(filled.home.root) == before
    assert opened.names() == ["/".join(key.path[1:]) for key in filled.asset_keys]
    assert opened.chroms == ("chrA", "chrB", "chrC")


def test_one_chromosome_is_what_was_stored(filled):
    found = opened_of(filled)["counts/attributions", "chrB"]
    expected = filled.store.load(("tiny", "counts", "attributions"), "chrB")
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.locus_id.tolist() == expected.locus_id.tolist()


def test_all_chromosomes_together_are_the_rows_of_each_in_turn(filled):
    opened = opened_of(filled)
    for name in ("counts/seqlets", "profile/annotated_seqlets"):
        tables = [opened[name, chrom].table for chrom in opened.chroms]
        together = opened[name]
        assert together.chrom == ""
        pd.testing.assert_frame_equal(together.table, pd.concat(tables, ignore_index=True))
        assert set(together.table["chrom"]) == {"chrA", "chrB"}
    windows = opened["one_hot_sequences"]
    assert len(windows.one_hot) == len(windows.kept) == 5 < len(windows.loci) == 6
    attributions = opened["counts/attributions"]
    assert attributions.locus_id.tolist() == windows.kept["locus_id"].tolist()
    assert attributions.chrom.tolist() == windows.kept["chrom"].tolist()
    for chrom in opened.chroms:
        block, rows = opened["counts/attributions", chrom], attributions.chrom == chrom
        np.testing.assert_array_equal(attributions.scores[rows], block.scores)
        np.testing.assert_array_equal(attributions.window_start[rows], block.window_start)
    effects = opened["marginalization_effects"]
    assert (effects.chrom, effects.n_backgrounds) == ("", 9)
    assert len(effects.table) == sum(len(opened["marginalization_effects", chrom].table) for chrom in opened.chroms)


def test_a_type_that_it_does_not_know_is_given_by_chromosome(lineage, monkeypatch):
    add_toy(monkeypatch)
    opened = opened_of(lineage)
    for n, chrom in enumerate(opened.chroms):
        lineage.store.commit(lineage.store.stage(Toy(n)), ("tiny", "counts", "toys"), chrom)
    assert opened["counts/toys"] == {"chrA": Toy(0), "chrB": Toy(1), "chrC": Toy(2)}


def test_the_text_of_it_shows_what_is_there(lineage):
    lineage.store.remove(("tiny", "counts", "seqlets"), "chrB")
    (lineage.store.folder(("tiny", "profile", "seqlets"), "chrA") / "latest" / "seqlets.parquet").write_bytes(b"x")
    lines = repr(opened_of(lineage)).splitlines()
    assert lines[0] == f"tiny in {lineage.home.root}"
    said = dict(line.split(maxsplit=1) for line in lines[1:])
    assert said["counts/attributions"] == "3 of 3 chromosomes"
    assert said["counts/seqlets"] == "2 of 3 chromosomes"
    assert said["profile/seqlets"].startswith("2 of 3 chromosomes; damaged: ")
    assert said["counts/modisco_patterns"] == "stored"
    assert said["experiment_report"] == "not stored yet"


def test_what_is_not_stored_yet_is_named_with_what_is_and_how_to_make_it(lineage):
    lineage.store.remove(("tiny", "counts", "seqlets"), "chrB")
    opened = opened_of(lineage)
    said = r"counts/seqlets is not stored yet for chrB \(it is for chrA, chrC\)\. Make it: cherimoya-assets run .*tiny"
    with pytest.raises(StorageError, match=said):
        opened["counts/seqlets"]
    with pytest.raises(StorageError, match="not stored yet for chrB"):
        opened["counts/seqlets", "chrB"]
    assert len(opened["counts/seqlets", "chrA"].table)
    with pytest.raises(StorageError, match=r"^experiment_report is not stored yet\. Make it"):
        opened["experiment_report"]
    put(lineage, ("counts", "seqlets"), opened["profile/seqlets", "chrB"], "chrB")
    assert len(opened["counts/seqlets"].table), "what was stored since is seen"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("counts/seqlet", r"tiny has no asset 'counts/seqlet'\. Did you mean 'counts/seqlets'\?"),
        ("xyz", r"tiny has no asset 'xyz'\. It has one_hot_sequences, counts/attributions"),
        (("counts/seqlets", "chrZ"), r"has the chromosomes chrA, chrB, chrC; there is no chrZ"),
        (("counts/modisco_patterns", "chrA"), r"is one for all chromosomes; there is no chrA"),
    ],
    ids=str,
)
def test_a_name_that_there_is_not_is_said_with_those_that_there_are(filled, asked, said):
    with pytest.raises(InputError, match=said):
        opened_of(filled)[asked]


def test_a_file_that_was_changed_is_refused(lineage):
    file = lineage.store.folder(("tiny", "counts", "seqlets"), "chrA") / "latest" / "seqlets.parquet"
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content)
    with pytest.raises(StorageError, match=r"seqlets\.parquet: sha256 .* is not the recorded"):
        opened_of(lineage)["counts/seqlets"]


def test_chromosomes_that_were_made_differently_are_not_put_together_without_a_word(lineage):
    opened = opened_of(lineage)
    value = opened["counts/seqlets", "chrB"]
    stamp = Stamp(code_version="other")
    lineage.store.commit(lineage.store.stage(value, stamp), ("tiny", "counts", "seqlets"), "chrB")
    with pytest.warns(UserWarning, match=r"counts/seqlets: not all chromosomes were made with the same parameters"):
        opened["counts/seqlets"]


def test_the_home_is_the_one_beside_the_file_and_a_missing_one_is_said(lineage, tmp_path):
    with pytest.raises(StorageError, match=r"cherimoya_home: there is no such home"):
        ca.open_experiment(lineage.experiment.source)
    shutil.move(lineage.home.root, tmp_path / "cherimoya_home")
    assert len(ca.open_experiment(str(lineage.experiment.source))["counts/seqlets"].table)

"""A chromosome's version changes when a result of that chromosome can, and for no other reason."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from cherimoya_assets.analysis import input_versions
from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.input_versions import contig_versions, contigs_version, loci_versions, region_versions
from cherimoya_assets.analysis.loci import interleave, read_loci
from cherimoya_assets.errors import InputError, Problems

CHROMS = ("chrI", "chrII")
ROWS = ["chrI\t10\t20\ta", "chrI\t10\t20\tb", "chrII\t5\t9\tc", "chrI\t1\t4\td", "chrX\t1\t2\te", "chrII\t7\t8\tf"]


def of(folder: Path, *files: list[str] | bytes, suffix: str = ".bed", ends: str = "\n"):
    """The versions of files with these rows."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number, rows in enumerate(files):
        path = folder / f"{number}{suffix}"
        path.write_bytes(rows if isinstance(rows, bytes) else "".join(row + ends for row in rows).encode())
        paths.append(path)
    return loci_versions(paths, CHROMS, folder / "cache")


def rows_of(folder: Path, *files: list[str]):
    """The rows of each chromosome as a bag, each with the file that it is in, by the reader of loci."""
    of(folder, *files)
    loci = interleave(read_loci([folder / f"{number}.bed" for number in range(len(files))]), CHROMS)
    return [
        sorted(loci.loc[loci["chrom"] == chrom, ["source", "start", "end"]].itertuples(index=False, name=None))
        for chrom in CHROMS
    ]


@pytest.mark.parametrize(
    "same",
    [
        ROWS[::-1],
        sorted(ROWS),
        [row.rsplit("\t", 1)[0] for row in ROWS],
        ["# made on a Monday", "track name=peaks", *ROWS[:3], "", *ROWS[3:]],
        [row.replace("\t", " ") for row in ROWS],
    ],
    ids=["rows backwards", "rows by name", "columns that are not read", "comments and blank lines", "blanks for tabs"],
)
def test_saving_the_same_rows_in_another_way_changes_nothing(tmp_path, same):
    before, after = of(tmp_path / "a", ROWS), of(tmp_path / "b", same)
    assert (after.chroms, after.elsewhere) == (before.chroms, before.elsewhere)


def test_the_order_of_rows_has_a_version_of_its_own(tmp_path):
    """For what takes the first rows of a file."""
    order = of(tmp_path / "a", ROWS).order
    assert of(tmp_path / "b", ["# made on a Monday", *(row.replace("\t", " ") for row in ROWS)]).order == order
    swapped = [ROWS[3], *ROWS[1:3], ROWS[0], *ROWS[4:]]
    assert [row[:4] for row in swapped] == [row[:4] for row in ROWS]
    for number, other in enumerate((swapped, sorted(ROWS), [*ROWS, "chrI\t30\t40"])):
        assert of(tmp_path / f"c{number}", other).order != order


def test_compression_and_line_ends_change_nothing(tmp_path):
    plain = of(tmp_path / "a", ROWS)
    assert of(tmp_path / "b", ROWS, ends="\r\n") == plain
    for level in (1, 9):
        packed = gzip.compress("".join(row + "\n" for row in ROWS).encode(), level)
        assert of(tmp_path / f"c{level}", packed, suffix=".bed.gz") == plain


def test_a_row_more_changes_its_chromosome_alone(tmp_path):
    before, after = of(tmp_path / "a", ROWS), of(tmp_path / "b", [*ROWS, "chrII\t100\t120"])
    assert before.chroms["chrI"] == after.chroms["chrI"]
    assert before.chroms["chrII"] != after.chroms["chrII"]
    assert before.order != after.order
    assert before.elsewhere == after.elsewhere


def test_what_lies_on_other_chromosomes_is_elsewhere(tmp_path):
    before, after = of(tmp_path / "a", ROWS), of(tmp_path / "b", [*ROWS, "chrX\t100\t120"])
    assert (before.chroms, before.order) == (after.chroms, after.order)
    assert before.elsewhere != after.elsewhere


@pytest.mark.parametrize(
    "files",
    [
        ([*ROWS[2:], *ROWS[:2]],),
        (sorted(ROWS),),
        (ROWS[:3], ROWS[3:]),
        (ROWS[2::-1], ROWS[:2:-1]),
        (ROWS[3:], ROWS[:3]),
        (ROWS, []),
        ([], ROWS),
        (ROWS[:1], ROWS[1:2], ROWS[2:]),
        (["chrX\t1\t2", *ROWS[:3]], ROWS[3:]),
        (["chrII\t30\t40", *ROWS[:3]], ROWS[3:]),
    ],
)
def test_versions_are_equal_just_when_the_rows_are(tmp_path, files):
    """Against the rows themselves, each with its file: where it is read from decides cherimoya's order."""
    reference = (ROWS[:3], ROWS[3:])
    rows, others = rows_of(tmp_path / "a", *reference), rows_of(tmp_path / "b", *files)
    found, other = of(tmp_path / "a", *reference), of(tmp_path / "b", *files)
    for number, chrom in enumerate(CHROMS):
        assert (found.chroms[chrom] == other.chroms[chrom]) == (rows[number] == others[number]), chrom


def test_regions_are_a_set(tmp_path):
    def versions(*files: list[str]):
        for number, rows in enumerate(files):
            (tmp_path / f"{number}.bed").write_text("".join(row + "\n" for row in rows))
        return region_versions([tmp_path / f"{n}.bed" for n in range(len(files))], CHROMS, tmp_path / "cache")

    whole = versions(ROWS)
    assert versions(ROWS[::-1]) == versions(ROWS[:2], ROWS[2:]) == versions([*ROWS, *ROWS]) == whole
    more = versions([*ROWS, "chrII\t100\t120"])
    assert (more["chrI"] == whole["chrI"], more["chrII"] == whole["chrII"]) == (True, False)


def genome(folder: Path, text: str):
    folder.mkdir(exist_ok=True)
    (folder / "genome.fa").write_text(text)
    return open_genome(folder / "genome.fa", folder / "cache")


def test_a_contigs_version_is_the_hash_of_its_bases_in_upper_case(tmp_path):
    one = genome(tmp_path / "a", ">chrI\nACGTA\nCG\n>chrII\nNNAC\n")
    found = contig_versions(one, tmp_path / "a" / "cache")
    assert found == {
        "chrI": hashlib.sha256(b"ACGTACG").hexdigest(),
        "chrII": hashlib.sha256(b"NNAC").hexdigest(),
    }
    masked = genome(tmp_path / "b", ">chrI a comment\nac\nGT\nAC\nG\n>chrII\nNNAC\n")
    assert contig_versions(masked, tmp_path / "b" / "cache") == found
    assert contigs_version(masked) == contigs_version(one)
    other = genome(tmp_path / "c", ">chrI\nACGTACG\n>chrII\nNNAG\n")
    assert contig_versions(other, tmp_path / "c" / "cache")["chrI"] == found["chrI"]
    assert contig_versions(other, tmp_path / "c" / "cache")["chrII"] != found["chrII"]


def test_what_was_hashed_is_not_read_again(tmp_path, monkeypatch):
    one, peaks = genome(tmp_path / "a", ">chrI\nACGT\n"), of(tmp_path / "b", ROWS)
    contigs = contig_versions(one, tmp_path / "cache")
    for reader in ("_bases", "read_loci"):
        monkeypatch.setattr(input_versions, reader, lambda *_: pytest.fail("the file was read again"))
    assert contig_versions(one, tmp_path / "cache") == contigs
    assert loci_versions([tmp_path / "b" / "0.bed"], CHROMS, tmp_path / "b" / "cache") == peaks


def test_other_chromosomes_are_another_question(tmp_path):
    """What was remembered for some chromosomes is no answer for others."""
    of(tmp_path, ROWS)
    found = loci_versions([tmp_path / "0.bed"], ("chrX",), tmp_path / "cache")
    assert found.chroms.keys() == {"chrX"}


def test_a_missing_and_a_broken_file_are_said_by_the_reader(tmp_path):
    for versions in (loci_versions, region_versions):
        with pytest.raises(InputError, match="no such file"):
            versions([tmp_path / "no.bed"], CHROMS, tmp_path / "cache")
        (tmp_path / "bad.bed").write_text("chrI\t5\t1\n")
        with pytest.raises(Problems, match="line 1"):
            versions([tmp_path / "bad.bed"], CHROMS, tmp_path / "cache")

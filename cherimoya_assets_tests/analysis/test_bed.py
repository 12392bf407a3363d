"""The fast reader of BED files gives what the strict one gives, or leaves the file to it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cherimoya_assets.analysis import bed, loci, strict_bed
from cherimoya_assets.analysis.bed import read_plain
from cherimoya_assets.analysis.loci import read_loci
from cherimoya_assets.analysis.strict_bed import read_strictly
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.errors import InputError, Problems

DEMO = DEMO_EXPERIMENT.parent

PLAIN = st.builds(
    lambda chrom, start, width, rest: f"{chrom}\t{start}\t{start + width}{rest}",
    st.sampled_from(["chr1", "chrX", "1", "HLA-A*01:01", " chr1 ", "chr\u00fc"]),
    st.integers(0, 10**9),
    st.integers(1, 500),
    st.just("\tpeak\t9\t+"),
)
ODD = st.sampled_from(
    [
        "#chrom\tstart\tend",
        "track name=x",
        "track",
        "browser\tposition",
        "tracked\t1\t2\tpeak\t9\t+",
        "",
        "   ",
        "\t",
        "chr1\t5",
        "chr1 5 9",
        "chr1\t5\t9",
        "chr1\t+5\t9\tpeak\t9\t+",
        "chr1\t-5\t9\tpeak\t9\t+",
        "chr1\t9\t9\tpeak\t9\t+",
        "chr1\t1_0\t99\tpeak\t9\t+",
        "chr1\t0x1\t99\tpeak\t9\t+",
        "chr1\t 5\t9 \tpeak\t9\t+",
        "chr1\t\u0665\t9\tpeak\t9\t+",
        "chr1\t1\t9999999999999999999\tpeak\t9\t+",
        "chr1\t1\t999999999999999999\tpeak\t9\t+",
        "chr1\t007\t9\tpeak\t9\t+",
        'chr1\t1\t9\t"peak\t9\t+',
        "chr\x001\t1\t9\tpeak\t9\t+",
        "\ufeffchr1\t1\t9\tpeak\t9\t+",
        "\t1\t9\tpeak\t9\t+",
        "NA\t1\t9\tpeak\t9\t+",
        "null\t1\t9\tpeak\t9\t+",
        "a" * 50 + "\x0b\t1\t9\tpeak\t9\t+",
        "track\x0bx\t1\t9\tpeak\t9\t+",
        "track\u00a0x\t1\t9\tpeak\t9\t+",
    ]
)
BYTES = st.lists(
    st.sampled_from([b"chr1", b"track", b"#", b"\t", b" ", b"1", b"23", b"-", b"\x0b", b"\x1c", b"\xff"])
).map(b"".join)


SIZES = {"chr1": 10**9}


def outcome(read, path: Path) -> pd.DataFrame | str:
    """The table, or the sentences."""
    try:
        return read([path], SIZES)
    except (Problems, InputError) as error:
        return str(error)


@pytest.mark.slow
@given(
    st.lists(st.one_of(PLAIN, PLAIN, ODD).map(str.encode) | BYTES, max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
@example([b"#a", b"chr1\t1\t2"], b"\r", False, False)
@example([b"chr1\t1\t2", b"chr1\t1\t2"], b"\n", True, False)
@example([], b"\n", False, True)
@example([b"#a", b"track x"], b"\n", False, False)
@example([b"chr1\t1\t2\t\xff"], b"\n", True, False)
@example([b"#\xff", b"chr1\t1\t2"], b"\n", True, True)
@example([b"track\x0b\t1\t2"], b"\n", True, False)
@example([b"track\x1c\t1\t2"], b"\n", True, False)
@example([b"track\xc2\xa0\t1\t2"], b"\n", True, False)
@example([b"#" * strict_bed.LONGEST_LINE, b"chr1\t1\t2"], b"\n", True, False)
@example([b"chr1\t1\t2", b"#" * strict_bed.LONGEST_LINE, b"chr1\t1\t2"], b"\n", True, False)
@example([b"chr1\t1\t2", b"#" * (strict_bed.LONGEST_LINE - 1), b"chr1\t1\t2"], b"\n", True, False)
def test_tables_and_sentences_are_those_of_the_strict_reader(lines, end, ended, packed):
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("x.bed.gz" if packed else "x.bed")
        content = end.join(lines) + (end if ended else b"")
        path.write_bytes(gzip.compress(content) if packed else content)
        found = outcome(read_loci, path)
        expected = outcome(lambda *arguments: loci._named(read_strictly(*arguments)), path)
        if isinstance(expected, str):
            assert found == expected
        else:
            pd.testing.assert_frame_equal(found, expected)


def test_what_is_no_file_is_said_to_be_missing():
    # As a pipe, which would be read for ever.
    with pytest.raises(InputError, match="no such file"):
        read_loci([Path("/dev/null")])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_the_field_writes_needs_no_strict_reader(tmp_path, monkeypatch, end, packed):
    monkeypatch.setattr(loci, "read_strictly", lambda *_: pytest.fail("was read line by line"))
    rows = (DEMO / "peaks.narrowPeak").read_text().splitlines()
    text = end.join(["track type=narrowPeak", "# MACS", *rows[:500], "#between", *rows[500:], ""])
    path = tmp_path / ("peaks.narrowPeak.gz" if packed else "peaks.narrowPeak")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    expected = [tuple(row.split("\t")[:3]) for row in rows]
    found = read_loci([path])
    assert [
        (c, str(s), str(e)) for c, s, e in zip(found["chrom"], found["start"], found["end"], strict=True)
    ] == expected


@pytest.mark.parametrize("limit", ["MOST_LOCI", "LONGEST_LINE", "MOST_BYTES"])
def test_what_is_too_large_is_left_to_the_strict_reader(tmp_path, monkeypatch, limit):
    path = tmp_path / "x.bed"
    path.write_text("chr1\t1\t2\n" * 5)
    assert read_plain(path) is not None
    monkeypatch.setattr(bed, limit, 4)
    assert read_plain(path) is None


def test_a_file_is_read_once_and_anew_when_it_changed(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(loci, "read_plain", lambda path: opened.append(path.name) or read_plain(path))
    path, other = tmp_path / "x.bed", tmp_path / "y.bed"
    path.write_text("chr1\t1\t2\n")
    other.write_text("chr1\t1\t2\n")
    for _ in range(3):
        assert read_loci([path], {"chr1": 2})["end"].tolist() == [2]
        with pytest.raises(Problems):
            read_loci([path], {"chr1": 1})
        assert read_loci([path, other])["locus_id"].tolist() == ["chr1:1-2", "chr1:1-2/2"]
    assert opened == ["x.bed", "y.bed"]
    path.write_text("chr1\t1\t2\nchr1\t5\t9\n")
    assert len(read_loci([path])) == 2


def test_what_the_strict_reader_read_is_read_once_too(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(loci, "read_strictly", lambda paths, sizes: opened.append(paths) or read_strictly(paths, sizes))
    path, other = tmp_path / "x.bed", tmp_path / "y.bed"
    path.write_text("chr1 1 2\n")
    other.write_text("chr1\t1\t2\n")
    for _ in range(2):
        assert read_loci([path])["locus_id"].tolist() == ["chr1:1-2"]
        assert read_loci([other, path])["locus_id"].tolist() == ["chr1:1-2", "chr1:1-2/2"]
    assert opened == [[path]]


def test_a_file_that_took_anothers_place_is_read_anew(tmp_path):
    path, other = tmp_path / "x.bed", tmp_path / "y.bed"
    path.write_text("chr1\t1\t2\n")
    other.write_text("chr1\t1\t3\n")
    for each in (path, other):
        os.utime(each, ns=(0, 0))
    assert read_loci([path])["end"].tolist() == [2]
    other.replace(path)
    assert read_loci([path])["end"].tolist() == [3]


def test_a_link_whose_name_promises_gzip_is_no_plain_file(tmp_path):
    plain, link = tmp_path / "x.bed", tmp_path / "x.bed.gz"
    plain.write_text("chr1\t1\t2\n")
    link.symlink_to(plain)
    assert len(read_loci([plain])) == 1
    with pytest.raises(InputError, match=r"x\.bed\.gz: cannot be decompressed"):
        read_loci([link])


def test_what_a_caller_changes_is_the_callers(tmp_path):
    path = tmp_path / "x.bed"
    path.write_text("chr1\t1\t2\n")
    mine = read_loci([path])
    mine.loc[0, "start"] = 99
    mine["chrom"] = "chr2"
    assert read_loci([path]).iloc[0].tolist() == ["chr1:1-2", 0, "chr1", 1, 2]


def test_a_process_remembers_so_much_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(loci, "MOST_ROWS", 10)
    for number in range(8):
        (tmp_path / f"{number}.bed").write_text("chr1\t1\t2\n" * 4)
        read_loci([tmp_path / f"{number}.bed"])
    assert sum(len(table) for table in loci._read.values()) <= 10
    assert strict_bed.MOST_LOCI > loci.MOST_ROWS

"""The fast reader of BED files gives what the strict one gives, or leaves the file to it."""

from __future__ import annotations

import gzip
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


def strictly(path: Path) -> pd.DataFrame | None:
    try:
        return read_strictly([path], None)[0]
    except (Problems, InputError):
        return None


@pytest.mark.slow
@given(st.lists(st.one_of(PLAIN, PLAIN, ODD), max_size=6), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
@settings(max_examples=400, deadline=None)
@example(["#a", "chr1\t1\t2"], "\r", False)
@example(["chr1\t1\t2", "chr1\t1\t2"], "\n", True)
@example([], "\n", False)
def test_it_is_the_strict_reader_or_silent(lines, end, ended):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.bed"
        path.write_bytes((end.join(lines) + (end if ended else "")).encode())
        found, expected = read_plain(path), strictly(path)
        if found is not None:
            pd.testing.assert_frame_equal(found, expected)


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
    assert opened == ["x.bed", "x.bed", "y.bed"]
    path.write_text("chr1\t1\t2\nchr1\t5\t9\n")
    assert len(read_loci([path])) == 2


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

"""Loci: read strictly, ordered and lost exactly as tangermeme orders and loses them."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from cherimoya_assets.analysis.loci import (
    EDGE,
    EXCLUDED,
    HAS_N,
    KEPT,
    NOT_SELECTED,
    PLACED_COLUMNS,
    STATUSES,
    interleave,
    loss_ledger,
    place_windows,
    read_loci,
)
from cherimoya_assets.analysis.strict_bed import MOST_PROBLEMS
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.errors import InputError, Problems

DEMO = DEMO_EXPERIMENT.parent
DEMO_FILES = (DEMO / "peaks.narrowPeak", DEMO / "negatives.bed")


def bed(path, content):
    path.write_text(content)
    return path


def problems_of(paths, chrom_sizes=None) -> tuple[str, ...]:
    with pytest.raises(Problems) as caught:
        read_loci(paths, chrom_sizes)
    return caught.value.problems


# Reading.


@pytest.mark.parametrize("path", DEMO_FILES, ids=lambda path: path.name)
def test_the_demo_is_read_as_pandas_reads_it(path):
    theirs = pd.read_csv(path, sep="\t", header=None, usecols=[0, 1, 2], names=["chrom", "start", "end"])
    ours = read_loci([path])
    for column in theirs:
        assert ours[column].tolist() == theirs[column].tolist()
    assert len(ours) > 1000
    assert not ours["locus_id"].duplicated().any()


def test_columns_have_their_types_even_when_there_are_no_rows(tmp_path):
    some, none = read_loci([bed(tmp_path / "a.bed", "chrA\t1\t5\n")]), read_loci([bed(tmp_path / "b.bed", "")])
    types = {name: dtype for name, dtype in PLACED_COLUMNS.items() if name not in ("window_start", "status")}
    for table in (some, none, read_loci([])):
        assert {name: str(dtype) for name, dtype in table.dtypes.items()} == types
    assert len(none) == 0


@pytest.mark.parametrize(
    "content",
    [
        "chrA\t10\t50\nchrB\t0\t7\n",
        "chrA\t10\t50\nchrB\t0\t7",
        "chrA\t10\t50\r\nchrB\t0\t7\r\n",
        "chrA 10 50\nchrB   0 7\n",
        "chrA\t10\t50\tname with spaces\t0\t.\nchrB\t0\t7\tx\n",
        "#chrom\tstart\tend\ntrack name=x\nbrowser position chr1:1-2\nchrA\t10\t50\n\n   \n# more\nchrB\t0\t7\n",
    ],
    ids=["tabs", "no newline at the end", "CRLF", "spaces", "more columns", "headers, comments and blank lines"],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_the_same_loci_in_any_dress(content, compressed, tmp_path):
    path = tmp_path / ("a.bed.gz" if compressed else "a.bed")
    path.write_bytes(gzip.compress(content.encode()) if compressed else content.encode())
    loci = read_loci([path], {"chrA": 50, "chrB": 7})
    assert loci["locus_id"].tolist() == ["chrA:10-50", "chrB:0-7"]
    assert loci[["chrom", "start", "end"]].to_numpy().tolist() == [["chrA", 10, 50], ["chrB", 0, 7]]


def test_a_chromosome_named_track_or_browser_something_is_no_header(tmp_path):
    loci = read_loci([bed(tmp_path / "a.bed", "tracked\t1\t2\nbrowser_1\t3\t4\n")])
    assert loci["chrom"].tolist() == ["tracked", "browser_1"]


def test_a_chromosome_named_as_a_number_stays_text(tmp_path):
    assert read_loci([bed(tmp_path / "a.bed", "1\t1\t2\nX\t3\t4\n")])["chrom"].tolist() == ["1", "X"]


def test_repeated_loci_get_ids_of_their_own_across_files(tmp_path):
    a = bed(tmp_path / "a.bed", "chrA\t1\t5\nchrA\t1\t5\nchrA\t1\t6\n")
    b = bed(tmp_path / "b.bed", "chrA\t1\t5\n")
    loci = read_loci([a, b])
    assert loci["locus_id"].tolist() == ["chrA:1-5", "chrA:1-5/2", "chrA:1-6", "chrA:1-5/3"]
    assert loci["source"].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("chrA\t9\t3", "end 3 <= start 9; BED is 0-based, half-open. Fix the row or remove it."),
        ("chrA\t9\t9", "end 9 <= start 9; BED is 0-based, half-open. Fix the row or remove it."),
        ("chrA\t-1\t3", "start -1 is negative; BED is 0-based. Fix the row or remove it."),
        ("chrA\tx\t3", "start 'x' and end '3' must be whole numbers. Fix the row or remove it."),
        ("chrA\t1.0\t3", "start '1.0' and end '3' must be whole numbers. Fix the row or remove it."),
        ("chrA\t1_0\t30", "start '1_0' and end '30' must be whole numbers. Fix the row or remove it."),
        ("chrA\t1\t1" + "0" * 30, f"start '1' and end '1{'0' * 30}' must be whole numbers. Fix the row or remove it."),
        ("chrA\t1\t", "start '1' and end '' must be whole numbers. Fix the row or remove it."),
        (
            "chrA\t5",
            "2 column(s), but BED has at least three, separated by tabs: chrom, start, end. Fix the row.",
        ),
        (
            "chrA\t100\t101",
            "start 100 is past the end of chrA (100 bp). Is this file for another genome? Fix the row or remove it.",
        ),
    ],
)
def test_a_bad_line_is_named_with_its_number_in_the_file(line, sentence, tmp_path):
    path = bed(tmp_path / "peaks.bed", f"# a comment counts as a line\nchrA\t1\t5\n\n{line}\nchrA\t2\t100\n")
    assert problems_of([path], {"chrA": 100}) == (f"peaks.bed line 4: {sentence}",)


def test_a_locus_on_a_chromosome_that_is_not_there_is_no_error_of_reading(tmp_path):
    assert len(read_loci([bed(tmp_path / "a.bed", "chrUn\t1\t500000\n")], {"chrA": 100})) == 1


def test_all_bad_lines_of_all_files_are_named_and_only_twenty_of_each(tmp_path):
    a = bed(tmp_path / "a.bed", "chrA\t9\t3\n" * (MOST_PROBLEMS + 5))
    b = bed(tmp_path / "b.bed", "chrA\t1\t5\nchrA\t8\t2\n")
    problems = problems_of([a, b])
    assert [p.split(":")[0] for p in problems[:MOST_PROBLEMS]] == [f"a.bed line {k + 1}" for k in range(MOST_PROBLEMS)]
    assert problems[MOST_PROBLEMS] == "a.bed: 5 more lines like these."
    assert problems[MOST_PROBLEMS + 1 :] == (
        "b.bed line 2: end 2 <= start 8; BED is 0-based, half-open. Fix the row or remove it.",
    )


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("peaks.bed", None, r"peaks\.bed: no such file\. Restore it"),
        ("peaks.bed", b"\x89PNG\xff\xfe\x00", r"^peaks\.bed: is not text but binary data; a BED file was expected\.$"),
        ("peaks.bed.gz", b"chrA\t1\t5\n", r"^peaks\.bed\.gz: cannot be decompressed .* not gzip, or it is cut short"),
        (
            "peaks.bed.gz",
            gzip.compress(b"chrA\t1\t5\n" * 99, mtime=0)[:-12],
            r"^peaks\.bed\.gz: cannot be decompressed",
        ),
        ("peaks.bed.gz", gzip.compress(b"\xff\xfe", mtime=0), r"^peaks\.bed\.gz: is not text but binary data"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(name, content, sentence, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read_loci([tmp_path / name])
    assert "\n" not in str(caught.value)


def test_a_file_is_what_its_content_is_and_not_what_it_is_called(tmp_path):
    content = b"chrA\t1\t5\nchrB\t2\t9\n"
    files = {
        "a.bed.bgz": gzip.compress(content, mtime=0),
        "b.bed.GZ": gzip.compress(content, mtime=0),
        "c.bed": gzip.compress(content, mtime=0),
        "d.bed": b"\xef\xbb\xbf" + content,
        "e.bed": b"#\xe9t\xe9\n" + content.replace(b"5\n", b"5\tcaf\xe9\n"),
        "f.bed": content.replace(b"\n", b"\r"),
    }
    for name, packed in files.items():
        (tmp_path / name).write_bytes(packed)
        assert read_loci([tmp_path / name])["locus_id"].tolist() == ["chrA:1-5", "chrB:2-9"], name


def test_peaks_that_macs_extends_past_the_end_are_kept_and_lost_as_tangermeme_does(tmp_path):
    from tangermeme.io import extract_loci

    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), 600))
    (tmp_path / "g.fa").write_text(f">chrA\n{letters}\n")
    path = bed(tmp_path / "a.narrowPeak", "chrA\t250\t350\nchrA\t520\t619\nchrA\t500\t601\nchrA\t440\t701\n")
    loci = place_windows(read_loci([path], {"chrA": 600}), {"chrA": 600}, 100, None, ["chrA"])
    assert loci["status"].tolist() == [KEPT, EDGE, KEPT, EDGE]
    theirs = extract_loci(str(path), str(tmp_path / "g.fa"), in_window=100, return_mask=True)
    assert [bool(kept) for kept in theirs[-1]] == (loci["status"] == KEPT).tolist()


# Order.


def theirs_interleaved(paths, chroms):
    from tangermeme.io import _interleave_loci

    return _interleave_loci([str(path) for path in paths], chroms)


@pytest.mark.parametrize("chroms", [None, ["chrI"], ["chrXVI", "chrII", "chrI"], ["chrNone"]])
@pytest.mark.parametrize("files", [DEMO_FILES, DEMO_FILES[::-1], DEMO_FILES[:1], (*DEMO_FILES, DEMO_FILES[0])], ids=len)
def test_the_order_of_the_demo_is_tangermemes(files, chroms):
    ours, theirs = interleave(read_loci(files), chroms), theirs_interleaved(files, chroms)
    assert ours[["chrom", "start", "end"]].to_numpy().tolist() == theirs.to_numpy().tolist()
    assert ours.index.tolist() == list(range(len(theirs)))


def test_files_of_unequal_length_are_taken_in_turn_until_each_ends(tmp_path):
    short = bed(tmp_path / "a.bed", "chrA\t1\t2\n")
    long = bed(tmp_path / "b.bed", "".join(f"chrA\t{k}\t{k + 1}\n" for k in range(10, 14)))
    other = bed(tmp_path / "c.bed", "chrB\t50\t51\nchrA\t20\t21\n")
    ours = interleave(read_loci([short, long, other]), ["chrA"])
    assert ours["start"].tolist() == [1, 10, 20, 11, 12, 13]
    assert ours["start"].tolist() == theirs_interleaved([short, long, other], ["chrA"])["start"].tolist()


def test_an_empty_file_among_others_takes_no_turn(tmp_path):
    empty, full = bed(tmp_path / "a.bed", ""), bed(tmp_path / "b.bed", "chrA\t1\t2\nchrA\t3\t4\n")
    for files in ([empty, full], [full, empty], [full, empty, full]):
        expected = [1, 1, 3, 3] if len(files) == 3 else [1, 3]
        assert interleave(read_loci(files), None)["start"].tolist() == expected
    assert len(interleave(read_loci([empty]), None)) == 0


# Windows and status.

SIZES = {"chrA": 1_050, "chrB": 730, "chrC": 99}


def random_loci(seed: int, n: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    chroms = random.choice(list(SIZES), n)
    sizes = np.array([SIZES[chrom] for chrom in chroms])
    start = (random.random(n) * (sizes - 1)).astype(int)
    end = start + 1 + (random.random(n) * (sizes - start)).astype(int)
    return pd.DataFrame({"chrom": chroms, "start": start, "end": np.minimum(end, sizes)})


@pytest.mark.parametrize("in_window", [1, 2, 99, 100, 101, 350])
@pytest.mark.parametrize(
    "exclusion", [None, [("chrA", 400, 401), ("chrB", 0, 100), ("chrB", 690, 9999), ("chrX", 0, 9)]]
)
def test_what_is_kept_is_what_tangermeme_keeps(in_window, exclusion):
    from tangermeme.io import extract_loci

    loci = random_loci(in_window)
    excluded = None if exclusion is None else pd.DataFrame(exclusion, columns=["chrom", "start", "end"])
    placed = place_windows(loci, SIZES, in_window, excluded, list(SIZES))
    genome = {chrom: np.arange(4 * size).reshape(4, size) for chrom, size in SIZES.items()}
    windows, mask = extract_loci(
        loci, genome, in_window=in_window, exclusion_lists=excluded, return_mask=True, chroms=list(SIZES)
    )
    np.testing.assert_array_equal(placed["status"] == KEPT, mask)
    # The stand-in for a sequence is the coordinate itself, so the window's first base is its start.
    np.testing.assert_array_equal(placed.loc[placed["status"] == KEPT, "window_start"], windows[:, 0, 0])
    # Every way of getting lost occurs (a window of one base can hardly reach over an edge).
    expected = {KEPT, *([EDGE] if in_window > 2 else []), *([EXCLUDED] if excluded is not None else [])}
    assert expected <= set(placed["status"])


@pytest.mark.parametrize(
    ("chrom", "start", "end", "status"),
    [
        ("chrA", 0, 100, KEPT),  # window [0, 100): the first base
        ("chrA", 0, 99, EDGE),  # mid 49: window [-1, 99)
        ("chrA", 950, 1050, KEPT),  # window [950, 1050): the last base
        ("chrA", 951, 1051, EDGE),
        ("chrA", 300, 400, KEPT),  # window ends where the excluded chunk begins
        ("chrA", 301, 401, EXCLUDED),
        ("chrA", 499, 599, EXCLUDED),
        ("chrA", 500, 600, KEPT),  # window begins where the excluded chunk ends
        ("chrB", 0, 50, EDGE),  # excluded as well: the edge is named, as it is in tangermeme's order
        ("chrC", 0, 99, EDGE),  # narrower than the window
        ("chrD", 500, 600, NOT_SELECTED),
        ("chrUn", 500, 600, NOT_SELECTED),  # not in the genome at all
    ],
)
def test_a_locus_has_the_status_that_its_coordinates_say(chrom, start, end, status):
    loci = pd.DataFrame({"chrom": [chrom], "start": [start], "end": [end]})
    excluded = pd.DataFrame({"chrom": ["chrA", "chrB"], "start": [420, 0], "end": [421, 10]})
    placed = place_windows(loci, {**SIZES, "chrD": 5000}, 100, excluded, list(SIZES))
    assert placed["status"].tolist() == [status]
    assert placed["window_start"].tolist() == [start + (end - start) // 2 - 50]


def test_no_loci_are_placed_nowhere():
    placed = place_windows(read_loci([]), SIZES, 100, read_loci([]), list(SIZES))
    assert {name: str(dtype) for name, dtype in placed.dtypes.items()} == PLACED_COLUMNS
    assert len(placed) == 0


# The ledger.


def test_the_ledger_adds_up_and_names_every_status():
    excluded = pd.DataFrame({"chrom": ["chrA"], "start": [420], "end": [421]})
    placed = place_windows(random_loci(3), SIZES, 100, excluded, ["chrA", "chrB"])
    placed.loc[placed.index[placed["status"] == KEPT][:7], "status"] = HAS_N
    ledger = loss_ledger(placed)
    assert {(chrom, status) for chrom, status in zip(ledger["chrom"], ledger["status"], strict=True)} == {
        (chrom, status) for chrom in SIZES for status in STATUSES
    }
    assert len(ledger) == len(SIZES) * len(STATUSES)
    for row in ledger.itertuples():
        assert row.n == ((placed["chrom"] == row.chrom) & (placed["status"] == row.status)).sum()
    assert ledger["n"].sum() == len(placed)
    assert set(ledger.loc[ledger["n"] > 0, "status"]) == set(STATUSES)
    assert ledger.groupby("chrom")["n"].sum().to_dict() == placed["chrom"].value_counts().to_dict()


def test_the_ledger_of_no_loci_is_an_empty_table():
    ledger = loss_ledger(place_windows(read_loci([]), SIZES, 100, None, list(SIZES)))
    assert (len(ledger), list(ledger), str(ledger["n"].dtype)) == (0, ["chrom", "status", "n"], "int64")

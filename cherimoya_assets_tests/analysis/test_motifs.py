"""Motif files against the field's two readers, and what is wrong with a file by its line."""

from __future__ import annotations

import re

import numpy as np
import pytest
from memelite.io import read_meme
from tangermeme.io import read_meme as read_meme_as_tensors

from cherimoya_assets.analysis.motifs import SUM_TOLERANCE, read_motifs, uneven
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.errors import InputError, Problems

DATABASE = DEMO_EXPERIMENT.parent / "JASPAR2024_CORE_fungi.meme"

HEADER = "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\n"
MATRIX = "letter-probability matrix: alength= 4 w= 2 nsites= 20 E= 0\n 0.25 0.25 0.25 0.25\n 1 0 0.0 0e+0\n"


def same_as_both_readers(path):
    found, own, tensors = read_motifs(path), read_meme(path), read_meme_as_tensors(path)
    assert list(found) == list(own) == list(tensors)
    for name, matrix in found.items():
        assert matrix.dtype == np.float64
        np.testing.assert_array_equal(matrix, own[name])
        np.testing.assert_array_equal(matrix, tensors[name].numpy())
    return found


def test_the_demos_database_is_read_as_memelite_and_tangermeme_read_it():
    assert len(same_as_both_readers(DATABASE)) == DATABASE.read_text().count("\nMOTIF ") > 100


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (HEADER + "MOTIF a\n" + MATRIX, ["a"]),
        (HEADER + "MOTIF MA0271.1\tARG80\n\n" + MATRIX + "URL http://example.org\n", ["MA0271.1 ARG80"]),
        (HEADER + "MOTIF   a    b  \n" + MATRIX + "MOTIF c\n" + MATRIX, ["a b", "c"]),
        (HEADER + "MOTIF ../x\n" + MATRIX + "\nMOTIF <script>\n" + MATRIX, ["../x", "<script>"]),
        (HEADER + "MOTIF Überfaktor\n" + MATRIX.rstrip("\n"), ["Überfaktor"]),
        ((HEADER + "MOTIF a\n" + MATRIX).replace("\n", "\r\n"), ["a"]),
        (HEADER.replace("version 4", "version 5.5.2") + "MOTIF a\n" + MATRIX.replace("w= 2", "w=2"), ["a"]),
        (HEADER.replace("ALPHABET= ACGT\n", "") + "MOTIF a\n" + MATRIX, ["a"]),
        (HEADER.replace("ACGT", "ACGU") + "MOTIF a\n" + MATRIX, ["a"]),
        (HEADER.replace("ALPHABET= ACGT", 'ALPHABET "RNA" RNA-LIKE') + "MOTIF a\n" + MATRIX, ["a"]),
        ("MOTIF a\n" + MATRIX, ["a"]),
        ("\ufeff" + HEADER + "MOTIF a\n" + MATRIX, ["a"]),
        (HEADER + "MOTIF a\n" + MATRIX.replace("alength= 4 ", ""), ["a"]),
        (HEADER + "MOTIF a\n" + MATRIX + "-" * 80 + "\n1 2 3\n\n", ["a"]),
        (HEADER + "MOTIF a\n" + MATRIX + "Motif a regular expression\n", ["a"]),
        (HEADER + "MOTIF a\n" + MATRIX.replace("1 0 0.0 0e+0", "1.0000001 0 0 -1e-7"), ["a"]),
    ],
    ids=[
        "one",
        "tab and URL",
        "blanks, no blank line",
        "hostile",
        "no last newline",
        "CRLF",
        "version 5",
        "no alphabet",
        "RNA",
        "RNA as an alphabet of its own",
        "no version",
        "byte order mark",
        "no alength",
        "as the program MEME goes on",
        "a sentence behind",
        "normalized in float32",
    ],
)
def test_valid_spellings_are_read_as_both_readers_read_them(tmp_path, text, names):
    path = tmp_path / "m.meme"
    path.write_text(text, encoding="utf-8", newline="")
    assert list(same_as_both_readers(path)) == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"^m\.meme line 1: expected `MEME version 4` \(or 5\)"),
        (">chrI\nACGT\n", r"^m\.meme line 1: expected `MEME version 4`"),
        (HEADER, r"^m\.meme: contains no motifs"),
        (
            HEADER.replace("ACGT", "ACDEFGHIKLMNPQRSTVWY") + "MOTIF a\n",
            r"^m\.meme: alphabet ACDEFGHIKLMNPQRSTVWY; only",
        ),
    ],
)
def test_a_file_that_is_no_motif_database_is_refused(tmp_path, text, sentence):
    (tmp_path / "m.meme").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_motifs(tmp_path / "m.meme")


def test_a_missing_file_and_binary_data_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"m\.meme: no such file"):
        read_motifs(tmp_path / "m.meme")
    (tmp_path / "m.meme").write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(InputError, match=r"^m\.meme: is not text but binary data"):
        read_motifs(tmp_path / "m.meme")


@pytest.mark.parametrize(
    ("motif", "sentence"),
    [
        ("MOTIF\n" + MATRIX, "line 7: the motif has no printable name"),
        ("MOTIF a\x07b\n" + MATRIX, "line 7: the motif has no printable name"),
        ("MOTIF a\n" + MATRIX + "MOTIF a\n" + MATRIX, "line 11: motif 'a' is already on line 7"),
        ("MOTIF a b\n" + MATRIX + "MOTIF a\tb\n" + MATRIX, "line 11: motif 'a b' is already on line 7"),
        ("MOTIF a\n\n", "line 7: no `letter-probability matrix:` line follows"),
        ("MOTIF a\nMOTIF b\n" + MATRIX, "line 7: no `letter-probability matrix:` line follows"),
        ("MOTIF a\n" + MATRIX.replace("alength= 4", "alength= 20"), "line 7: alength= 20 in line 8"),
        ("MOTIF a\n" + MATRIX.replace("w= 2", "w= two"), "line 7: line 8: w= two is not a width"),
        ("MOTIF a\n" + MATRIX.replace("w= 2", "w= 0"), "line 7: line 8: w= 0 is not a width"),
        ("MOTIF a\n" + MATRIX.replace("w= 2", "") + "x\n", "line 7: line 11: 'x' is not four numbers"),
        ("MOTIF a\n" + MATRIX.split("\n")[0], "line 7: 0 rows follow, but line 8 says w= 2"),
        ("MOTIF a\nletter-probability matrix:\n", "line 7: 0 rows follow, but line 8 begins a matrix"),
        ("MOTIF a\n" + MATRIX.replace("w= 2", "w= 3"), "line 7: 2 rows follow, but line 8 says w= 3"),
        ("MOTIF a\n" + MATRIX.replace("w= 2", "w= 1"), "line 7: 2 rows follow, but line 8 says w= 1"),
        (
            "MOTIF a\n" + MATRIX.replace("0.25 0.25 0.25 0.25", "A C G T"),
            "line 7: line 9: 'A C G T' is not four numbers",
        ),
        ("MOTIF a\n" + MATRIX.replace("0.25 0.25 0.25 0.25", "0.5 0.25 0.25"), "line 7: line 9: expected four prob"),
        ("MOTIF a\n" + MATRIX.replace("1 0 0.0 0e+0", "1.5 -0.5 0 0"), "line 7: line 10: expected four probabilities"),
        ("MOTIF a\n" + MATRIX.replace("1 0 0.0 0e+0", "nan 0 0 1"), "line 7: line 10: expected four probabilities"),
        (
            "MOTIF a\n" + MATRIX.replace("1 0 0.0 0e+0", "0.9 0.2 0 0"),
            r"line 7: line 10: the probabilities sum to 1\.1",
        ),
    ],
)
def test_a_malformed_motif_is_named_by_its_line(tmp_path, motif, sentence):
    (tmp_path / "m.meme").write_text(HEADER + motif)
    with pytest.raises(Problems) as raised:
        read_motifs(tmp_path / "m.meme")
    (problem,) = raised.value.problems
    assert re.match(r"m\.meme " + sentence, problem)


def test_all_malformed_motifs_are_told_at_once(tmp_path):
    (tmp_path / "m.meme").write_text(HEADER + "MOTIF a\nMOTIF b\n" + MATRIX + "MOTIF b\n" + MATRIX)
    with pytest.raises(Problems) as raised:
        read_motifs(tmp_path / "m.meme")
    assert [problem.split(":")[0] for problem in raised.value.problems] == ["m.meme line 7", "m.meme line 12"]


def test_without_a_width_an_empty_line_ends_a_matrix(tmp_path):
    (tmp_path / "m.meme").write_text(HEADER + "MOTIF a\n" + MATRIX.replace("w= 2 ", "") + "\n0.1 0.2 0.3 0.4\n")
    (tmp_path / "w.meme").write_text(HEADER + "MOTIF a\n" + MATRIX)
    np.testing.assert_array_equal(read_motifs(tmp_path / "m.meme")["a"], read_meme(tmp_path / "w.meme")["a"])


def test_comments_in_any_encoding(tmp_path):
    (tmp_path / "m.meme").write_bytes((HEADER + "# Köln\nMOTIF a\n" + MATRIX).encode("latin-1"))
    assert list(read_motifs(tmp_path / "m.meme")) == ["a"]
    (tmp_path / "m.meme").write_bytes((HEADER + "MOTIF Köln\n" + MATRIX).encode("latin-1"))
    with pytest.raises(Problems, match="line 7: the motif has no printable name"):
        read_motifs(tmp_path / "m.meme")


def test_sums_that_digits_do_not_explain_are_taken_and_named(tmp_path):
    path = tmp_path / "m.meme"
    low, high = (MATRIX.replace("0.25 0.25 0.25 0.25", f"0.25 0.25 0.25 {last}") for last in (0.22, 0.29))
    path.write_text(HEADER + "MOTIF low\n" + low + "MOTIF a\n" + MATRIX + "MOTIF high\n" + high)
    assert uneven(same_as_both_readers(path)) == {"low": pytest.approx(0.97), "high": pytest.approx(1.04)}


@pytest.mark.parametrize("off", [0.9 * SUM_TOLERANCE, -0.9 * SUM_TOLERANCE])
def test_rounded_probabilities_need_not_sum_to_one_exactly_and_are_kept_as_they_are(tmp_path, off):
    path = tmp_path / "m.meme"
    path.write_text(HEADER + "MOTIF a\n" + MATRIX.replace("0.25 0.25 0.25 0.25", f"0.25 0.25 0.25 {0.25 + off}"))
    found = same_as_both_readers(path)
    assert found["a"][3, 0] == 0.25 + off
    assert uneven(found) == {}

"""Browser files read back with an independent reader and compared with plain loops."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.analysis.tracks import (
    NEGATIVE,
    POSITIVE,
    igv_session,
    nearest_windows,
    pattern_bed,
    seqlet_bed,
    write_contributions,
)

SIZES = {"chrII": 400, "chrI": 300, "chrIII": 1000}
"""Not in alphabetical order: the header follows the FASTA."""


def block(chrom, starts, width, seed=0, scale=1.0):
    """Random contributions to a sequence of A; the other bases' hypothetical scores must not show."""
    scores = np.random.default_rng(seed).normal(size=(len(starts), 4, width)).astype(np.float32)
    scores[:, 0] *= scale
    one_hot = np.zeros_like(scores, dtype=np.int8)
    one_hot[:, 0] = 1
    names = np.array([f"{chrom}:{start}" for start in starts], dtype=np.str_)
    return AttributionBlock(chrom, "counts", scores, one_hot, names, np.array(starts, dtype=np.int64))


def nearest_centre(block):
    """{position: value}, base by base: the nearest window centre, the earlier start at a tie, the first at the same."""
    projected, values = block.scores[:, 0], {}
    width = projected.shape[1]
    order = sorted(range(len(block.window_start)), key=lambda row: (block.window_start[row], row))
    for position in range(int(max(block.window_start)) + width if len(order) else 0):
        best = None
        for row in order:
            start = int(block.window_start[row])
            if start <= position < start + width:
                distance = abs((position + 0.5) - (start + width / 2))
                if best is None or distance < best[0]:
                    best = (distance, projected[row, position - start])
        if best is not None:
            values[position] = best[1]
    return values


def read(path, chrom):
    """{position: value} by pyBigWig."""
    with pyBigWig.open(str(path)) as track:
        return {
            position: np.float32(value)
            for start, end, value in track.intervals(chrom) or ()
            for position in range(start, end)
        }


def test_bigwig_equals_a_plain_loop_over_overlapping_windows(tmp_path):
    blocks = [block("chrII", [300, 10, 30, 31, 90, 200, 30], 40), block("chrIII", [0, 960, 500], 40, seed=1)]
    path = tmp_path / "contributions.bw"
    bases = write_contributions(path, SIZES, iter(blocks))
    for one in blocks:
        assert read(path, one.chrom) == nearest_centre(one)
    assert read(path, "chrI") == {}
    assert bases == sum(len(nearest_centre(one)) for one in blocks)


def test_header_has_every_chromosome_in_fasta_order_and_every_value_spans_one_base_of_a_fixed_step(tmp_path):
    path = tmp_path / "contributions.bw"
    write_contributions(path, SIZES, [block("chrI", [20], 50)])
    with pyBigWig.open(str(path)) as track:
        assert list(track.chroms().items()) == list(SIZES.items())
        assert track.header()["nBasesCovered"] == 50


def test_a_contribution_of_zero_is_a_value_and_a_base_in_no_window_is_not(tmp_path):
    write_contributions(tmp_path / "t.bw", SIZES, [block("chrI", [10], 8, scale=0.0)])
    assert read(tmp_path / "t.bw", "chrI") == dict.fromkeys(range(10, 18), 0)


def test_an_experiment_without_loci_gives_a_valid_empty_track(tmp_path):
    for number, blocks in enumerate(([], [block("chrI", [], 40), block("chrIII", [], 40)])):
        path = tmp_path / f"{number}.bw"
        assert write_contributions(path, SIZES, blocks) == 0
        with pyBigWig.open(str(path)) as track:
            assert track.isBigWig()
            assert track.chroms() == SIZES
            assert track.intervals("chrI") is None


def test_the_same_contributions_give_the_same_bytes(tmp_path):
    for name in ("a.bw", "b.bw"):
        write_contributions(tmp_path / name, SIZES, [block("chrIII", range(0, 900, 7), 40)])
    assert (tmp_path / "a.bw").read_bytes() == (tmp_path / "b.bw").read_bytes()


@pytest.mark.parametrize(
    "blocks",
    [
        [block("chrI", [290], 40)],
        [block("chrI", [0], 40), block("chrII", [0], 40)],
        [block("chrX", [0], 40)],
    ],
    ids=["window past the end", "chromosomes out of order", "unknown chromosome"],
)
def test_what_does_not_fit_the_genome_is_refused(tmp_path, blocks):
    with pytest.raises(ValueError, match="chr"):
        write_contributions(tmp_path / "t.bw", SIZES, blocks)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=8), st.integers(1, 21))
def test_nearest_windows_cover_every_base_once(starts, width):
    parts = nearest_windows(np.array(starts, dtype=np.int64), width)
    drawn = {}
    for row, start, end in parts.itertuples(index=False):
        assert starts[row] <= start < end <= starts[row] + width
        for position in range(start, end):
            assert position not in drawn
            drawn[position] = row
    one = block("chrI", starts, width)
    assert {p: one.scores[row, 0, p - starts[row]] for p, row in drawn.items()} == nearest_centre(one)


@pytest.mark.parametrize("second", range(1, 40))
def test_cut_is_chrombpnets_or_one_base_after_it(second):
    """ChromBPNet's `write_bigwig` ends a window at (mid + next_mid) // 2 with mid = start + width // 2."""
    width = 40
    cut = nearest_windows(np.array([0, second]), width)["end"].iloc[0]
    theirs = (width // 2 + second + width // 2) // 2
    assert cut - theirs == second % 2


SEQLETS = pd.DataFrame(
    {
        "chrom": ["chrI", "chrI", "chrI"],
        "start": [280, -2, 40],
        "end": [303, 9, 52],
        "attribution": [1.5, -0.5, 0.25],
        "p-value": [1e-4, 0.0, 0.00977],
    }
)


def bed(text):
    return [line.split("\t") for line in text.splitlines()]


def assert_valid_bed9(rows, sizes):
    places = []
    for chrom, start, end, name, score, strand, thick_start, thick_end, colour in rows:
        assert 0 <= int(start) < int(end) <= sizes[chrom]
        assert name and not any(character.isspace() for character in name)
        assert 0 <= int(score) <= 1000
        assert strand in "+-."
        assert (thick_start, thick_end) == (start, end)
        assert all(0 <= int(part) <= 255 for part in colour.split(","))
        places.append((list(sizes).index(chrom), int(start)))
    assert places == sorted(places)


def test_seqlets_become_valid_bed_in_genome_order():
    rows = bed(seqlet_bed([SEQLETS], SIZES))
    assert_valid_bed9(rows, SIZES)
    assert [(row[1], row[2]) for row in rows] == [("0", "9"), ("40", "52"), ("280", "300")]
    assert [row[3] for row in rows] == ["seqlet"] * 3
    assert [int(row[4]) for row in rows] == [1000, round(-100 * math.log10(0.00977)), 400]
    assert [row[8] for row in rows] == [NEGATIVE, POSITIVE, POSITIVE]


def test_annotated_seqlets_carry_motif_and_strand_whatever_the_motif_is_called():
    names = ["MA0265.3 ABF1", "evil\tname\n<script>", "ü" * 300]
    rows = bed(seqlet_bed([SEQLETS.assign(motif=names, strand=["+", "-", "?"])], SIZES))
    assert_valid_bed9(rows, SIZES)
    assert [row[3] for row in rows] == ["evil_name_<script>", "ü" * 127, "MA0265.3_ABF1"]
    assert [row[5] for row in rows] == ["-", ".", "+"]


def test_several_chromosomes_follow_the_fasta():
    rows = bed(seqlet_bed([SEQLETS, SEQLETS[2:].assign(chrom="chrII")], SIZES))
    assert [row[0] for row in rows] == ["chrII", "chrI", "chrI", "chrI"]


def test_no_seqlets_give_an_empty_bed():
    assert seqlet_bed([SEQLETS[:0]], SIZES) == ""
    assert seqlet_bed([], SIZES) == ""


def test_pattern_seqlets_are_named_by_their_pattern_and_coloured_by_its_sign():
    seqlets = pd.DataFrame(
        {
            "metacluster": ["pos_patterns", "neg_patterns"],
            "pattern": ["pattern_0", "pattern_3"],
            "chrom": ["chrIII", "chrII"],
            "start": [5, 7],
            "end": [35, 37],
            "strand": ["-", "+"],
        }
    )
    rows = bed(pattern_bed(seqlets, SIZES))
    assert_valid_bed9(rows, SIZES)
    assert [(row[3], row[5], row[8]) for row in rows] == [
        ("neg_patterns.pattern_3", "+", NEGATIVE),
        ("pos_patterns.pattern_0", "-", POSITIVE),
    ]


def test_igv_session_is_xml_that_names_genome_and_tracks():
    root = ElementTree.fromstring(igv_session('../a "b" & c.fa', [("x.bw", "<counts>")]).encode())
    assert root.get("genome") == '../a "b" & c.fa'
    assert [(r.get("path"), r.get("name")) for r in root.iter("Resource")] == [("x.bw", "<counts>")]

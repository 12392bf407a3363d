"""Annotated seqlets against memelite's `ttl`, run as a command on the same seqlets, genome and motifs."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import pytest

from cherimoya_assets.analysis import seqlets as calls
from cherimoya_assets.analysis.annotation import COLUMNS, AnnotatedSeqlets, annotate_seqlets, ttl_text
from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.seqlets import SeqletTable, cherimoya_seqlets_bed
from cherimoya_assets.analysis.tables import typed_table
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.errors import InputError

TTL = Path(sys.executable).with_name("ttl")
DATABASE = DEMO_EXPERIMENT.parent / "JASPAR2024_CORE_fungi.meme"
MOTIFS = 25
SIZES = {"chrX": 3000, "chromosome2": 2500}
LOCUS = 100


@pytest.fixture(scope="module")
def motif_file(tmp_path_factory):
    """The first motifs of the demo's database."""
    path = tmp_path_factory.mktemp("motifs") / "motifs.meme"
    path.write_text("MOTIF ".join(DATABASE.read_text().split("MOTIF ")[: MOTIFS + 1]))
    return path


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Random sequence, in part in lower case, with runs of N and other letters."""
    folder = tmp_path_factory.mktemp("genome")
    rng = np.random.default_rng(0)
    text = ""
    for chrom, size in SIZES.items():
        bases = rng.choice(list("ACGTacgt"), size)
        bases[rng.choice(size, size // 20, replace=False)] = "N"
        bases[500:560] = "N"
        text += f">{chrom} of nothing\n{''.join(bases)}\n"
    (folder / "genome.fa").write_text(text)
    return open_genome(folder / "genome.fa", folder / "cache")


def seqlet_table(chrom, spans, seed=0):
    """Seqlets of one chromosome with made-up attributions and p-values, ties among them."""
    rng = np.random.default_rng(seed)
    starts, ends = (np.array([span[k] for span in spans], dtype=np.int64) for k in (0, 1))
    columns = (
        [f"{chrom}:{start // LOCUS * LOCUS}" for start in starts],
        np.full(len(spans), chrom),
        starts,
        ends,
        np.round(rng.uniform(0.1, 2, len(spans)), 1),
        np.round(rng.uniform(0, 0.01, len(spans)), 3),
        starts // LOCUS,
    )
    return SeqletTable(chrom, typed_table(calls.COLUMNS, dict(zip(calls.COLUMNS, columns, strict=True))))


def random_spans(chrom, count=60, seed=0):
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.integers(0, SIZES[chrom] - 35, count)).tolist()
    return [(start, start + int(rng.integers(8, 32))) for start in starts]


@pytest.fixture(scope="module")
def tables():
    spans = [
        [*random_spans("chrX"), (495, 520), (505, 530), (0, 12), (2990, 3000)],
        random_spans("chromosome2", seed=1),
    ]
    return [seqlet_table(chrom, own, seed) for seed, (chrom, own) in enumerate(zip(SIZES, spans, strict=True))]


@pytest.fixture(scope="module")
def order():
    """Loci of both chromosomes, mixed."""
    return [f"{chrom}:{start}" for start in range(0, 3000, LOCUS) for chrom in reversed(SIZES)]


def ttl(genome, tables, order, motif_file, folder, *flags):
    """What `ttl` prints for the seqlets that `cherimoya seqlets` would have written."""
    (folder / "seqlets.bed").write_text(cherimoya_seqlets_bed(tables, order))
    command = [TTL, "-f", genome.fasta, "-b", folder / "seqlets.bed", "-t", motif_file, "-c", "250", *flags]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def annotated(tables, genome, motifs, **arguments):
    return [annotate_seqlets(table, genome, motifs, **arguments) for table in tables]


@pytest.mark.slow
def test_chromosome_by_chromosome_gives_the_text_of_one_run_of_ttl(genome, tables, order, motif_file, tmp_path):
    motifs = read_motifs(motif_file)
    found = annotated(tables, genome, motifs)
    text = ttl_text(found, order, list(genome.chrom_sizes), list(motifs))
    assert text == ttl(genome, tables, order, motif_file, tmp_path)
    assert len({line.split("\t")[3] for line in text.splitlines()}) > 5
    assert " inf\n" not in text


@pytest.mark.slow
def test_arguments_are_those_of_ttl(genome, tables, order, motif_file, tmp_path):
    motifs = read_motifs(motif_file)
    changed = {"n_score_bins": 40, "n_median_bins": 200, "n_target_bins": 30, "reverse_complement": False}
    text = ttl_text(annotated(tables, genome, motifs, **changed), order, list(genome.chrom_sizes), list(motifs))
    assert text == ttl(genome, tables, order, motif_file, tmp_path, "-s", "40", "-m", "200", "-a", "30", "-r")
    assert text != ttl_text(annotated(tables, genome, motifs), order, list(genome.chrom_sizes), list(motifs))


def test_rows_are_the_seqlets_with_what_memelite_says_of_each(genome, tables, motif_file):
    from memelite.tomtom import tomtom
    from memelite.utils import one_hot_encode

    motifs = read_motifs(motif_file)
    table = tables[0]
    found = annotate_seqlets(table, genome, motifs)
    pd.testing.assert_frame_equal(found.table[list(calls.COLUMNS)], table.table)
    assert {name: str(dtype) for name, dtype in found.table.dtypes.items()} == {
        name: str(pd.Series([], dtype=dtype).dtype) for name, dtype in COLUMNS.items()
    }
    queries = [row for row in found.table.itertuples() if set(genome.fetch(row.chrom, row.start, row.end)) != {"N"}]
    encoded = [one_hot_encode(genome.fetch(row.chrom, row.start, row.end)) for row in queries]
    p, _, offsets, overlaps, strands, targets = tomtom(encoded, list(motifs.values()), n_nearest=1, n_cache=250)[
        :, :, 0
    ]
    for k, row in enumerate(queries):
        assert row.motif == list(motifs)[int(targets[k])]
        assert (row.p_motif, row.score) == (p[k], -math.log(p[k]))
        assert (row.offset, row.overlap, row.strand) == (offsets[k], overlaps[k], "+-"[int(strands[k])])


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("before", [0, 4, -2])
def test_offset_and_strand_say_where_in_the_seqlet_the_motif_lies(motif_file, tmp_path, strand, before):
    word, size = "TTACCCGGAAC", 60
    motif = np.array([[0.91 if base == letter else 0.03 for letter in word] for base in "ACGT"])
    there = word if strand == "+" else word[::-1].translate(str.maketrans("ACGT", "TGCA"))
    (tmp_path / "g.fa").write_text(">c\n" + ("T" * 20 + there).ljust(size, "A") + "\n")
    genome = open_genome(tmp_path / "g.fa", tmp_path / "cache")
    span = (20 - before, 20 + len(word) + 3)
    motifs = {**read_motifs(motif_file), "planted": motif}
    row = annotate_seqlets(seqlet_table("c", [span]), genome, motifs).table.iloc[0]
    assert (row["motif"], row["strand"]) == ("planted", strand)
    assert row["start"] - row["offset"] == 20
    assert row["overlap"] == len(word) + min(before, 0)


def test_a_seqlet_is_annotated_the_same_whatever_stands_beside_it(genome, tables, motif_file):
    motifs = read_motifs(motif_file)
    whole = annotate_seqlets(tables[0], genome, motifs).table
    for part in (slice(0, 1), slice(5, 20)):
        own = SeqletTable("chrX", tables[0].table[part].reset_index(drop=True))
        pd.testing.assert_frame_equal(
            annotate_seqlets(own, genome, motifs).table, whole[part].reset_index(drop=True), check_exact=True
        )


def test_seqlets_of_nothing_but_n_are_valid(genome, motif_file):
    found = annotate_seqlets(seqlet_table("chrX", [(500, 520), (510, 540)]), genome, read_motifs(motif_file)).table
    assert len(found) == 2
    assert found["p_motif"].between(0, 1).all()


def test_threads_change_no_result_and_are_set_back(genome, tables, motif_file):
    motifs, before = read_motifs(motif_file), numba.get_num_threads()
    one, all_of_them, too_many = (annotate_seqlets(tables[0], genome, motifs, n_jobs=n).table for n in (1, -1, 10_000))
    pd.testing.assert_frame_equal(one, all_of_them, check_exact=True)
    pd.testing.assert_frame_equal(one, too_many, check_exact=True)
    assert numba.get_num_threads() == before


def test_no_seqlets_give_an_empty_table_and_no_text(genome, motif_file):
    motifs = read_motifs(motif_file)
    found = annotate_seqlets(SeqletTable("chrX", typed_table(calls.COLUMNS)), genome, motifs)
    assert list(found.table.columns) == list(COLUMNS)
    assert found.table.empty
    assert ttl_text([found], ["chrX:0"], ["chrX"], list(motifs)) == ""


@pytest.mark.parametrize("spans", [[(0, 12)], []])
def test_no_motifs_are_refused(genome, spans):
    with pytest.raises(InputError, match="The motif database is empty"):
        annotate_seqlets(seqlet_table("chrX", spans), genome, {})


@pytest.mark.parametrize("span", [(-3, 10), (2990, 3001), (50, 50)])
def test_a_seqlet_off_its_chromosome_is_refused_by_its_place(genome, motif_file, span):
    table = seqlet_table("chrX", [(0, 12), span])
    with pytest.raises(InputError, match=rf"chrX:{span[0]}-{span[1]} is outside chrX \(3000 bp\)"):
        annotate_seqlets(table, genome, read_motifs(motif_file))


def test_a_table_written_and_read_back_is_the_same(genome, tables, motif_file, tmp_path):
    found = annotate_seqlets(tables[0], genome, read_motifs(motif_file))
    found = replace(found, table=found.table.assign(score=[math.inf, *found.table["score"][1:]]))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        found.write(tmp_path / name)
    again = AnnotatedSeqlets.read(tmp_path / "a")
    assert again.chrom == "chrX"
    pd.testing.assert_frame_equal(again.table, found.table, check_exact=True)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()

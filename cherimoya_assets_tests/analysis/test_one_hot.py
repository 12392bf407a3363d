"""One-hot blocks, chromosome by chromosome, against tangermeme's extract_loci on everything and against the FASTA."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.loci import (
    EDGE,
    EXCLUDED,
    HAS_N,
    KEPT,
    PLACED_COLUMNS,
    interleave,
    loss_ledger,
    place_windows,
    read_loci,
)
from cherimoya_assets.analysis.one_hot import SequenceBlock, encode, one_hot_sequences
from cherimoya_assets.demo import DEMO_EXPERIMENT

DEMO = DEMO_EXPERIMENT.parent
OTHER_LETTERS = list("QWERYUIOPSDFHJKLZXVBNM")
"""What `cherimoya attribute` has extract_loci ignore; windows that hold one of them are dropped afterwards."""


def theirs(fasta, files, chroms, in_window, exclusion):
    """Rows, mask and table as `cherimoya attribute` makes them."""
    from tangermeme.io import _interleave_loci, extract_loci

    X, idxs = extract_loci(
        sequences=str(fasta),
        loci=[str(path) for path in files],
        chroms=chroms,
        in_window=in_window,
        max_jitter=0,
        exclusion_lists=[str(path) for path in exclusion] or None,
        ignore=OTHER_LETTERS,
        return_mask=True,
    )
    known = X.sum(dim=(1, 2)) == X.shape[-1]
    idxs[idxs.clone()] = known
    return X[known].numpy(), idxs.numpy(), _interleave_loci([str(path) for path in files], chroms)


def ours(genome, files, chroms, in_window, exclusion):
    """Block of each chromosome, made on its own, and the placed loci of all."""
    loci = interleave(read_loci(files, genome.chrom_sizes), chroms)
    excluded = read_loci(exclusion) if exclusion else None
    loci = place_windows(loci, genome.chrom_sizes, in_window, excluded, chroms)
    return {c: one_hot_sequences(genome, loci[loci["chrom"] == c], c, in_window) for c in chroms}, loci


def assert_equal_to_extract_loci(genome, files, chroms, in_window, exclusion):
    blocks, loci = ours(genome, files, chroms, in_window, exclusion)
    X, idxs, table = theirs(genome.fasta, files, chroms, in_window, exclusion)
    status = pd.concat([block.loci for block in blocks.values()]).set_index("locus_id")["status"]
    rows = {
        name: row for block in blocks.values() for name, row in zip(block.kept["locus_id"], block.one_hot, strict=True)
    }
    assert loci[["chrom", "start", "end"]].to_numpy().tolist() == table.to_numpy().tolist()
    np.testing.assert_array_equal([status[name] == KEPT for name in loci["locus_id"]], idxs)
    found = np.stack([rows[name] for name in loci["locus_id"] if name in rows])
    assert found.dtype == X.dtype == np.int8
    np.testing.assert_array_equal(found, X)
    ledger = loss_ledger(pd.concat([block.loci for block in blocks.values()]))
    assert ledger["n"].sum() == len(table)
    assert ledger.loc[ledger["status"] == KEPT, "n"].sum() == len(X)
    return ledger.groupby("status")["n"].sum().to_dict()


# The demo.


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return open_genome(DEMO / "sacCer3.fa.gz", tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("in_window", [718, 2115])
def test_the_whole_demo_equals_extract_loci(genome, in_window):
    files = [DEMO / "peaks.narrowPeak", DEMO / "negatives.bed"]
    lost = assert_equal_to_extract_loci(genome, files, list(genome.chrom_sizes), in_window, [DEMO / "exclusion.bed"])
    assert lost[EDGE] > 0


def test_25_of_the_1383_demo_peaks_are_lost_at_718_bp(genome):
    exclusion = [DEMO / "exclusion.bed"]
    ledger = assert_equal_to_extract_loci(genome, [DEMO / "peaks.narrowPeak"], list(genome.chrom_sizes), 718, exclusion)
    assert ledger[KEPT] == 1383 - 25
    assert ledger[EDGE] + ledger[EXCLUDED] == 25
    assert min(ledger[EDGE], ledger[EXCLUDED]) > 0


@pytest.mark.parametrize("chroms", [["chrVI"], ["chrI", "chrXII"], ["chrXII", "chrI"]])
def test_some_chromosomes_of_the_demo_equal_extract_loci(genome, chroms):
    files = [DEMO / "negatives.bed", DEMO / "peaks.narrowPeak"]
    assert_equal_to_extract_loci(genome, files, chroms, 718, [DEMO / "exclusion.bed"])


# A genome with everything that the demo's does not have.


@pytest.fixture(scope="module")
def patchy(tmp_path_factory):
    """Runs of N, single letters of IUPAC's alphabet, lower case; three locus files and two exclusion lists."""
    folder, random = tmp_path_factory.mktemp("patchy"), np.random.default_rng(0)
    sizes = {"chrA": 6000, "chrB": 3001, "chrC": 200}
    records = []
    for chrom, size in sizes.items():
        letters = random.choice(list("ACGTacgt"), size)
        letters[size // 4 : size // 4 + 60] = "N"
        letters[random.integers(0, size, size // 300)] = random.choice(list("NnRYKMSWBDHVrykm"), size // 300)
        bases = "".join(letters)
        records.append(f">{chrom} described\n" + "\n".join(bases[i : i + 70] for i in range(0, size, 70)))
    (folder / "genome.fa").write_text("\n".join(records) + "\n")
    for number, n in enumerate((90, 40, 3)):
        rows = []
        for _ in range(n):
            chrom = random.choice(list(sizes), p=(0.6, 0.3, 0.1))
            start = random.integers(0, sizes[chrom] - 1)
            rows.append(f"{chrom}\t{start}\t{random.integers(start + 1, sizes[chrom] + 1)}\n")
        (folder / f"{number}.bed").write_text("".join(rows))
    (folder / "x.bed").write_text("chrA\t2010\t2190\nchrB\t0\t20\n")
    (folder / "y.bed").write_text("chrA\t4999\t5001\nchrUn\t0\t20\n")
    return folder


@pytest.mark.parametrize("in_window", [1, 60, 61, 200])
@pytest.mark.parametrize("sources", ["0", "01", "201"])
def test_a_patchy_genome_equals_extract_loci(patchy, in_window, sources, tmp_path):
    genome = open_genome(patchy / "genome.fa", tmp_path)
    files = [patchy / f"{number}.bed" for number in sources]
    exclusion = [patchy / "x.bed", patchy / "y.bed"]
    lost = assert_equal_to_extract_loci(genome, files, ["chrB", "chrA", "chrC"], in_window, exclusion)
    # Every way of getting lost was walked, but for an edge that one base cannot reach over.
    assert all(lost[status] > 0 for status in (KEPT, HAS_N, EXCLUDED, *([EDGE] if in_window > 1 else [])))


def test_a_window_with_one_unknown_base_is_lost_and_its_neighbour_is_not(tmp_path):
    (tmp_path / "g.fa").write_text(">chrA\n" + "A" * 50 + "N" + "C" * 50 + "\n")
    (tmp_path / "p.bed").write_text("chrA\t30\t50\nchrA\t31\t51\nchrA\t50\t70\nchrA\t51\t71\n")
    genome = open_genome(tmp_path / "g.fa", tmp_path / "cache")
    block = ours(genome, [tmp_path / "p.bed"], ["chrA"], 20, [])[0]["chrA"]
    assert block.loci["status"].tolist() == [KEPT, HAS_N, HAS_N, KEPT]
    assert block.kept["locus_id"].tolist() == ["chrA:30-50", "chrA:51-71"]
    assert block.one_hot[:, :2].all(axis=2).tolist() == [[True, False], [False, True]]


def test_rows_are_the_fasta_at_their_coordinates(patchy, tmp_path):
    text = {}
    for record in (patchy / "genome.fa").read_text().split(">")[1:]:
        header, *lines = record.split("\n")
        text[header.split()[0]] = "".join(lines).upper()
    genome = open_genome(patchy / "genome.fa", tmp_path)
    for chrom, block in ours(genome, [patchy / "0.bed"], ["chrA", "chrB"], 61, [])[0].items():
        assert len(block.kept) == len(block.one_hot) > 5
        for start, row in zip(block.kept["window_start"], block.one_hot, strict=True):
            assert "".join("ACGT"[base] for base in row.argmax(axis=0)) == text[chrom][start : start + 61]
            assert (row.sum(axis=0) == 1).all()


def test_a_chromosome_without_a_usable_locus_is_valid(tmp_path):
    (tmp_path / "g.fa").write_text(">chrA\n" + "A" * 50 + "\n>chrB\n" + "C" * 50 + "\n")
    (tmp_path / "p.bed").write_text("chrA\t1\t2\n")
    genome = open_genome(tmp_path / "g.fa", tmp_path / "cache")
    blocks, _ = ours(genome, [tmp_path / "p.bed"], ["chrA", "chrB"], 40, [])
    assert {chrom: block.one_hot.shape for chrom, block in blocks.items()} == {"chrA": (0, 4, 40), "chrB": (0, 4, 40)}
    assert {chrom: block.loci["status"].tolist() for chrom, block in blocks.items()} == {"chrA": [EDGE], "chrB": []}


# Encoding.


def test_encoding_equals_tangermemes():
    from tangermeme.utils import one_hot_encode

    sequence = "".join(np.random.default_rng(0).choice(list("ACGTN"), 500))
    assert torch.equal(torch.from_numpy(encode(sequence)), one_hot_encode(sequence))


@pytest.mark.parametrize("letter", [*"NRYKMSWBDHVUX-*.acgt é\x00"])
def test_any_other_letter_is_a_column_of_zeros(letter):
    found = encode(f"A{letter}T")
    assert found.T.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert found.dtype == np.int8


def test_no_sequence_is_no_column():
    assert encode("").shape == (4, 0)


# The block.


@pytest.mark.parametrize("chrom", ["chrA", "chrB", "chrC"])
def test_a_block_is_read_as_it_was_written(patchy, chrom, tmp_path):
    genome = open_genome(patchy / "genome.fa", tmp_path / "cache")
    block = ours(genome, [patchy / "0.bed"], [chrom], 200, [])[0][chrom]
    (tmp_path / "stored").mkdir()
    block.write(tmp_path / "stored")
    found = SequenceBlock.read(tmp_path / "stored")
    assert found.chrom == chrom
    assert found.one_hot.dtype == np.int8
    np.testing.assert_array_equal(found.one_hot, block.one_hot)
    pd.testing.assert_frame_equal(found.loci, block.loci)
    assert {name: str(dtype) for name, dtype in found.loci.dtypes.items()} == PLACED_COLUMNS


def test_a_pickled_array_in_a_stored_block_is_not_opened(patchy, tmp_path):
    genome = open_genome(patchy / "genome.fa", tmp_path / "cache")
    ours(genome, [patchy / "0.bed"], ["chrA"], 60, [])[0]["chrA"].write(tmp_path)
    np.savez(tmp_path / "one_hot.npz", arr_0=np.array([{"any": "object"}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        SequenceBlock.read(tmp_path)

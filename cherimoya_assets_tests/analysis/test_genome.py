"""The genome: the bases that are in the file, whatever it is packed in, and nothing written beside it."""

from __future__ import annotations

import gzip
import hashlib
import os
import time

import numpy as np
import pyfaidx
import pytest

from cherimoya_assets.analysis import genome as genome_module
from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.errors import InputError

DEMO_FASTA = DEMO_EXPERIMENT.parent / "sacCer3.fa.gz"
SEQUENCES = {"chrA": "ACGTacgtNNRYacgtTTTTGGGGCC", "chrB": "A", "2": "cgcgcgcgcgc"}
UPPER = {name: bases.upper() for name, bases in SEQUENCES.items()}


def packed(content: bytes) -> bytes:
    """Without the time: it would stand in the names of tests, which are the same in every process."""
    return gzip.compress(content, mtime=0)


def fasta(sequences=SEQUENCES, width=8, line_end="\n", last="\n") -> bytes:
    lines = []
    for name, bases in sequences.items():
        lines += [f">{name} a description", *(bases[i : i + width] for i in range(0, len(bases), width))]
    return (line_end.join(lines) + last).encode()


def whole(genome) -> dict[str, str]:
    return {chrom: genome.fetch(chrom, 0, size) for chrom, size in genome.chrom_sizes.items()}


# What is read.


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return open_genome(DEMO_FASTA, tmp_path_factory.mktemp("cache"))


def test_the_demo_is_the_published_genome(demo):
    assert (len(demo.chrom_sizes), sum(demo.chrom_sizes.values())) == (16, 12_071_326)
    bases = demo.fetch("chrI", 0, demo.chrom_sizes["chrI"])
    assert hashlib.md5(bases.encode()).hexdigest() == "6681ac2f62509cfc220d78751b8dc524"


def test_the_demo_is_the_text_of_its_file(demo):
    text: dict[str, list[str]] = {}
    with gzip.open(DEMO_FASTA, "rt") as handle:
        for line in handle:
            if line.startswith(">"):
                text[line[1:].split()[0]] = lines = []
            else:
                lines.append(line.strip().upper())
    assert list(text) == list(demo.chrom_sizes)
    assert {chrom: "".join(lines) for chrom, lines in text.items()} == whole(demo)


def test_any_stretch_equals_pyfaidx(demo, tmp_path):
    (tmp_path / "genome.fa").write_bytes(gzip.decompress(DEMO_FASTA.read_bytes()))
    theirs, random = pyfaidx.Fasta(str(tmp_path / "genome.fa")), np.random.default_rng(0)
    for _ in range(300):
        chrom = str(random.choice(list(demo.chrom_sizes)))
        start = int(random.integers(0, demo.chrom_sizes[chrom]))
        end = start + int(random.integers(1, 2000))
        assert demo.fetch(chrom, start, end) == theirs[chrom][start:end].seq.upper()
    assert demo.open()["chrI"][5:9].seq.upper() == theirs["chrI"][5:9].seq.upper()


@pytest.mark.parametrize(
    ("start", "end", "bases"),
    [
        (0, 26, UPPER["chrA"]),
        (7, 9, "TN"),
        (0, 1, "A"),
        (25, 26, "C"),
        (-5, 3, "ACG"),
        (24, 90, "CC"),
        (-5, 90, UPPER["chrA"]),
        (5, 5, ""),
        (9, 3, ""),
        (26, 30, ""),
        (-9, -2, ""),
    ],
)
def test_a_stretch_is_half_open_and_cut_off_at_the_ends(start, end, bases, tmp_path):
    (tmp_path / "g.fa").write_bytes(fasta())
    assert open_genome(tmp_path / "g.fa", tmp_path / "cache").fetch("chrA", start, end) == bases


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("g.fa", fasta()),
        ("g.fa", fasta(last="")),
        ("g.fa", fasta(line_end="\r\n", last="\r\n")),
        ("g.fa", fasta(width=1000)),
        ("g.fasta", fasta(width=1)),
        ("g.fa.gz", packed(fasta())),
        # bgzip's output is gzip of several members, the last one empty.
        ("g.fa.bgz", packed(fasta()[:20]) + packed(fasta()[20:]) + packed(b"")),
        ("packed under a plain name.fa", packed(fasta())),
    ],
    ids=["plain", "no newline at the end", "CRLF", "one line", "a base a line", "gzip", "members", "gzip named .fa"],
)
def test_the_same_bases_in_any_packing(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    genome = open_genome(tmp_path / name, tmp_path / "cache")
    assert dict(genome.chrom_sizes) == {chrom: len(bases) for chrom, bases in SEQUENCES.items()}
    assert whole(genome) == UPPER
    assert genome.source == tmp_path / name


# What is written, and where.


@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz"])
def test_nothing_is_written_beside_the_users_file(name, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    content = fasta() if name == "g.fa" else packed(fasta())
    (folder / name).write_bytes(content)
    before = (folder / name).stat().st_mtime_ns
    assert whole(open_genome(folder / name, tmp_path / "cache")) == UPPER
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_bytes() == content
    assert (folder / name).stat().st_mtime_ns == before
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.startswith(".")]


def test_the_second_opening_unpacks_and_indexes_nothing(tmp_path, monkeypatch):
    (tmp_path / "g.fa.gz").write_bytes(packed(fasta()))
    first = open_genome(tmp_path / "g.fa.gz", tmp_path / "cache")
    for work in ("_decompress", "_make_index"):
        monkeypatch.setattr(genome_module, work, lambda *_: pytest.fail("worked again"))
    second = open_genome(tmp_path / "g.fa.gz", tmp_path / "cache")
    assert (second.fasta, second.index, whole(second)) == (first.fasta, first.index, UPPER)


def test_a_changed_file_is_not_taken_for_the_old_one(tmp_path):
    for name, pack in (("g.fa", bytes), ("g.fa.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(fasta({"chrA": "ACGT"})))
        assert whole(open_genome(tmp_path / name, tmp_path / "cache")) == {"chrA": "ACGT"}
        (tmp_path / name).write_bytes(pack(fasta({"chrA": "TTTTT"})))
        assert whole(open_genome(tmp_path / name, tmp_path / "cache")) == {"chrA": "TTTTT"}


def test_an_index_beside_the_file_is_used_unless_it_is_older(tmp_path):
    path, index = tmp_path / "g.fa", tmp_path / "g.fa.fai"
    path.write_bytes(fasta())
    pyfaidx.Faidx(str(path)).close()
    written = index.read_bytes()
    genome = open_genome(path, tmp_path / "cache")
    assert (genome.index, whole(genome)) == (index, UPPER)
    assert not (tmp_path / "cache").exists()
    # The file changes and its index does not.
    path.write_bytes(fasta({"chrA": "TTTTT"}))
    late = time.time() + 10
    os.utime(path, (late, late))
    genome = open_genome(path, tmp_path / "cache")
    assert genome.index.parent == tmp_path / "cache"
    assert whole(genome) == {"chrA": "TTTTT"}
    assert index.read_bytes() == written


@pytest.mark.filterwarnings("error")
def test_a_file_that_was_only_touched_is_not_indexed_again_nor_warned_of(tmp_path, monkeypatch):
    path = tmp_path / "g.fa"
    path.write_bytes(fasta())
    first = open_genome(path, tmp_path / "cache")
    late = time.time() + 10
    os.utime(path, (late, late))
    monkeypatch.setattr(genome_module, "_make_index", lambda *_: pytest.fail("indexed again"))
    second = open_genome(path, tmp_path / "cache")
    assert (second.index, whole(second)) == (first.index, UPPER)


# What cannot be read.


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("g.fa", None, r"g\.fa: no such file\. Restore it or correct `sequences` in the experiment file\.$"),
        ("g.fa", b"", r"^g\.fa: contains no sequences\. Was the download cut short\?$"),
        ("g.fa", b"\n\nhello\n", r"^g\.fa line 3: expected `>` and a sequence name; this is not a FASTA file\.$"),
        ("g.fa", b"ACGT\n>chrA\nACGT\n", r"^g\.fa line 1: expected `>`"),
        ("g.fa", b">chrA\nAC\x00GT\n", r"^g\.fa line 2: binary data; a FASTA file was expected\.$"),
        ("g.fa", b">chrA\nAC\n>\nGT\n", r"^g\.fa line 3: a sequence without a name\. Name it after the `>`\.$"),
        (
            "g.fa",
            b">chrA\nAC\n>chrB\nAC\n>chrA again\nGT\n",
            r"^g\.fa line 5: sequence chrA is already on line 1\. Names must differ; remove one\.$",
        ),
        (
            "g.fa",
            b">chrA\nACGT\nAC\nACGT\n",
            r"^g\.fa: cannot be indexed: .* Lines of a sequence must have equal length",
        ),
        ("g.fa.gz", fasta(), r"^g\.fa\.gz: is named \.gz but is not gzip\. Rename or compress it again\.$"),
        ("g.fa.bgz", b"", r"^g\.fa\.bgz: is named \.bgz but is not gzip"),
        ("g.fa.gz", packed(fasta())[:-9], r"^g\.fa\.gz: cannot be decompressed .* damaged or cut short\."),
        ("g.fa.gz", packed(fasta())[:30], r"^g\.fa\.gz: cannot be decompressed .* damaged or cut short\."),
        (
            "g.fa.gz",
            packed(fasta())[:-8] + b"\x00" * 8,
            r"^g\.fa\.gz: cannot be decompressed .* damaged or cut short\.",
        ),
        ("g.fa.gz", packed(b"hello\n"), r"^g\.fa\.gz line 1: expected `>`"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence_and_leaves_nothing(name, content, sentence, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for _ in range(2):  # what the first attempt left behind must not make the second one succeed
        with pytest.raises(InputError, match=sentence) as caught:
            open_genome(tmp_path / name, tmp_path / "cache")
        assert "\n" not in str(caught.value)
    left = [path for path in (tmp_path / "cache").rglob("*") if path.suffix == ".fai" or path.name.startswith(".")]
    assert left == []


@pytest.mark.parametrize("index", ["hello\n", "chrA\tlong\t6\t4\t5\n", "chrA\t4\n"])
def test_an_index_that_is_none_is_one_sentence(index, tmp_path):
    (tmp_path / "g.fa").write_bytes(fasta({"chrA": "ACGT"}))
    (tmp_path / "g.fa.fai").write_text(index)
    with pytest.raises(InputError, match=r"^g\.fa\.fai line 1: not a FASTA index\. Remove it; it will be rebuilt\.$"):
        open_genome(tmp_path / "g.fa", tmp_path / "cache")


@pytest.mark.parametrize("lost", [1, 2, 20])
def test_a_copy_that_is_shorter_than_its_index_says_is_refused(lost, tmp_path):
    path = tmp_path / "g.fa"
    path.write_bytes(fasta(last=""))
    pyfaidx.Faidx(str(path)).close()
    assert whole(open_genome(path, tmp_path / "cache")) == UPPER
    path.write_bytes(fasta(last="")[:-lost])
    old = time.time() - 10
    os.utime(path, (old, old))
    with pytest.raises(InputError, match=r"^g\.fa: is cut short: .* g\.fa\.fai, 2 ends at byte \d+, but the file has"):
        open_genome(path, tmp_path / "cache")


# Pieces.


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("chunk", [1, 3, 1 << 22])
def test_the_pieces_of_a_contig_are_what_is_fetched(tmp_path, monkeypatch, ends, chunk):
    """Whole lines, a short last line, one line alone, nothing behind the last base, an empty contig."""
    monkeypatch.setattr(genome_module, "_CHUNK", chunk)
    path = tmp_path / "genome.fa"
    path.write_bytes(
        ends.join([">a", "ACGTn", "acg", ">b", "ACGT", "ACGT", ">c", "TTTTTTTT", ">d", "AC", "G"]).encode()
    )
    genome = open_genome(path, tmp_path / "cache")
    for chrom, size in genome.chrom_sizes.items():
        assert b"".join(genome.pieces(chrom)).decode() == genome.fetch(chrom, 0, size)
        assert b"".join(genome.pieces(chrom)) != b""

"""Ways in which an experiment can be wrong, each with the sentence that it must get; what is odd but valid beside.

Shared by the tests of the preflight and of the command line.
"""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class BadInput:
    """`damage` gets the folder of a valid tiny experiment (tiny.yaml); `sentence` is a regular expression."""

    name: str
    damage: Callable[[Path], object]
    sentence: str

    def __str__(self) -> str:
        return self.name


def write(name: str, content: str | bytes) -> Callable[[Path], object]:
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(raw)


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def cut(name: str, keep: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def change(**keys: object) -> Callable[[Path], object]:
    """Set keys of the experiment file; None removes one."""

    def damage(folder: Path) -> None:
        path = folder / "tiny.yaml"
        content = {**yaml.safe_load(path.read_text()), **keys}
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))

    return damage


def replace(name: str, old: str, new: str) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return damage


def both(*damages: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [damage(folder) for damage in damages]


def crlf(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))


def as_gzip(name: str, keep: int | None = None) -> Callable[[Path], object]:
    return lambda folder: (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes())[:keep])


def genome_shorter_than_its_index(folder: Path) -> None:
    """A copy that broke off, beside the index of the whole file."""
    import pyfaidx

    pyfaidx.Faidx(str(folder / "genome.fa")).close()
    index = folder / "genome.fa.fai"
    cut("genome.fa", 5000)(folder)
    later = (folder / "genome.fa").stat().st_mtime_ns + 10**9
    os.utime(index, ns=(later, later))


class Exploit:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path, str], int], tuple[Path, str]]:
        return Path.write_text, (self.path, "executed")


def malicious_model(folder: Path) -> None:
    import torch

    torch.save({"config": {}, "state_dict": Exploit(folder / "EXECUTED")}, folder / "model.torch")


def model_of_another_kind(folder: Path) -> None:
    import torch

    torch.save({"weights": torch.zeros(3)}, folder / "model.torch")


def weights_of_another_configuration(folder: Path) -> None:
    import torch

    payload = torch.load(folder / "model.torch", weights_only=True)
    payload["config"]["n_layers"] += 1
    torch.save(payload, folder / "model.torch")


def model_with_nan(folder: Path) -> None:
    import torch

    payload = torch.load(folder / "model.torch", weights_only=True)
    next(iter(payload["state_dict"].values())).fill_(float("nan"))
    torch.save(payload, folder / "model.torch")


def model_with_a_flipped_bit(folder: Path) -> None:
    content = bytearray((folder / "model.torch").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.torch").write_bytes(content)


def a_fold_of_another_model(folder: Path) -> None:
    """Fold b trims one bp more."""
    import torch

    payload = torch.load(folder / "model.torch", weights_only=True)
    payload["config"]["trimming"] += 1
    torch.save(payload, folder / "b.torch")
    change(model={"a": "model.torch", "b": "b.torch"})(folder)


PEAK = "chrA\t300\t340\n"
HEADER = "MEME version 4\n\nALPHABET= ACGT\n\n"
MATRIX = "letter-probability matrix: alength= 4 w= 1\n0.25 0.25 0.25 0.25\n"

BAD_INPUTS = [
    # the experiment file
    BadInput("no experiment file", remove("tiny.yaml"), r"tiny\.yaml: no such experiment file"),
    BadInput("not YAML", write("tiny.yaml", "name: [tiny\nloci: x\n"), r"tiny\.yaml line 2: is not YAML"),
    BadInput("a list", write("tiny.yaml", "- name\n- tiny\n"), r"tiny\.yaml: expected keys and values .* found list"),
    BadInput("empty", write("tiny.yaml", ""), r"tiny\.yaml: expected keys and values"),
    BadInput("binary", write("tiny.yaml", b"\x80\x81\xfe\xff"), r"tiny\.yaml: is not text in UTF-8"),
    BadInput("UTF-16", write("tiny.yaml", "name: tiny".encode("utf-16")), r"tiny\.yaml: .* must be saved as UTF-8"),
    BadInput(
        "an address for a file",
        change(loci=["peaks.bed", "https://example.org/peaks.bed"]),
        r"^tiny\.yaml: `loci`: https://example\.org/peaks\.bed is an address, and only files are read\.",
    ),
    BadInput(
        "an address for a fold",
        change(model={"one": {"path": "gs://bucket/model.torch"}}),
        r"`model`: gs://bucket/model\.torch is an address",
    ),
    BadInput(
        "a Python object in YAML",
        write("tiny.yaml", "name: !!python/object/apply:os.system ['touch EXECUTED']\n"),
        r"tiny\.yaml line 1: is not YAML: could not determine a constructor",
    ),
    BadInput(
        "a key twice",
        lambda folder: (folder / "tiny.yaml").write_text((folder / "tiny.yaml").read_text() + "name: again\n"),
        r"tiny\.yaml line \d+: is not YAML: the key `name` appears twice",
    ),
    BadInput("unknown key", change(outptu="counts"), r"unknown key `outptu`\. Did you mean `output`\?"),
    BadInput(
        "unknown key in a section",
        change(seqlets={"treshold": 0.1}),
        r"unknown key `seqlets\.treshold`\. Did you mean `threshold`\?",
    ),
    BadInput("unlike any key", change(zzzzzz=1), r"unknown key `zzzzzz`\. Remove it"),
    BadInput("missing key", change(sequences=None), r"the key `sequences` is missing\. Add it"),
    BadInput("text for a number", change(in_window="150"), r"`in_window`: a number is needed, not the text '150'"),
    BadInput("yes for a number", change(batch_size=True), r"`batch_size`: a number is needed, not true"),
    BadInput("a fraction for a width", change(in_window=150.5), r"`in_window`: .*integer.*found 150\.5"),
    BadInput("zero width", change(in_window=0), r"`in_window`: Input should be greater than 0, found 0"),
    BadInput("unknown head", change(output="count"), r"`output\.0`: Input should be 'counts' or 'profile'.*'count'"),
    BadInput("unknown algorithm", change(algorithm="ism"), r"`algorithm`: .*'saturation_mutagenesis'.*found 'ism'"),
    BadInput("unknown device", change(device="gpu"), r"`device`: must be auto, cpu, cuda or cuda:N, found 'gpu'"),
    BadInput("no such GPU", change(device="cuda:99"), r"device cuda:99 was requested, but"),
    BadInput("name with a slash", change(name="../x"), r"`name`: must start with a letter .* found '\.\./x'"),
    BadInput("no loci", change(loci=[]), r"`loci`: at least one is needed"),
    BadInput("no folds", change(model={}), r"`model`: "),
    BadInput("a chromosome twice", change(chroms=["chrA", "chrA"]), r"`chroms`: a chromosome is named twice"),
    BadInput("a chromosome with dots", change(chroms=["chr...A"]), r"`chroms`: 'chr\.\.\.A' cannot be a partition key"),
    BadInput(
        "attribution wider than the input",
        change(attr_window=200, modisco={"window": 20, "size": 10}),
        r"attr_window 200 is wider than in_window 150",
    ),
    BadInput(
        "TF-MoDISco wider than the attribution",
        change(modisco={"window": 30}),
        r"modisco\.window 30 is wider than attr",
    ),
    BadInput(
        "seqlet lengths the wrong way",
        change(seqlets={"min_seqlet_len": 9, "max_seqlet_len": 5}),
        r"`seqlets`: min_seqlet_len 9 > max_seqlet_len 5",
    ),
    BadInput(
        "threshold above one", change(seqlets={"threshold": 2}), r"`seqlets\.threshold`: .*less than or equal to 1"
    ),
    BadInput("text for a list of paths", change(loci={"a": "b"}), r"`loci`"),
    BadInput("a number for a path", change(sequences=7), r"`sequences`: a path is needed, found 7"),
    BadInput("a list for a name", change(name=["tiny"]), r"`name`: must start with a letter"),
    BadInput("a number for a model", change(model=5), r"`model`: a path, or a map from folds to paths, is needed"),
    BadInput("a list for a section", change(modisco=[1]), r"`modisco`: Input should be a valid dictionary"),
    BadInput(
        "an alias that holds itself",
        write("tiny.yaml", "name: tiny\nloci: &a [*a]\n"),
        r"tiny\.yaml line 2: is not YAML: the alias `\*a` is not supported",
    ),
    BadInput("a seed that is none", change(random_state=2**32), r"`random_state`: .*less than 4294967296"),
    BadInput(
        "a precision that the model cannot take",
        change(dtype="float64"),
        r"model\.torch: cannot compute in float64.*Set dtype to one of float32",
    ),
    BadInput(
        "an odd TF-MoDISco window",
        change(modisco={"window": 15, "size": 10}),
        r"modisco\.window is 15, and modisco-lite takes even windows only; use 14",
    ),
    BadInput(
        "a seqlet longer than the TF-MoDISco window",
        change(modisco={"window": 10, "size": 12}),
        r"modisco\.size is 12, longer than modisco\.window \(10\)",
    ),
    BadInput("no step file", change(seqlets="k562.seqlets.json"), r"k562\.seqlets\.json: no such experiment file"),
    # the genome
    BadInput("no genome", remove("genome.fa"), r"genome\.fa: no such file.*`sequences`"),
    BadInput("empty genome", write("genome.fa", ""), r"genome\.fa: contains no sequences"),
    BadInput("text for a genome", write("genome.fa", "hello\n"), r"genome\.fa line 1: expected `>`"),
    BadInput("binary genome", write("genome.fa", b">chrA\nAC\x00\x01GT\n"), r"genome\.fa line 2: binary data"),
    BadInput(
        "genome with ragged lines",
        write("genome.fa", ">chrA\nACGT\nACGTACGT\nAC\nACGT\n"),
        r"genome\.fa: cannot be indexed.*equal length",
    ),
    BadInput(
        "a sequence twice",
        write("genome.fa", ">chrA\nACGT\n>chrA\nACGT\n"),
        r"genome\.fa line 3: sequence chrA is already on line 1",
    ),
    BadInput(
        "gz that is not gz",
        both(write("genome.fa.gz", ">chrA\nACGT\n"), change(sequences="genome.fa.gz")),
        r"genome\.fa\.gz: is named \.gz but is not gzip",
    ),
    BadInput(
        "truncated gz",
        both(as_gzip("genome.fa", keep=900), change(sequences="genome.fa.gz")),
        r"genome\.fa\.gz: cannot be decompressed.*cut short",
    ),
    BadInput(
        "truncated genome",
        genome_shorter_than_its_index,
        r"genome\.fa: is cut short: according to genome\.fa\.fai, chrB ends at byte \d+, but the file has 5000",
    ),
    BadInput(
        "an index that is none",
        both(write("genome.fa.fai", "chrA\tthree thousand\n")),
        r"genome\.fa\.fai line 1: not a FASTA index",
    ),
    BadInput("a folder for a genome", change(sequences="."), r"no such file.*`sequences`"),
    BadInput(
        "only unplaced sequences",
        both(
            write("genome.fa", ">chrUn_1\nACGT\n>chrM\nACGT\n"),
            write("peaks.bed", ""),
            write("negatives.bed", ""),
        ),
        r"genome\.fa: no sequence of it is a main chromosome: chrUn_1 \(unplaced, .*\); chrM \(mitochondria",
    ),
    BadInput("chromosome not in the genome", change(chroms=["chrZ"]), r"`chroms` names chrZ, not in genome\.fa"),
    # loci
    BadInput("no peaks file", remove("peaks.bed"), r"peaks\.bed: no such file"),
    BadInput(
        "end before start",
        write("peaks.bed", PEAK + "chrA\t250\t100\n"),
        r"peaks\.bed line 2: end 100 <= start 250; BED is 0-based, half-open\. Fix the row or remove it",
    ),
    BadInput("empty interval", write("peaks.bed", "chrA\t250\t250\n"), r"peaks\.bed line 1: end 250 <= start 250"),
    BadInput("negative start", write("peaks.bed", "chrA\t-5\t100\n"), r"peaks\.bed line 1: start -5 is negative"),
    BadInput(
        "text for numbers",
        write("peaks.bed", PEAK + "chrom\tstart\tend\n"),
        r"peaks\.bed line 2: start 'start' and end 'end' must be whole numbers",
    ),
    BadInput("fractions", write("peaks.bed", "chrA\t1.5\t30\n"), r"peaks\.bed line 1: start '1\.5' .* whole numbers"),
    BadInput(
        "two columns", write("peaks.bed", "chrA\t30\n"), r"peaks\.bed line 1: 2 column\(s\), but BED has at least"
    ),
    BadInput("binary peaks", write("peaks.bed", b"\x89PNG\xff\xfe\x00"), r"peaks\.bed: is not text but binary data"),
    BadInput(
        "peak past the end",
        write("peaks.bed", "chrA\t3000\t3100\n"),
        r"peaks\.bed line 1: start 3000 is past the end of chrA \(3000 bp\)",
    ),
    BadInput(
        "peaks without chr",
        both(write("peaks.bed", "1\t300\t340\n"), replace("genome.fa", ">chrA", ">chr1")),
        r"peaks\.bed: chromosome 1 is not in genome\.fa.*1 is spelled chr1 there",
    ),
    BadInput(
        "peaks with chr",
        both(write("peaks.bed", "chr1\t300\t340\n"), replace("genome.fa", ">chrA", ">1")),
        r"peaks\.bed: chromosome chr1 is not in genome\.fa.*chr1 is spelled 1 there",
    ),
    BadInput(
        "chroms without chr", change(chroms=["A"]), r"`chroms` names A, not in genome\.fa.*A is spelled chrA there"
    ),
    BadInput(
        "negatives of another genome",
        write("negatives.bed", "2L\t300\t340\n"),
        r"negatives\.bed: chromosome 2L is not .*one assembly",
    ),
    BadInput(
        "peaks of another genome",
        write("peaks.bed", "2L\t300\t340\n"),
        r"peaks\.bed: chromosome 2L is not .*one assembly",
    ),
    BadInput(
        "peaks gz that is not gz",
        both(write("peaks.bed.gz", PEAK), change(loci="peaks.bed.gz")),
        r"peaks\.bed\.gz: cannot be decompressed",
    ),
    BadInput(
        "truncated peaks gz",
        both(as_gzip("peaks.bed", keep=30), change(loci="peaks.bed.gz")),
        r"peaks\.bed\.gz: cannot be decompressed",
    ),
    BadInput("bad negatives", write("negatives.bed", "chrA\t9\t3\n"), r"negatives\.bed line 1: end 3 <= start 9"),
    BadInput(
        "bad exclusion list",
        both(write("x.bed", "chrA 5\n"), change(exclusion_lists=["x.bed"])),
        r"x\.bed line 1: 2 column",
    ),
    # parameters of steps
    BadInput("no thread", change(annotation={"n_jobs": 0}), r"`annotation\.n_jobs`: must be 1 or more .*, found 0"),
    BadInput("-2 threads", change(annotation={"n_jobs": -2}), r"`annotation\.n_jobs`: must be .* or -1 for all"),
    BadInput(
        "too narrow for TF-MoDISco",
        change(attr_window=28, modisco=None),
        r"modisco\.window is 28, and a seqlet of TF-MoDISco is 30 bp wide \(modisco\.size 20 .* to 30 or more",
    ),
    # the model
    BadInput("no model", remove("model.torch"), r"model\.torch: cannot be read .*No such file"),
    BadInput("truncated model", cut("model.torch", 2000), r"model\.torch: is damaged, cut short, or not"),
    BadInput("text for a model", write("model.torch", "weights"), r"model\.torch: is damaged, cut short, or not"),
    BadInput("model that executes code", malicious_model, r"model\.torch: holds pickled Python.* was not opened"),
    BadInput(
        "pickle for a model",
        lambda folder: (folder / "model.torch").write_bytes(pickle.dumps(Exploit(folder / "EXECUTED"))),
        r"model\.torch: is damaged, cut short, or not a PyTorch checkpoint",
    ),
    BadInput("other weights", model_of_another_kind, r"model\.torch: has weights but no Cherimoya configuration"),
    BadInput("weights of another shape", weights_of_another_configuration, r"model\.torch: its weights do not fit"),
    BadInput(
        "model with another window",
        change(out_window=100),
        r"model\.torch: gives a profile of \d+ bp for in_window 150 .*but out_window says 100",
    ),
    BadInput(
        "window too narrow for the model",
        change(in_window=90),
        r"model\.torch: trims \d+ bp on each side, so an in_window of 90 leaves no profile",
    ),
    BadInput("model with NaN", model_with_nan, r"model\.torch: \S+ holds NaN or infinity; its training diverged"),
    BadInput("model with a flipped bit", model_with_a_flipped_bit, r"model\.torch: is damaged: the checksum of"),
    BadInput("a folder for a model", change(model="."), r": cannot be read \(Is a directory\)"),
    BadInput("no such group", change(group=3), r"model\.torch: has 1 signal group\(s\), so there is no group 3"),
    BadInput(
        "folds of two models",
        a_fold_of_another_model,
        r"The folds a \(model\.torch\) and b \(b\.torch\) do not predict the same: .* 52 bp of profile, the other 50,",
    ),
    BadInput("one fold missing", change(model={"a": "model.torch", "b": "b.torch"}), r"b\.torch: cannot be read"),
    BadInput(
        "untrusted ChromBPNet",
        change(model={"path": "model.torch", "kind": "chrombpnet"}),
        r"model\.torch: chrombpnet files are pickled .*`trusted: true` and `sha256: [0-9a-f]{64}`",
    ),
    BadInput(
        "another file than was meant",
        change(model={"path": "model.torch", "sha256": "0" * 64}),
        r"model\.torch: its sha256 is [0-9a-f]{64}, but the experiment file says 0{64}",
    ),
    # motifs
    BadInput(
        "peaks past the ends of another genome",
        write("peaks.bed", "".join(f"chrC\t{1900 + k}\t{2001 + k}\n" for k in range(20))),
        r"peaks\.bed: 20 of 20 loci end past the end of their chromosome in genome\.fa \(chrC:1900-2001; ",
    ),
    BadInput("no motif file", remove("motifs.meme"), r"motifs\.meme: no such file"),
    BadInput("empty motif file", write("motifs.meme", ""), r"motifs\.meme line 1: expected `MEME version 4`"),
    BadInput("binary motifs", write("motifs.meme", b"\x89PNG\xff\xfe"), r"motifs\.meme: is not text but binary data"),
    BadInput(
        "no motif file for the marginalization",
        change(marginalize={"motifs": "own.meme"}),
        r"own\.meme: no such file",
    ),
    BadInput("MEME without motifs", write("motifs.meme", HEADER), r"motifs\.meme: contains no motifs"),
    BadInput("text for motifs", write("motifs.meme", "ACGT\n"), r"motifs\.meme line 1: expected `MEME version 4`"),
    BadInput(
        "motif twice",
        write("motifs.meme", f"{HEADER}MOTIF a\n{MATRIX}\nMOTIF a\n{MATRIX}"),
        r"motifs\.meme line 9: motif 'a' is already on line 5",
    ),
    BadInput(
        "motif without a matrix", write("motifs.meme", f"{HEADER}MOTIF a\n"), r"motifs\.meme line 5: no `letter-prob"
    ),
    BadInput(
        "rows missing",
        write("motifs.meme", f"{HEADER}MOTIF a\n{MATRIX}".replace("w= 1", "w= 3")),
        r"1 rows follow.*w= 3",
    ),
    BadInput(
        "row that does not sum to one",
        write("motifs.meme", f"{HEADER}MOTIF a\n{MATRIX}".replace("0.25 0.25 0.25 0.25", "0.9 0.9 0.1 0.1")),
        r"line 7: the probabilities sum to 2\.000, not 1",
    ),
    BadInput(
        "row that is no numbers",
        write("motifs.meme", f"{HEADER}MOTIF a\n{MATRIX}".replace("0.25 0.25 0.25 0.25", "A C G T")),
        r"line 7: 'A C G T' is not four numbers",
    ),
    BadInput(
        "protein motifs",
        write("motifs.meme", "MEME version 4\n\nALPHABET= ACDEFGHIKLMNPQRSTVWY\n"),
        r"alphabet ACDEFG.*DNA",
    ),
    BadInput(
        "motif longer than the window",
        write("motifs.meme", f"{HEADER}MOTIF a\n{MATRIX}".replace("w= 1", "w= 200") + "0.25 0.25 0.25 0.25\n" * 199),
        r"motifs\.meme: motif 'a' is longer than in_window 150",
    ),
]

TEXTS = ("genome.fa", "peaks.bed", "negatives.bed", "motifs.meme", "tiny.yaml")


def _without_last_line_end(path: Path) -> None:
    path.write_bytes(path.read_bytes().rstrip(b"\n"))


def _in_lower_case(path: Path) -> None:
    names_kept = [line if line[:1] == ">" else line.lower() for line in path.read_text().splitlines()]
    path.write_text("\n".join(names_kept) + "\n")


ODD_BUT_VALID = [
    ("nothing odd", lambda folder: None),
    ("no peaks at all", write("peaks.bed", "")),
    ("comments and headers", write("peaks.bed", "track name=x\nbrowser position\n# hello\n" + PEAK + "\n")),
    ("CRLF", write("peaks.bed", "chrA\t300\t340\r\nchrB\t400\t440\r\n")),
    ("genome with CRLF", crlf("genome.fa")),
    ("motifs with CRLF", crlf("motifs.meme")),
    ("experiment file with CRLF", crlf("tiny.yaml")),
    ("no line end at the end", lambda folder: [_without_last_line_end(folder / name) for name in TEXTS]),
    ("genome in lower case", lambda folder: [_in_lower_case(folder / "genome.fa")]),
    ("no negatives in the file", write("negatives.bed", "")),
    ("spaces for tabs", write("peaks.bed", "chrA 300 340\n")),
    ("a peak twice", write("peaks.bed", PEAK + PEAK)),
    ("peaks in gz", both(as_gzip("peaks.bed"), change(loci=["peaks.bed.gz"]))),
    ("genome in gz", both(as_gzip("genome.fa"), change(sequences="genome.fa.gz"))),
    ("peaks on a contig that is not there", write("peaks.bed", PEAK + "chrUn_1\t5\t9\n")),
    ("motif named as a path", replace("motifs.meme", "MOTIF one", "MOTIF ../x")),
    ("motif named as a script", replace("motifs.meme", "MOTIF one", "MOTIF <script>alert(1)</script>")),
    ("no motifs", change(motifs=None)),
    ("no negatives", change(negatives=None)),
    ("two folds", change(model={"a": "model.torch", "b": {"path": "model.torch"}})),
    ("logcounts", change(output="logcounts")),
]

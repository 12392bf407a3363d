"""Files that were made to do harm, each with what the user is told instead.

Every attack is on a valid tiny experiment. What each would do if it could: make the file `EXECUTED`, write outside of
the home, hang, or take more memory than there is. What is bad but meant well is in `bad_inputs.py`.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cherimoya_assets_tests.bad_inputs import HEADER, MATRIX, PEAK, BadInput, Exploit, both, change, replace, write

ESCAPES = "\x1b[2J\x1b]0;owned\x07"
"""Clears a terminal and sets its title."""

TURNED = "\u202egpj.exe"
"""A mark that turns the direction of writing."""

SECRET = "hunter2"

MB = 1 << 20


def line(text: str, name: str = "tiny.yaml") -> Callable[[Path], object]:
    """One line more in a file."""

    def damage(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(f"{text}\n")

    return damage


def pipe(name: str) -> Callable[[Path], object]:
    """A named pipe in the place of a file: whoever opens it waits for ever."""

    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def checkpoint(spoil: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """The model with other contents, saved by PyTorch itself."""

    def damage(folder: Path) -> None:
        import torch

        payload = torch.load(folder / "model.torch", weights_only=True)
        spoil(payload)
        torch.save(payload, folder / "model.torch")

    return damage


def endless_view(payload: dict[str, Any]) -> None:
    import torch

    name = next(iter(payload["state_dict"]))
    payload["state_dict"][name] = torch.zeros(1).expand(10**7, 10**7)


def sparse(payload: dict[str, Any]) -> None:
    import torch

    name = next(iter(payload["state_dict"]))
    payload["state_dict"][name] = torch.sparse_coo_tensor(size=(10**7, 10**7), check_invariants=True)


def packed_checkpoint(folder: Path) -> None:
    """A member of 200 MB that takes 200 kB."""
    with zipfile.ZipFile(folder / "model.torch", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/9", bytes(200 * MB))


def torchscript(folder: Path) -> None:
    """An archive that `torch.load` hands to the loader of programs."""
    with zipfile.ZipFile(folder / "model.torch", "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{root}/constants.pkl", pickle.dumps(Exploit(folder / "EXECUTED")))


def two_files_in_one(folder: Path) -> None:
    """A pickle that ends in an archive: the archive's checksums are right, and `torch.load` reads the pickle."""
    packed = (folder / "model.torch").read_bytes()
    (folder / "model.torch").write_bytes(pickle.dumps(Exploit(folder / "EXECUTED")) + packed)


def pickled_bpnet(**keys: object) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        import torch

        torch.save(Exploit(folder / "EXECUTED"), folder / "model.torch")
        change(model={"path": "model.torch", "kind": "bpnet", **keys})(folder)

    return damage


def gzip_bomb(name: str, content: bytes, times: int) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        raw = io.BytesIO()
        with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6) as packed:
            for _ in range(times):
                packed.write(content)
        (folder / name).write_bytes(raw.getvalue())

    return damage


def index(text: str) -> Callable[[Path], object]:
    """An index beside the genome that is newer than it."""

    def damage(folder: Path) -> None:
        (folder / "genome.fa.fai").write_text(text)
        later = (folder / "genome.fa").stat().st_mtime_ns + 10**9
        os.utime(folder / "genome.fa.fai", ns=(later, later))

    return damage


def motif(name: str) -> Callable[[Path], object]:
    return write("motifs.meme", f"{HEADER}MOTIF {name}\n{MATRIX}")


def secret_file(folder: Path) -> None:
    (folder / "private").write_text(f"password: {SECRET}\ntoken: [{SECRET}\n")


ATTACKS = [
    # the experiment file: YAML that does something
    BadInput(
        "YAML makes an object",
        write("tiny.yaml", "name: !!python/object/new:os.system ['touch EXECUTED']\n"),
        r"tiny\.yaml line 1: is not YAML: could not determine a constructor for the tag '[^']*python/object/new",
    ),
    BadInput(
        "YAML imports a module",
        write("tiny.yaml", "name: !!python/module:antigravity ''\n"),
        r"tiny\.yaml line 1: is not YAML: could not determine a constructor",
    ),
    BadInput(
        "YAML names a function",
        write("tiny.yaml", "name: !!python/name:os.system ''\n"),
        r"tiny\.yaml line 1: is not YAML: could not determine a constructor",
    ),
    BadInput(
        "a billion laughs",
        write(
            "tiny.yaml",
            "a: &a [lol,lol]\n"
            + "".join(f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        ),
        r"tiny\.yaml line 2: is not YAML: the alias `\*a` is not supported",
    ),
    BadInput(
        "merged into itself",
        write("tiny.yaml", "base: &b {name: tiny}\n<<: *b\n"),
        r"tiny\.yaml line 2: is not YAML: the alias `\*b` is not supported",
    ),
    BadInput(
        "a number of half a megabyte",
        line("in_window2: 0x" + "f" * 500_000),
        r"tiny\.yaml line \d+: is not YAML: a number of 500,002 characters is not a valid value",
    ),
    BadInput(
        "a number to the base of 60",
        line("in_window2: 1" + ":1" * 200_000),
        r"tiny\.yaml line \d+: is not YAML: a number of 400,001 characters",
    ),
    BadInput("nested a hundred thousand times", line("x: " + "[" * 100_000), r"tiny\.yaml: is nested too deeply"),
    BadInput(
        "a tag that does not fit", line("x: !!bool maybe"), r"tiny\.yaml: is not YAML: a value does not fit its tag"
    ),
    BadInput("a mapping that is a list", line("x: !!map [[a, b]]"), r"line \d+: is not YAML: expected keys and values"),
    BadInput("larger than any experiment", line("#" * 2 * MB), r"tiny\.yaml: larger than 1 MB"),
    BadInput(
        "JSON with a hundred thousand keys",
        lambda folder: (
            (folder / "many.json").write_text("{" + ",".join(f'"{n}":1' for n in range(60_000)) + ',"0":2}'),
            change(seqlets="many.json")(folder),
        ),
        r"many\.json: the key `0` appears twice",
    ),
    # the experiment file: keys and values that reach for more
    BadInput("an attribute of the class", line("__class__: x"), r"unknown key `__class__`\. Remove it"),
    BadInput("pydantic's own settings", line("model_config: {extra: allow}"), r"unknown key `model_config`"),
    BadInput("where it was read from", line("source: /etc/passwd"), r"tiny\.yaml: unknown key `source`\. Remove it"),
    BadInput("a name with a line end", change(name="tiny\n"), r"`name`: must start with a letter"),
    BadInput("a name above the store", change(name="../../x"), r"`name`: must start .* found '\.\./\.\./x'"),
    BadInput("a name of two folders", change(name="a/b"), r"`name`: must start .* found 'a/b'"),
    BadInput("a name of another script", change(name="t\u0456ny"), r"`name`: must start with a letter"),
    BadInput("a name longer than a folder's", change(name="a" * (MB // 2)), r"`name`: .*at most 100 of them"),
    BadInput("a key that clears the terminal", line(f'"{ESCAPES!r}": 1'.replace("'", "")), r"unknown key `\ufffd\[2J"),
    BadInput("a key of half a megabyte", line("? " + "k" * (MB // 2) + "\n: 1"), r"unknown key `k{100}"),
    BadInput(
        "a fold that clears the terminal", change(model={ESCAPES: "model.torch"}), r"`model`: the fold .* printable"
    ),
    BadInput("a path with a NUL", change(sequences="genome.fa\0.png"), r"tiny\.yaml: the text .* holds a character"),
    BadInput(
        "half of a surrogate pair", line('x: "\\ud800"'), r"tiny\.yaml: the text .* holds a character|is not YAML"
    ),
    BadInput("a home of nobody", change(sequences="~nobody-here/genome.fa"), r"~nobody-here/genome\.fa: no such file"),
    BadInput(
        "another file of the reader",
        both(secret_file, change(seqlets="private")),
        r"private line 3: is not YAML",
    ),
    # files that are none
    BadInput("a genome without an end", change(sequences="/dev/zero"), r"/dev/zero: no such file"),
    BadInput("peaks without an end", change(loci="/dev/zero"), r"/dev/zero: no such file"),
    BadInput("motifs without an end", change(motifs="/dev/zero"), r"/dev/zero: no such file"),
    BadInput("a model without an end", change(model="/dev/zero"), r"/dev/zero: cannot be read \(not a regular file\)"),
    BadInput("a pipe for a model", pipe("model.torch"), r"model\.torch: cannot be read \(not a regular file\)"),
    BadInput("a pipe for peaks", pipe("peaks.bed"), r"peaks\.bed: no such file"),
    BadInput("a pipe for an experiment", pipe("tiny.yaml"), r"tiny\.yaml: no such experiment file"),
    # the checkpoint
    BadInput("a program for a model", torchscript, r"model\.torch: is damaged, cut short, or not a PyTorch checkpoint"),
    BadInput(
        "a pickle before the archive",
        two_files_in_one,
        r"model\.torch: is damaged, cut short, or not a PyTorch checkpoint",
    ),
    BadInput(
        "an untrusted BPNet", pickled_bpnet(), r"model\.torch: bpnet files are pickled Python and can execute code"
    ),
    BadInput("a BPNet trusted without its hash", pickled_bpnet(trusted=True), r"model\.torch: bpnet files are pickled"),
    BadInput(
        "a BPNet of another hash",
        pickled_bpnet(trusted=True, sha256="0" * 64),
        r"model\.torch: its sha256 is [0-9a-f]{64}",
    ),
    BadInput("a packed checkpoint", packed_checkpoint, r"model\.torch: is damaged, cut short, or not a PyTorch"),
    BadInput("weights larger than the file", checkpoint(endless_view), r"its weights claim to be more than the file"),
    BadInput("sparse weights", checkpoint(sparse), r"model\.torch: .*not plain values"),
    BadInput(
        "a million filters",
        checkpoint(lambda payload: payload["config"].update(n_filters=10**6)),
        r"model\.torch: its weights do not fit its configuration \(iconv\.weight is \(8, 4, 21\), expected \(1000000",
    ),
    BadInput(
        "a billion layers",
        checkpoint(lambda payload: payload["config"].update(n_layers=10**9)),
        r"model\.torch: its configuration has more layers than there are weights",
    ),
    BadInput(
        "a configuration that is code",
        checkpoint(lambda payload: payload.update(config=["touch EXECUTED"])),
        r"model\.torch: its configuration or its weights are not plain values",
    ),
    # motifs
    BadInput("a motif that clears the terminal", motif(f"a{ESCAPES}"), r"line 5: the motif has no printable name"),
    BadInput("a motif that turns the writing", motif(f"a{TURNED}"), r"line 5: the motif has no printable name"),
    BadInput("a motif with a NUL", motif("a\0b"), r"line 5: the motif has no printable name"),
    BadInput("a motif of a megabyte", motif("a" * MB), r"line 5: the motif's name has 1,048,576 characters"),
    BadInput(
        "a motif wider than a number",
        write("motifs.meme", f"{HEADER}MOTIF a\n{MATRIX}".replace("w= 1", "w= " + "9" * 5000)),
        r"motifs\.meme line 5: line 6: w= 9+\.\.\. is not a width",
    ),
    BadInput(
        "an alphabet that clears the terminal",
        write("motifs.meme", f"MEME version 4\nALPHABET= {ESCAPES}\n"),
        r"alphabet \ufffd\[2J",
    ),
    # loci
    BadInput(
        "a chromosome that clears the terminal",
        write("peaks.bed", f"{PEAK}a{ESCAPES}\t1\t2\n"),
        r"peaks\.bed line 2: '.*' is not a chromosome name",
    ),
    BadInput(
        "a chromosome that turns the writing", write("peaks.bed", f"{TURNED}\t1\t2\n"), r"peaks\.bed line 1: '.*' is no"
    ),
    BadInput(
        "a chromosome without a name", write("peaks.bed", "\t1\t2\n"), r"peaks\.bed line 1: '' is not a chromosome name"
    ),
    BadInput(
        "an end beyond all numbers",
        write("peaks.bed", f"chrA\t1\t{'9' * 5000}\n"),
        r"line 1: start '1' and end '9+' must",
    ),
    BadInput(
        "digits of another script", write("peaks.bed", "chrA\t1\t\u0662\n"), r"line 1: start '1' and end '.' must"
    ),
    BadInput("not a number", write("peaks.bed", "chrA\tNaN\tinf\n"), r"line 1: start 'NaN' and end 'inf' must"),
    BadInput(
        "a gzip file of one endless line",
        both(gzip_bomb("peaks.bed.gz", b"A" * MB, 200), change(loci="peaks.bed.gz")),
        r"peaks\.bed\.gz line 1: longer than 1 MB; a BED file was expected",
    ),
    # the genome
    BadInput(
        "a sequence that clears the terminal",
        replace("genome.fa", ">chrA", f">chrA{ESCAPES}"),
        r"genome\.fa line 1: '.*' is not a sequence name",
    ),
    BadInput(
        "a sequence that turns the writing",
        replace("genome.fa", ">chrA", f">{TURNED}"),
        r"genome\.fa line 1: '.*' is not a sequence name",
    ),
    BadInput(
        "a sequence that is a range of partitions",
        both(write("genome.fa", f">a...b\n{'ACGT' * 100}\n"), write("peaks.bed", ""), write("negatives.bed", "")),
        r"genome\.fa: 'a\.\.\.b' cannot be a partition key",
    ),
    BadInput(
        "a sequence longer than a folder's name",
        both(write("genome.fa", f">{'a' * 300}\n{'ACGT' * 100}\n"), write("peaks.bed", ""), write("negatives.bed", "")),
        r"genome\.fa: 'a+' cannot be a partition key: its name is too long for a folder",
    ),
    BadInput(
        "an index that leads elsewhere",
        index("chrA\t2500\t3059\t60\t61\nchrB\t2500\t3063\t60\t61\nchrC\t2000\t5612\t60\t61\n"),
        r"genome\.fa: according to genome\.fa\.fai, chrA begins at byte 3059, but no sequence starts there",
    ),
    BadInput(
        "an index of other digits", index("chrA\t\u00b2\t6\t60\t61\n"), r"genome\.fa\.fai line 1: not a FASTA index"
    ),
    BadInput("an index of empty lines", index("chrA\t3000\t6\t0\t0\n"), r"genome\.fa\.fai line 1: not a FASTA index"),
]
"""`damage` and `sentence` as of a bad input."""

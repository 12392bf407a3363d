"""The genome: one indexed, plain FASTA, whatever the user brought.

What lives here: opening, decompressing, indexing and reading sequence. What must not: loci. Reading is pyfaidx's;
nothing is ever written beside the user's file. Coordinates are 0-based and half-open.
"""

from __future__ import annotations

import codecs
import gzip
import os
import re
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from cherimoya_assets.analysis.hashing import file_sha256
from cherimoya_assets.errors import InputError

_CHUNK = 1 << 22

_NUMBER = re.compile(r"[0-9]{1,15}")

_MARK = codecs.BOM_UTF8.decode("latin-1")

LONGEST_HEADER = 1 << 16
"""Bytes in which the line `>name description` before a sequence is looked for."""


@dataclass(frozen=True)
class Genome:
    """An indexed FASTA.

    Attributes:
        source: the user's file. fasta: the plain file that is read. index: its .fai.
        chrom_sizes: lengths in bp, in file order.
    """

    source: Path
    fasta: Path
    index: Path
    chrom_sizes: Mapping[str, int] = field(repr=False)

    def fetch(self, chrom: str, start: int, end: int) -> str:
        """The bases of `[start, end)` in upper case; what reaches over an end of the chromosome is cut off."""
        start = max(start, 0)
        return str(self._records[chrom][start:end].seq).upper() if end > start else ""

    def pieces(self, chrom: str) -> Iterator[bytes]:
        """All bases of a contig in upper case, in pieces of some megabytes; several times as fast as `fetch`."""
        length, offset, bases, width = self._places[chrom]
        left = _bytes_of(length, bases, width)
        with self.fasta.open("rb") as handle:
            handle.seek(offset)
            while left > 0 and (raw := handle.read(min(left, _CHUNK))):
                left -= len(raw)
                yield raw.translate(None, b"\r\n").upper()

    def open(self) -> Any:
        """A `pyfaidx.Fasta` of it, to hand to tangermeme or memelite."""
        return self._records

    @cached_property
    def _places(self) -> Mapping[str, tuple[int, int, int, int]]:
        return {record[0]: record[1:] for record in _records_of(self.index)}

    @cached_property
    def _records(self) -> Any:
        import pyfaidx

        return pyfaidx.Fasta(str(self.fasta), indexname=str(self.index), rebuild=False)


def open_genome(sequences: Path, cache: Path) -> Genome:
    """Open a FASTA (plain, gzip or bgzip), indexing it in `cache` when it has no index beside it.

    A compressed file is decompressed once into `cache/<sha256>.fa`; the second opening costs milliseconds. What pyfaidx
    cannot index as it is (line ends of old Macs, empty lines, a byte order mark, descriptions in latin-1) is written
    there once more, with names and bases alone.

    Raises:
        InputError: the file is missing, not FASTA, cut short, or cannot be indexed; says which and where.
    """
    if not sequences.is_file():
        raise InputError(f"{sequences}: no such file. Restore it or correct `sequences` in the experiment file.")
    if _is_gzip(sequences):
        fasta = cache / f"{file_sha256(sequences, cache)}.fa"
        if not fasta.exists():
            _decompress(sequences, fasta)
    elif sequences.suffix in (".gz", ".bgz"):
        raise InputError(f"{sequences.name}: is named {sequences.suffix} but is not gzip. Rename or compress it again.")
    else:
        fasta = sequences
    fasta, index = _indexed(sequences, fasta, cache)
    return Genome(sequences, fasta, index, _chrom_sizes(index))


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def _decompress(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with gzip.open(source, "rb") as packed, temporary.open("wb") as plain:
            while chunk := packed.read(_CHUNK):
                plain.write(chunk)
            plain.flush()
            os.fsync(plain.fileno())
        os.replace(temporary, target)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{source.name}: cannot be decompressed ({error}); it is damaged or cut short. Download it again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _indexed(source: Path, fasta: Path, cache: Path) -> tuple[Path, Path]:
    """A file to read, and its index: the one beside it where it is there and not older, else one of our own."""
    beside = fasta.with_name(fasta.name + ".fai")
    if beside.is_file() and beside.stat().st_mtime_ns >= fasta.stat().st_mtime_ns:
        _check_whole(source, fasta, beside)
        return fasta, beside
    sha256 = file_sha256(fasta, cache)
    index, tidy = cache / f"{sha256}.fai", cache / f"{sha256}.tidy.fa"
    if not index.exists() and not tidy.exists() and not _check_fasta(source, fasta):
        _tidy(fasta, tidy)
    if tidy.exists():
        fasta, index = tidy, tidy.with_name(f"{tidy.name}.fai")
    if not index.exists():
        _make_index(source, fasta, index)
    modified = fasta.stat().st_mtime_ns
    if index.stat().st_mtime_ns < modified:
        # Its name says that it is of these very bytes, but pyfaidx goes by the time and would warn.
        os.utime(index, ns=(modified, modified))
    return fasta, index


def _make_index(source: Path, fasta: Path, index: Path) -> None:
    import pyfaidx

    index.parent.mkdir(parents=True, exist_ok=True)

    temporary = index.with_name(f".{index.name}.{uuid.uuid4().hex}")
    try:
        pyfaidx.Faidx(str(fasta), indexname=str(temporary), rebuild=True).close()
        os.replace(temporary, index)
    except (pyfaidx.FastaIndexingError, ValueError, OSError, RuntimeError, LookupError) as error:
        # Lines of some lengths pyfaidx does not expect itself.
        raise InputError(
            f"{source.name}: cannot be indexed: {str(error).splitlines()[0]}. "
            "Lines of a sequence must have equal length; rewrite it, with `seqkit seq -w 60` for example."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _check_fasta(source: Path, fasta: Path) -> bool:
    """Whether pyfaidx can read it as it is, as far as lines go; what it does not say in words is said here.

    Raises:
        InputError: it is not FASTA at all, empty, or has a name twice, or one that is no name.
    """
    names: dict[str, int] = {}
    plain, empty = True, False
    with _opened(fasta) as handle:
        for number, line in enumerate(handle, start=1):
            if "\x00" in line:
                raise InputError(f"{source.name} line {number}: binary data; a FASTA file was expected.")
            text = line.removeprefix(_MARK) if number == 1 else line
            if text.startswith(">"):
                name = _name(source, number, text)
                if name in names:
                    raise InputError(
                        f"{source.name} line {number}: sequence {name} is already on line {names[name]}. "
                        "Names must differ; remove one."
                    )
                names[name] = number
                plain &= text is line and _decodes(line)
            elif not text.strip():
                # One is a short last line to pyfaidx, which a sequence may have.
                plain &= not empty
            elif not names and not text.startswith(";"):
                raise InputError(
                    f"{source.name} line {number}: expected `>` and a sequence name; this is not a FASTA file."
                )
            else:
                plain &= not empty
            empty = not text.strip()
        ends = handle.newlines
    if not names:
        raise InputError(f"{source.name}: contains no sequences. Was the download cut short?")
    return plain and ends in (None, "\n", "\r\n")


def _opened(fasta: Path) -> TextIO:
    """Lines, whatever ends them; each byte is a character, so that descriptions may be in any encoding."""
    return fasta.open(encoding="latin-1")


def _name(source: Path, number: int, header: str) -> str:
    try:
        name = (header[1:].split(maxsplit=1) or [""])[0].encode("latin-1").decode()
    except UnicodeDecodeError:
        raise InputError(f"{source.name} line {number}: the sequence's name is not UTF-8. Rename it.") from None
    if not name:
        raise InputError(f"{source.name} line {number}: a sequence without a name. Name it after the `>`.")
    if not name.isprintable():
        raise InputError(f"{source.name} line {number}: {name!r} is not a sequence name. Rename it.")
    return name


def _decodes(line: str) -> bool:
    try:
        line.encode("latin-1").decode()
    except UnicodeDecodeError:
        return False
    return True


def _tidy(fasta: Path, target: Path) -> None:
    """Write names and bases alone, without empty lines, with one end of lines."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with _opened(fasta) as lines, temporary.open("w", encoding="latin-1", newline="\n") as tidy:
            for line in lines:
                text = line.removeprefix(_MARK).strip()
                if text and not text.startswith(";"):
                    tidy.write(f">{text[1:].split(maxsplit=1)[0]}\n" if text.startswith(">") else f"{text}\n")
            tidy.flush()
            os.fsync(tidy.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _check_whole(source: Path, fasta: Path, index: Path) -> None:
    """An index that came with the file knows how long it was: a copy cut short would read as shorter sequences."""
    size = fasta.stat().st_size
    with fasta.open("rb") as handle:
        for name, length, offset, bases, width in _records_of(index):
            end = offset + _bytes_of(length, bases, width)
            if end > size:
                raise InputError(
                    f"{source.name}: is cut short: according to {index.name}, {name} ends at byte {end}, but the file "
                    f"has {size}. Copy it again, or remove {index.name} if it belongs to another file."
                )
            if _name_before(handle, offset) != name:
                raise InputError(
                    f"{source.name}: according to {index.name}, {name} begins at byte {offset}, but no sequence "
                    f"starts there. Remove {index.name}; it will be rebuilt."
                )


def _name_before(handle: BinaryIO, offset: int) -> str | None:
    """The name in the header line that ends right before a byte of a FASTA; None where none does."""
    handle.seek(max(0, offset - LONGEST_HEADER))
    lines = handle.read(min(offset, LONGEST_HEADER)).split(b"\n")
    if len(lines) < 2 or lines[-1]:
        return None
    header = lines[-2]
    return (
        header[1:].split(maxsplit=1)[0].decode(errors="replace") if header[:1] == b">" and header[1:].strip() else None
    )


def _bytes_of(length: int, bases: int, width: int) -> int:
    """How many bytes a sequence takes, without the end of its last line."""
    # A line end follows a full line, but the last base of the file may have none behind it.
    line_ends = (length - 1) // bases if length and bases else 0
    return length + line_ends * (width - bases)


def _chrom_sizes(index: Path) -> dict[str, int]:
    return {name: length for name, length, *_ in _records_of(index)}


def _records_of(index: Path) -> Iterator[tuple[str, int, int, int, int]]:
    """Name, length in bp, offset in bytes, and bp and bytes of a line, for every sequence of a .fai."""
    try:
        lines = index.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{index.name}: not a FASTA index. Remove it; it will be rebuilt.") from error
    for number, line in enumerate(lines, start=1):
        name, *numbers = line.split("\t")
        fits = len(numbers) == 4 and name.isprintable() and all(_NUMBER.fullmatch(text) for text in numbers)
        length, offset, bases, width = map(int, numbers) if fits else (0, 0, 0, 0)
        if not fits or width < bases or (length and not bases):
            raise InputError(f"{index.name} line {number}: not a FASTA index. Remove it; it will be rebuilt.")
        yield name, length, offset, bases, width

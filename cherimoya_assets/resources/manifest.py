"""The manifest of a partition: which files it holds, their hashes, their common version, and how they were made.

What belongs here: the record, its text, and hashing files into one. What does not: where it lies.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cherimoya_assets import steps
from cherimoya_assets.errors import StorageError
from cherimoya_assets.resources.layout import DATA_FOLDER, UNNAMED
from cherimoya_assets.resources.stamp import Stamp

FORMAT = 1

CHUNK = "cherimoya_assets.analysis.attribution_chunks:AttributionChunk"
"""Stored while attributions are made; no step's value."""


def stored_types() -> dict[str, str]:
    """The types that a manifest may name, with their modules: a manifest can never make us import something else."""
    places = (place.partition(":") for place in (CHUNK, *(step.stored for step in steps.STEPS)))
    return {name: module for module, _, name in places}


SHA256 = re.compile(r"[0-9a-f]{64}")


UNSTAMPED = Stamp()


@dataclass(frozen=True)
class StoredFile:
    """One file of a partition: its name below the folder (parts joined by `/`), and what is in it."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What a partition holds now. `version` is the content hash; `stamp` says how it was made."""

    kind: str
    version: str
    folder: str
    files: tuple[StoredFile, ...]
    stamp: Stamp = UNSTAMPED

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def manifest_text(manifest: Manifest) -> str:
    """A manifest as it is stored."""
    return json.dumps(
        {
            "format": FORMAT,
            "kind": manifest.kind,
            "version": manifest.version,
            "folder": manifest.folder,
            "files": [vars(file) for file in manifest.files],
            "stamp": manifest.stamp.recorded,
        },
        indent=1,
    )


def parse_manifest(content: bytes, place: str) -> Manifest:
    """The manifest that was stored; `place` is where, for the error.

    Raises:
        StorageError: it is no manifest of ours, or names something outside of its folder.
    """
    foreign = StorageError(f"{place}: not a manifest of this store. Materialize it again.")
    try:
        raw = json.loads(content)
        if raw["format"] != FORMAT:
            raise StorageError(f"{place}: format {raw['format']}, expected {FORMAT}. Materialize it again.")
        files = tuple(StoredFile(**file) for file in raw["files"])
        manifest = Manifest(raw["kind"], raw["version"], raw["folder"], files, Stamp.read(dict(raw["stamp"])))
        ours = (
            manifest.kind in stored_types()
            and isinstance(manifest.version, str)
            and DATA_FOLDER.fullmatch(manifest.folder) is not None
            and all(_is_inside(file.name) and SHA256.fullmatch(file.sha256) is not None for file in files)
            and all(type(file.size) is int and file.size >= 0 for file in files)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise foreign from error
    if not ours:
        raise foreign
    return manifest


def folder_named(content: bytes | None, place: str) -> str | None:
    """The data folder that a manifest names; None without a manifest or with a damaged one."""
    if content is None:
        return None
    try:
        return parse_manifest(content, place).folder
    except StorageError:
        return None


def read_manifest(path: Path) -> Manifest | None:
    """The manifest in a file, or None where there is no such file.

    Raises:
        StorageError: the file is no manifest of ours.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse_manifest(content, str(path))


def hash_files(folder: Path) -> tuple[StoredFile, ...]:
    """Hash every file below a folder, and see that it is on the disk and not only in memory."""
    files = []
    for path in files_below(folder):
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            os.fsync(handle.fileno())
        files.append(StoredFile(path.relative_to(folder).as_posix(), digest, path.stat().st_size))
    return tuple(files)


def files_below(folder: Path) -> list[Path]:
    """All files below a folder in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def content_version(kind: str, files: tuple[StoredFile, ...]) -> str:
    """The version of a value that consists of these files."""
    digest = hashlib.sha256(kind.encode())
    for file in files:
        digest.update(f"\0{file.name}\0{file.sha256}".encode())
    return digest.hexdigest()


def different_files(folder: Path, manifest: Manifest) -> Iterator[tuple[StoredFile, str]]:
    """The files in a folder that are not those of the manifest, each with the sha256 that it has.

    Raises:
        FileNotFoundError: one is missing.
    """
    for file in manifest.files:
        with (folder / file.name).open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
        if found != file.sha256:
            yield file, found


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = name == path.as_posix() != "." and "\0" not in name and name not in UNNAMED
    return plain and not path.is_absolute() and ".." not in path.parts

"""Where materialized assets live: staged, hashed, committed atomically, verified on load.

What belongs here: the folder layout of the store, the manifest, and the Dagster I/O manager on top. What does not:
file formats; a stored type writes and reads its own plain files (`write(folder)` and `read(folder)`).

A partition's folder holds data folders and one `manifest.json`. Data are written into a staging folder first, every
file is synced and hashed, the folder is renamed to its place, and last the manifest is replaced in one step. A reader
therefore sees the old content or the new one and never a part, whenever the writer dies. The content hash over the
files' hashes is the asset's data version: an identical recomputation has the same version and wakes nothing.

The stamp of a materialization travels with its files: a copy of the manifest lies beside them, and HTML pages carry it
inside. Neither counts for the version, since the stamp names the run.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import quote, unquote

import dagster as dg

from cherimoya_assets.errors import StorageError
from cherimoya_assets.provenance.stamped_page import stamp_page

FORMAT = 1

SIDECAR = "provenance.json"
"""The copy of the manifest that lies beside the data files and is copied with their folder."""

POOLED = "_pooled"
"""Folder name of an unpartitioned asset. No chromosome gets it: `path_part` escapes a leading underscore."""

STORED_TYPES: Mapping[str, str] = {
    "SequenceBlock": "cherimoya_assets.analysis.one_hot",
    "AttributionBlock": "cherimoya_assets.analysis.attributions",
    "SeqletNull": "cherimoya_assets.analysis.seqlets",
    "SeqletTable": "cherimoya_assets.analysis.seqlets",
    "AnnotatedSeqlets": "cherimoya_assets.analysis.annotation",
    "ModiscoPatterns": "cherimoya_assets.analysis.modisco",
    "Backgrounds": "cherimoya_assets.analysis.marginalization",
    "EffectTable": "cherimoya_assets.analysis.marginalization",
    "Report": "cherimoya_assets.reports.folder",
}
"""The types that a manifest may name. A closed list: a manifest can never make us import something else."""


class Stored(Protocol):
    """What can be stored: writes plain files into an empty folder, reads an equal object back."""

    def write(self, folder: Path) -> None: ...

    @classmethod
    def read(cls, folder: Path) -> Self: ...


@dataclass(frozen=True)
class StoredFile:
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
    stamp: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Staged:
    """A value on disk that is not yet visible to anybody."""

    value: Stored
    folder: Path
    manifest: Manifest


class AssetStore:
    """Atomic, verified storage of asset partitions below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, key: tuple[str, ...], partition: str | None) -> Path:
        """The folder of a partition (of the whole asset when `partition` is None)."""
        return self.root.joinpath(*map(path_part, key), POOLED if partition is None else path_part(partition))

    def stage(self, value: Stored, stamp: Mapping[str, Any] | None = None) -> Staged:
        """Write and hash a value without making it visible."""
        kind = type(value).__name__
        if kind not in STORED_TYPES:
            raise TypeError(f"{kind} is not a stored type; STORED_TYPES lists them")
        folder = self.root / ".staging" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            value.write(folder)
            files = tuple(_hash_files(folder))
            version = _content_version(kind, files)
            if stamp and any(_is_page(file.name) for file in files):
                _stamp_pages(folder, stamp)
                files = tuple(_hash_files(folder))
            name = f"{version[:16]}-{folder.name[:8]}"
            manifest = Manifest(kind, version, name, files, dict(stamp or {}))
            _replace_text(folder / SIDECAR, _manifest_json(manifest))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Staged(value, folder, manifest)

    def commit(self, staged: Staged, key: tuple[str, ...], partition: str | None) -> Path:
        """Make a staged value the content of a partition; returns the folder of its files."""
        home = self.folder(key, partition)
        home.mkdir(parents=True, exist_ok=True)
        previous = self._read_manifest(home)
        target = home / staged.manifest.folder
        os.replace(staged.folder, target)
        _sync(home)
        _replace_text(home / "manifest.json", _manifest_json(staged.manifest))
        _replace_link(home / "latest", target.name)
        if previous is not None and previous.folder != target.name:
            shutil.rmtree(home / previous.folder, ignore_errors=True)
        return target

    def discard(self, staged: Staged) -> None:
        """Forget a staged value."""
        shutil.rmtree(staged.folder, ignore_errors=True)

    def remove(self, key: tuple[str, ...], partition: str | None) -> None:
        """Forget what a partition holds: at once for a reader, the manifest goes first. Nothing stored is no error."""
        _remove(self.folder(key, partition))

    def remove_all(self, key: tuple[str, ...]) -> None:
        """Forget everything below a key: its partitions, and those of all keys that begin with it."""
        below = self.root.joinpath(*map(path_part, key))
        for manifest in sorted(below.rglob("manifest.json")):
            _remove(manifest.parent)
        shutil.rmtree(below, ignore_errors=True)

    def manifest(self, key: tuple[str, ...], partition: str | None) -> Manifest | None:
        """The manifest of a partition, or None where nothing was stored yet."""
        return self._read_manifest(self.folder(key, partition))

    def load(self, key: tuple[str, ...], partition: str | None) -> Any:
        """Read a partition back, verifying the hash of every file.

        Raises:
            StorageError: nothing is stored there, or what is there is damaged or not ours.
        """
        home = self.folder(key, partition)
        for attempt in range(3):
            manifest = self._read_manifest(home)
            if manifest is None:
                raise StorageError(f"{home}: nothing is stored here yet. Materialize {'/'.join(key)} first.")
            try:
                return _load(home / manifest.folder, manifest)
            except FileNotFoundError as error:
                # A writer replaced the content between our two reads: look again. If the manifest
                # did not move, the file is really gone.
                if attempt == 2 or self._read_manifest(home) == manifest:
                    raise StorageError(
                        f"{error.filename}: named in {home / 'manifest.json'} but missing. "
                        f"Materialize {'/'.join(key)} again."
                    ) from error
        raise AssertionError("unreachable")

    def partitions(self, key: tuple[str, ...]) -> list[str | None]:
        """The partitions of an asset that are stored, None for the pooled content, in the order of their names."""
        names = sorted(path.parent.name for path in self.root.joinpath(*map(path_part, key)).glob("*/manifest.json"))
        return [None if name == POOLED else unquote(name) for name in names]

    @staticmethod
    def _read_manifest(home: Path) -> Manifest | None:
        return read_manifest(home / "manifest.json")


class StoreIOManager(dg.ConfigurableIOManager):
    """Dagster's door to the `AssetStore`: commits what an asset staged, loads what it asks for.

    An input whose `AssetIn` carries the metadata `{"pooled": True}` arrives as a dict from partition to value, also
    where there is only one partition (Dagster's own managers hand over the bare object then).
    """

    root: str

    @property
    def store(self) -> AssetStore:
        return AssetStore(Path(self.root))

    def handle_output(self, context: dg.OutputContext, obj: Staged) -> None:
        partition = context.asset_partition_key if context.has_asset_partitions else None
        began = time.perf_counter()
        folder = self.store.commit(obj, tuple(context.asset_key.path), partition)
        context.add_output_metadata(
            {
                "path": dg.MetadataValue.path(str(folder.parent / "latest")),
                "dagster/size_bytes": obj.manifest.size,
                "commit_seconds": time.perf_counter() - began,
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        key = tuple(context.asset_key.path)
        if (context.definition_metadata or {}).get("pooled"):
            return {name: self.store.load(key, name) for name in context.asset_partition_keys}
        partition = context.asset_partition_key if context.has_asset_partitions else None
        return self.store.load(key, partition)


def read_manifest(path: Path) -> Manifest | None:
    """The manifest in a file, or None where there is no such file.

    Raises:
        StorageError: the file is no manifest of ours.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        raw = json.loads(text)
        if raw["format"] != FORMAT:
            raise StorageError(f"{path}: format {raw['format']}, expected {FORMAT}. Materialize it again.")
        files = tuple(StoredFile(**file) for file in raw["files"])
        manifest = Manifest(raw["kind"], raw["version"], raw["folder"], files, raw["stamp"])
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path}: not a manifest of this store. Materialize it again.") from error
    parts = [part for file in files for part in Path(file.name).parts]
    if (
        manifest.kind not in STORED_TYPES
        or Path(manifest.folder).name != manifest.folder
        or any(part in ("..", "/") for part in parts)
    ):
        raise StorageError(f"{path}: not a manifest of this store. Materialize it again.")
    return manifest


def path_part(name: str) -> str:
    """One key part or chromosome name as one safe folder name, reversible and never `.`, `..` or `_pooled`."""
    escaped = quote(name, safe="+")
    if escaped[:1] in (".", "_"):
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return escaped or "%00"


def _remove(home: Path) -> None:
    (home / "manifest.json").unlink(missing_ok=True)
    shutil.rmtree(home, ignore_errors=True)


def _load(folder: Path, manifest: Manifest) -> Any:
    for file in manifest.files:
        path = folder / file.name
        if (found := _sha256(path)) != file.sha256:
            raise StorageError(
                f"{path}: sha256 {found[:12]}... is not the recorded {file.sha256[:12]}...: "
                "the file is damaged or foreign. Materialize it again."
            )
    kind = getattr(importlib.import_module(STORED_TYPES[manifest.kind]), manifest.kind)
    return kind.read(folder)


def _hash_files(folder: Path) -> list[StoredFile]:
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            os.fsync(handle.fileno())
        files.append(StoredFile(path.relative_to(folder).as_posix(), digest, path.stat().st_size))
    _sync(folder)
    return files


def _is_page(name: str) -> bool:
    return name.endswith(".html")


def _stamp_pages(folder: Path, stamp: Mapping[str, Any]) -> None:
    for path in folder.rglob("*.html"):
        path.write_bytes(stamp_page(path.read_bytes(), stamp))


def _content_version(kind: str, files: tuple[StoredFile, ...]) -> str:
    digest = hashlib.sha256(kind.encode())
    for file in files:
        digest.update(f"\0{file.name}\0{file.sha256}".encode())
    return digest.hexdigest()


def _manifest_json(manifest: Manifest) -> str:
    return json.dumps(
        {
            "format": FORMAT,
            "kind": manifest.kind,
            "version": manifest.version,
            "folder": manifest.folder,
            "files": [vars(file) for file in manifest.files],
            "stamp": manifest.stamp,
        },
        indent=1,
    )


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)
    _sync(path.parent)


def _replace_link(path: Path, target: str) -> None:
    # `latest` is for people only (a path that stays the same); nothing here reads through it.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    os.symlink(target, temporary)
    os.replace(temporary, path)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

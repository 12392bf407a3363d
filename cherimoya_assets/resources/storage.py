"""Where materialized assets live: staged, hashed, committed atomically, verified on load.

What belongs here: its promises, and the Dagster I/O manager on top. What does not: where it is (`local_disk.py`,
`object_store.py`), what its places are called (`layout.py`), what a manifest says (`manifest.py`), and file formats; a
stored type writes and reads its own plain files (`write(folder)` and `read(folder)`).

A partition's folder holds data folders and one `manifest.json`. Data are written into a staging folder first, every
file is synced and hashed, the folder is brought to its place, and last the manifest is replaced in one step. A reader
therefore sees the old content or the new one and never a part, whenever the writer dies. The content hash over the
files' hashes is the asset's data version: an identical recomputation has the same version and wakes nothing.

What is damaged counts as missing. Whether every file is there and has its size is seen by whoever looks; a load checks
the hashes, and leaves a note where one is wrong, so that from then on everybody sees it, until it is stored again.

The stamp of a materialization travels with its files: a copy of the manifest lies beside them, and HTML pages carry it
inside. Neither counts for the version, since the stamp names the run.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import unquote
from zipfile import BadZipFile

import dagster as dg

from cherimoya_assets.errors import StorageError
from cherimoya_assets.resources.layout import (
    FRONT,
    MANIFEST,
    POOLED,
    SIDECAR,
    partition_of,
    partition_place,
    path_part,
)
from cherimoya_assets.resources.local_disk import LocalDisk
from cherimoya_assets.resources.manifest import (
    UNSTAMPED,
    Manifest,
    content_version,
    different_files,
    hash_files,
    manifest_text,
    parse_manifest,
    read_manifest,
    stored_types,
)
from cherimoya_assets.resources.object_store import ObjectStore
from cherimoya_assets.resources.scratch import Scratch
from cherimoya_assets.resources.stamp import Stamp
from cherimoya_assets.resources.stamped_page import stamp_page
from cherimoya_assets.runs.step_process import end_with_run_worker

if TYPE_CHECKING:
    from upath import UPath

__all__ = [
    "POOLED",
    "SIDECAR",
    "AssetStore",
    "Held",
    "Manifest",
    "Staged",
    "StoreIOManager",
    "Stored",
    "path_part",
    "read_manifest",
]

SAFE_AGE = timedelta(days=1)
"""How long something that nobody names may still be on its way: no upload takes as long."""


LITTLE_ROOM = 1 << 20
"""Bytes. With less than this on the disk, a write that fell short did so for want of room."""


class Stored(Protocol):
    """What can be stored: writes plain files into an empty folder, reads an equal object back.

    `read` keeps nothing open: the folder may be gone when it returns.
    """

    def write(self, folder: Path) -> None: ...

    @classmethod
    def read(cls, folder: Path) -> Self: ...


@dataclass(frozen=True)
class Staged:
    """A value on disk that is not yet visible to anybody. `front` is the page to open first, if it has one."""

    value: Stored
    scratch: Scratch
    manifest: Manifest
    front: str | None

    @property
    def folder(self) -> Path:
        return self.scratch.folder


@dataclass(frozen=True)
class Held:
    """What a partition holds: None where nothing usable is stored, with the reason where it is damaged."""

    manifest: Manifest | None
    damage: str = ""


class AssetStore:
    """Atomic, verified storage of asset partitions below one folder or one prefix of a bucket.

    Args:
        root: a folder, or a URL (`s3://bucket/prefix`), as text or as a path.
    """

    def __init__(self, root: Path | UPath | str) -> None:
        self._backend = _backend(root)

    @property
    def root(self) -> Path | UPath:
        """Where the store is: a `Path` on a disk, else a `UPath`. `AssetStore(root / ".name")` is a store inside."""
        return self._backend.root

    def folder(self, key: tuple[str, ...], partition: str | None) -> Path | UPath:
        """The folder of a partition (of the whole asset when `partition` is None)."""
        return self.root.joinpath(*partition_place(key, partition).split("/"))

    def for_people(self, key: tuple[str, ...], partition: str | None, name: str) -> str:
        """Where a person opens a file of a partition: a path or URL that stays the same when the content changes."""
        return self._backend.for_people(partition_place(key, partition), name)

    def path_of(self, path: Path, key: tuple[str, ...], partition: str | None) -> str:
        """How a file of a partition names another file of this machine."""
        return self._backend.path_of(path, partition_place(key, partition))

    def stage(self, value: Stored, stamp: Stamp = UNSTAMPED) -> Staged:
        """Write and hash a value without making it visible.

        Raises:
            StorageError: the disk is full or read-only.
        """
        kind = type(value).__name__
        if kind not in stored_types():
            raise TypeError(f"{kind} is not a stored type; no step stores it")
        with _disk_in_a_sentence(self.root):
            return self._stage(value, kind, stamp)

    def commit(self, staged: Staged, key: tuple[str, ...], partition: str | None) -> Path | UPath:
        """Make a staged value the content of a partition; returns the folder of its files.

        Raises:
            StorageError: the disk is full or read-only. What was stored before stays.
        """
        place = partition_place(key, partition)
        try:
            with _disk_in_a_sentence(self.root):
                return self._backend.publish(place, staged.scratch, staged.manifest, staged.front)
        except BaseException:
            self.discard(staged)
            raise

    def discard(self, staged: Staged) -> None:
        """Forget a staged value."""
        staged.scratch.remove()

    def remove(self, key: tuple[str, ...], partition: str | None) -> None:
        """Forget what a partition holds: at once for a reader, the manifest goes first. Nothing stored is no error."""
        self._backend.remove(partition_place(key, partition))

    def remove_all(self, key: tuple[str, ...]) -> None:
        """Forget everything below a key: its partitions, and those of all keys that begin with it."""
        below = "/".join(map(path_part, key))
        for place in self._backend.partitions(below):
            self._backend.remove(place)
        self._backend.tidy(below)

    def look(self, key: tuple[str, ...], partition: str | None) -> Held:
        """What a partition holds, without reading its data: every file must be there and have its size.

        Raises:
            StorageError: the store cannot be reached.
        """
        place = partition_place(key, partition)
        content = self._backend.manifest_bytes(place)
        while content is not None:
            try:
                manifest = parse_manifest(content, self._backend.where(place, MANIFEST))
            except StorageError as error:
                return Held(None, str(error))
            damage = self._known_damage(place, manifest)
            if not damage:
                return Held(manifest)
            before, content = content, self._backend.manifest_bytes(place)
            if content == before:
                return Held(None, damage)
            # A writer replaced the content between our looks.
        return Held(None)

    def manifest(self, key: tuple[str, ...], partition: str | None) -> Manifest | None:
        """The manifest of a partition, or None where nothing was stored yet or what was stored is damaged."""
        return self.look(key, partition).manifest

    def load(self, key: tuple[str, ...], partition: str | None) -> Any:
        """Read a partition back, verifying the hash of every file.

        Raises:
            StorageError: nothing is stored there, or what is there is damaged or not ours. From then on it counts as
                missing, until it is stored again.
        """
        place = partition_place(key, partition)
        content = self._backend.manifest_bytes(place)
        while content is not None:
            manifest = parse_manifest(content, self._backend.where(place, MANIFEST))
            try:
                with self._backend.opened(place, manifest) as folder:
                    return _read(folder, manifest, self._backend.where(place, manifest.folder))
            except _DamagedError as error:
                with suppress(OSError, StorageError):
                    # Who may not write only reads it.
                    self._backend.remember_damage(place, manifest, json.dumps({"damage": str(error)}))
                raise StorageError(str(error)) from error.__cause__
            except FileNotFoundError as error:
                before, content = content, self._backend.manifest_bytes(place)
                if content == before:
                    raise StorageError(self._known_damage(place, manifest) or str(error)) from error
                # A writer replaced the content while we read it: look again.
        raise StorageError(
            f"{self._backend.where(place)}: nothing is stored here yet. Materialize {'/'.join(key)} first."
        )

    def written(self, key: tuple[str, ...], partition: str | None) -> datetime | None:
        """When a partition was stored last, by the clock of the store; None where nothing is stored."""
        return self._backend.written(partition_place(key, partition))

    def contents(self) -> Iterator[tuple[tuple[str, ...], str | None]]:
        """Key and partition of everything that is stored, in the order of their places."""
        for place in self._backend.partitions(""):
            *parts, name = place.split("/")
            yield tuple(map(unquote, parts)), partition_of(name)

    def verify_can_rename(self, was: str, now: str) -> None:
        """See whether everything that is stored under one first part of a key can be moved to another.

        Raises:
            StorageError: there is nothing to move, or the other holds something that is not the same.
        """
        old, new = path_part(was), path_part(now)
        moving = {place.removeprefix(old): place for place in self._backend.partitions(old)}
        there = {place.removeprefix(new): place for place in self._backend.partitions(new)}
        if not moving:
            has = f", and {now} has values already" if there else ""
            raise StorageError(
                f"{self._backend.where(old)}: nothing is stored here{has}. Give the name that {now} had before."
            )
        # Where a move was interrupted that copies, both hold the same.
        both = moving.keys() & there.keys()
        same = all(
            self._backend.manifest_bytes(moving[one]) == self._backend.manifest_bytes(there[one]) for one in both
        )
        if there and not (same and both in (moving.keys(), there.keys())):
            raise StorageError(
                f"{self._backend.where(new)}: {now} already holds values of its own, which would be lost. Remove this "
                f"folder if you do not need them, then take over those of {was}."
            )

    def rename(self, was: str, now: str) -> None:
        """Move everything that is stored under one first part of a key to another, for which `verify_can_rename` holds.

        On a disk in one step. Objects are copied, manifests last, and then removed; what is interrupted is finished by
        the same call.

        Raises:
            StorageError: something is in the way.
        """
        self._backend.rename(path_part(was), path_part(now))

    def partitions(self, key: tuple[str, ...]) -> list[str | None]:
        """The partitions of an asset that are stored, None for the pooled content, in the order of their names."""
        below = "/".join(map(path_part, key))
        parts = (place.removeprefix(f"{below}/") for place in self._backend.partitions(below))
        return [partition_of(part) for part in parts if "/" not in part]

    def manifests(self) -> Iterator[tuple[str, Manifest]]:
        """Every manifest of the store that can be read, with its path or URL."""
        for place in self._backend.partitions(""):
            where, content = self._backend.where(place, MANIFEST), self._backend.manifest_bytes(place)
            if content is not None:
                with suppress(StorageError):
                    yield where, parse_manifest(content, where)

    def verify_writable(self) -> None:
        """See whether the store can be reached and written.

        Raises:
            StorageError: it cannot.
        """
        self._backend.verify_writable()

    def sweep(self, older_than: timedelta = SAFE_AGE) -> list[str]:
        """Remove what writers left behind that died, also in stores inside of this one; returns what was removed.

        That is staging folders whose process has died, and data that no manifest names for so long already. Data of
        a partition whose manifest cannot be read stay, as evidence.
        """
        return self._backend.sweep(older_than)

    def _stage(self, value: Stored, kind: str, stamp: Stamp) -> Staged:
        scratch = self._backend.scratch()
        folder = scratch.folder
        try:
            value.write(folder)
            files = hash_files(folder)
            version = content_version(kind, files)
            if stamp.recorded and any(_is_page(file.name) for file in files):
                _stamp_pages(folder, stamp)
                files = hash_files(folder)
            manifest = Manifest(kind, version, f"{version[:16]}-{uuid.uuid4().hex}", files, stamp)
            _write_synced(folder / SIDECAR, manifest_text(manifest))
            front = (folder / FRONT).read_text(encoding="utf-8").strip() if (folder / FRONT).is_file() else None
        except BaseException:
            scratch.remove()
            raise
        return Staged(value, scratch, manifest, front)

    def _known_damage(self, place: str, manifest: Manifest) -> str:
        """What can be seen of damage without reading data; empty where there is none."""
        sizes, note = self._backend.inspect(place, manifest)
        record = self._backend.where(place, MANIFEST)
        for file in manifest.files:
            where = self._backend.where(place, manifest.folder, file.name)
            if file.name not in sizes:
                return f"{where}: named in {record} but missing. Materialize it again."
            if sizes[file.name] != file.size:
                return (
                    f"{where}: has {sizes[file.name]} bytes, not the recorded {file.size}: the file is damaged or "
                    "was replaced. Materialize it again."
                )
        return _noted(note)


class StoreIOManager(dg.ConfigurableIOManager):
    """Dagster's door to the `AssetStore`: commits what an asset staged, loads what it asks for.

    An input whose `AssetIn` carries the metadata `{"pooled": True}` arrives as a dict from partition to value, also
    where there is only one partition (Dagster's own managers hand over the bare object then).
    """

    root: str

    @property
    def store(self) -> AssetStore:
        return AssetStore(self.root)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        # Here, because every step that makes something has this resource.
        end_with_run_worker(context)

    def handle_output(self, context: dg.OutputContext, obj: Staged) -> None:
        partition = context.asset_partition_key if context.has_asset_partitions else None
        began = time.perf_counter()
        folder = self.store.commit(obj, tuple(context.asset_key.path), partition)
        context.add_output_metadata(
            {
                "path": dg.MetadataValue.path(str(folder.parent / "latest" if isinstance(folder, Path) else folder)),
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


class _DamagedError(StorageError):
    """What is stored is not what was stored, whoever reads it."""


@contextmanager
def _disk_in_a_sentence(root: Path | UPath) -> Iterator[None]:
    """Say in a sentence that a disk is full or read-only: the store's, or that of temporary files for a bucket."""
    try:
        yield
    except OSError as error:
        place = root if isinstance(root, Path) else Path(tempfile.gettempdir())
        # NumPy and HDF5 raise an OSError of their own when a write falls short; it has no number then.
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and _has_no_room(place))
        if not full and error.errno != errno.EROFS:
            raise
        state, remedy = ("full", "Free some space") if full else ("read-only", "Have it repaired or remounted")
        raise StorageError(
            f"{place}: the disk is {state}; nothing was stored, and what was there before is as it was. {remedy} and "
            "run it again."
        ) from error


def _has_no_room(place: Path) -> bool:
    return place.exists() and shutil.disk_usage(place).free < LITTLE_ROOM


def _backend(root: Path | UPath | str) -> LocalDisk | ObjectStore:
    if isinstance(root, Path):
        return LocalDisk(Path(root))
    if isinstance(root, str) and "://" not in root:
        return LocalDisk(Path(root))
    from upath import UPath

    place = UPath(root, use_listings_cache=False)
    return LocalDisk(Path(place.path)) if place.protocol in ("", "file", "local") else ObjectStore(place)


def _read(folder: Path, manifest: Manifest, where: str) -> Any:
    """Read a value from a folder whose files are verified, and which a writer may remove at any time.

    Raises:
        _DamagedError: a file is not what was written.
        FileNotFoundError: a file is missing, or went while it was read.
    """
    for file, found in different_files(folder, manifest):
        raise _DamagedError(
            f"{where}/{file.name}: sha256 {found[:12]}... is not the recorded {file.sha256[:12]}...: "
            "the file is damaged or was replaced. Materialize it again."
        )
    kind = getattr(importlib.import_module(stored_types()[manifest.kind]), manifest.kind)
    try:
        value = kind.read(folder)
    except (ValueError, KeyError, TypeError, BadZipFile, EOFError) as error:
        _verify_all_there(folder, manifest)
        raise _DamagedError(
            f"{where}: cannot be read as {manifest.kind} ({error}): these are not its files. Materialize it again."
        ) from error
    # What is missing now may have been missing in the middle, and then a reader that lists its folder saw a part.
    _verify_all_there(folder, manifest)
    return value


def _verify_all_there(folder: Path, manifest: Manifest) -> None:
    for file in manifest.files:
        if not (folder / file.name).is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / file.name))


def _noted(note: bytes | None) -> str:
    """What the note of a failed load says; empty where there is none or it cannot be read."""
    try:
        return "" if note is None else str(json.loads(note)["damage"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _is_page(name: str) -> bool:
    return name.endswith(".html")


def _stamp_pages(folder: Path, stamp: Stamp) -> None:
    for path in folder.rglob("*.html"):
        path.write_bytes(stamp_page(path.read_bytes(), stamp.recorded))


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())

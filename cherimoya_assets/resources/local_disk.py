"""The store on a disk of this machine (or one that is mounted there): a commit is a rename.

What belongs here: what is done to files. What does not: what they mean (`storage.py`, `manifest.py`).

Data files never change: a commit brings a folder with a name that no other commit has, synced and complete, and then
replaces the manifest in one step. So no manifest ever names a part, whoever else commits, removes or dies meanwhile. A
lock on the partition's folder only keeps two writers from leaving a folder behind that no manifest names.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cherimoya_assets.errors import StorageError
from cherimoya_assets.resources.layout import DAMAGE, DATA_FOLDER, LATEST, MANIFEST, STAGING, UNNAMED
from cherimoya_assets.resources.manifest import Manifest, files_below, folder_named, manifest_text
from cherimoya_assets.resources.scratch import Scratch, is_older, locked, sweep_scratch


class LocalDisk:
    """A folder that holds partitions, each in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def scratch(self) -> Scratch:
        """Where to stage a value: on the same disk, since a commit is a rename."""
        return Scratch(self.root / STAGING)

    def where(self, *parts: str) -> str:
        """The path of something below the root, for people."""
        return str(self.root.joinpath(*parts))

    def for_people(self, place: str, name: str) -> str:
        """The path of a file of a partition that stays the same when the content changes."""
        return self.where(place, LATEST, name)

    def path_of(self, path: Path, seen_from: str) -> str:
        """How the files of a partition name a file of this machine: relative, so that all can be moved together."""
        return os.path.relpath(path, self.where(seen_from, LATEST))

    def manifest_bytes(self, place: str) -> bytes | None:
        """What the manifest of a partition holds, None without one."""
        try:
            return (self.root / place / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def written(self, place: str) -> datetime | None:
        """When the manifest of a partition was written, by the clock of the disk; None without one."""
        try:
            seconds = (self.root / place / MANIFEST).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None
        return datetime.fromtimestamp(seconds, UTC)

    def inspect(self, place: str, manifest: Manifest) -> tuple[dict[str, int], bytes | None]:
        """The bytes of those files of a manifest that are there, and the note of a failed load, if there is one."""
        folder, sizes = self.root / place / manifest.folder, {}
        for file in manifest.files:
            with suppress(FileNotFoundError, NotADirectoryError):
                sizes[file.name] = (folder / file.name).stat().st_size
        try:
            return sizes, (folder / DAMAGE).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return sizes, None

    def remember_damage(self, place: str, manifest: Manifest, text: str) -> None:
        """Leave a note beside damaged files."""
        _replace_text(self.root / place / manifest.folder / DAMAGE, text)

    @contextmanager
    def opened(self, place: str, manifest: Manifest) -> Iterator[Path]:
        """A folder with the files of a manifest and no others; they are not verified yet."""
        folder = self.root / place / manifest.folder
        named = {file.name for file in manifest.files}
        if all(path.relative_to(folder).as_posix() in named | UNNAMED for path in files_below(folder)):
            yield folder
            return
        # Somebody put a file in between (a desktop does). No reader is to take it for one of ours.
        with Scratch(None) as scratch:
            for name in named:
                copy = scratch.folder / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, copy)
            yield scratch.folder

    def publish(self, place: str, staged: Scratch, manifest: Manifest, front: str | None) -> Path:
        """Make a staged folder the content of a partition; returns where its files are."""
        for folder in {staged.folder, *(path.parent for path in files_below(staged.folder))}:
            _sync(folder)
        with self._writing(place) as home:
            previous = self._named(place)
            target = home / manifest.folder
            os.replace(staged.folder, target)
            try:
                _sync(home)
                _replace_text(home / MANIFEST, manifest_text(manifest))
            except BaseException:
                if self._named(place) != manifest.folder:
                    shutil.rmtree(target, ignore_errors=True)
                raise
            finally:
                staged.release()
            _replace_link(home / LATEST, target.name)
            if previous is not None:
                shutil.rmtree(home / previous, ignore_errors=True)
        return target

    def remove(self, place: str) -> None:
        """Remove a partition: its manifest first, then its files."""
        home = self.root / place
        with locked(home) as ours:
            if not ours:
                return
            named = self._named(place)
            for name in (MANIFEST, LATEST):
                (home / name).unlink(missing_ok=True)
            if named is not None:
                shutil.rmtree(home / named, ignore_errors=True)
            with suppress(OSError):
                home.rmdir()

    def partitions(self, below: str) -> list[str]:
        """The places of all partitions with a manifest at a place and below it, in the order of their names."""
        found = []
        for folder, names, files in os.walk(self.root / below):
            # A store inside of this one has a name with a dot.
            names[:] = sorted(name for name in names if name[0] != "." and not DATA_FOLDER.fullmatch(name))
            if MANIFEST in files:
                found.append(Path(folder).relative_to(self.root).as_posix())
        return found

    def rename(self, was: str, now: str) -> None:
        """Move everything at a place to another, where nothing is.

        Raises:
            StorageError: something is there.
        """
        try:
            os.rename(self.root / was, self.root / now)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise StorageError(f"{self.where(now)}: is in the way. Remove it, then rename again.") from error
        _sync(self.root)

    def tidy(self, below: str) -> None:
        """Remove folders that have become empty at a place and below it."""
        for folder, _, _ in os.walk(self.root / below, topdown=False):
            with locked(Path(folder)) as ours, suppress(OSError):
                if ours:
                    os.rmdir(folder)

    def verify_writable(self) -> None:
        """See whether the store can be written, without making anything.

        Raises:
            StorageError: it cannot.
        """
        there = next(path for path in (self.root, *self.root.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            reason = "may not be written by you" if there.is_dir() else "is no folder"
            raise StorageError(f"{self.root}: cannot be written, {there} {reason}. Name another place for the store.")

    def sweep(self, older_than: timedelta) -> list[str]:
        """Remove what dead writers left behind; returns the paths of what was removed."""
        removed: list[Path] = []
        for folder, names, _ in os.walk(self.root):
            here = Path(folder)
            removed += sweep_scratch(here / STAGING, older_than)
            if any(map(DATA_FOLDER.fullmatch, names)):
                removed += self._sweep_partition(here, older_than)
            names[:] = [name for name in names if name != STAGING and not DATA_FOLDER.fullmatch(name)]
        return [str(path) for path in [*removed, *sweep_scratch(None, older_than)]]

    def _sweep_partition(self, home: Path, older_than: timedelta) -> list[Path]:
        """Remove the data folders of a partition that its manifest does not name, unless it cannot be read."""
        place, removed = home.relative_to(self.root).as_posix(), []
        with locked(home, wait=False) as ours:
            named = self._named(place)
            if not ours or (named is None and (home / MANIFEST).exists()):
                return []
            for path in sorted(home.iterdir()):
                left_over = DATA_FOLDER.fullmatch(path.name) and path.name != named
                if (left_over or _is_temporary(path)) and is_older(path, older_than):
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink(missing_ok=True)
                    removed.append(path)
        return removed

    def _named(self, place: str) -> str | None:
        return folder_named(self.manifest_bytes(place), self.where(place, MANIFEST))

    @contextmanager
    def _writing(self, place: str) -> Iterator[Path]:
        """The folder of a partition, made and locked."""
        home = self.root / place
        while True:
            # Whoever removes the partition also removes its empty folder, maybe between our steps.
            with suppress(FileNotFoundError):
                home.mkdir(parents=True, exist_ok=True)
            with locked(home) as ours:
                if ours:
                    yield home
                    return


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _replace_link(path: Path, target: str) -> None:
    # For people only (a path that stays the same); nothing here reads through it.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    os.symlink(target, temporary)
    os.replace(temporary, path)


def _is_temporary(path: Path) -> bool:
    return path.name.startswith((f".{MANIFEST}.", f".{LATEST}."))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

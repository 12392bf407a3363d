"""Putting files into a folder: whole or not at all, and never over something that is not ours.

What belongs here: staging, the record of what was written, renaming into place. What does not: what is in the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cherimoya_assets.errors import ExperimentError, StorageError


def place(
    folder: Path,
    writers: Mapping[str, Callable[[Path], None]],
    record: str,
    describe: Callable[[Mapping[str, str]], Mapping[str, Any]],
) -> list[Path]:
    """Write files (or folders) under their names into `folder`, replacing those that an earlier call wrote.

    Args:
        folder: made when it is not there.
        writers: what writes the file (or makes the folder) of each name at the path that it is given.
        record: name of the JSON file that names what was written; what it names may be replaced the next time.
        describe: what else the record says, given the sha256 of each file, those inside folders by relative path.

    Raises:
        ExperimentError: something is in the way that the record does not name. Nothing was written.
        StorageError: the folder cannot be written.
    """
    ours = {record, *_names_in(folder / record)} if (folder / record).is_file() else set()
    in_the_way = [name for name in (record, *writers) if os.path.lexists(folder / name) and name not in ours]
    if in_the_way:
        raise ExperimentError(
            f"{folder}: {', '.join(in_the_way)} already exists and was not written by an export. "
            "Move it or name another folder with --to."
        )
    with _staging(folder) as staging:
        for name, write in writers.items():
            write(staging / name)
        written = sorted(path for path in staging.rglob("*") if path.is_file())
        hashes = {path.relative_to(staging).as_posix(): _sha256(path) for path in written}
        (staging / record).write_text(json.dumps({"files": sorted(writers), **describe(hashes)}, indent=1) + "\n")
        # The record comes first: what a crash leaves behind is known as ours.
        for name in (record, *writers):
            _replace(staging / name, folder / name, staging)
    return [folder / name for name in (record, *writers)]


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """An empty folder on the same file system, gone afterwards."""
    staging = folder / f".export-{uuid.uuid4().hex}"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror}). Name another folder.") from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(new: Path, place: Path, staging: Path) -> None:
    if place.is_dir():
        # A folder cannot be renamed over another one, nor over a link to one; the old one, or the link, leaves first.
        os.replace(place, staging / f"replaced-{uuid.uuid4().hex}")
    os.replace(new, place)


def _names_in(record: Path) -> Sequence[str]:
    """What an earlier export wrote, by its record; nothing where there is none."""
    try:
        names = json.loads(record.read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else ()


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

"""Where a file comes from: its stamp, found beside it, in it, or in a home that holds the same bytes.

What belongs here: finding a stamp and comparing hashes. What does not: showing it (`cli/lineage.py`).

A stored file has `provenance.json` beside it, a copy of its manifest; an exported one has `NAME.export.json`; an HTML
page carries its stamp inside. A file that was separated from all of these is looked for in a home by its sha256.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cherimoya_assets.errors import InputError, StorageError
from cherimoya_assets.home import Home
from cherimoya_assets.resources.layout import MANIFEST, SIDECAR
from cherimoya_assets.resources.manifest import Manifest, read_manifest
from cherimoya_assets.resources.stamp import Stamp
from cherimoya_assets.resources.stamped_page import read_page_stamp
from cherimoya_assets.resources.storage import AssetStore

EXPORT_RECORD = ".export.json"

DEPTH = 8
"""Folders above a file that are looked at; reports are folders in folders."""


@dataclass(frozen=True)
class Origin:
    """A materialization that a file is made of. `stamp` is empty where only the version was recorded."""

    asset: str
    partition: str | None
    version: str
    stamp: Stamp


@dataclass(frozen=True)
class Trace:
    """Where a file (or a folder of files) comes from.

    Attributes:
        path: what was asked about.
        sha256: of the file now; None for a folder.
        changed: names of the files that are no longer what was written; for a missing one too.
        found_in: the file that has the stamp; a URL where it is no file of this machine.
        origins: the materializations that it is made of.
        command: what makes it again; empty where that is not recorded.
    """

    path: Path
    sha256: str | None
    changed: tuple[str, ...]
    found_in: Path | str
    origins: tuple[Origin, ...]
    command: str


@dataclass(frozen=True)
class _Sidecar:
    """What a sidecar says: the hashes of files by their names below `folder`, and what each is made of."""

    place: Path
    folder: Path
    hashes: Mapping[str, str]
    origins: Mapping[str, tuple[Origin, ...]]
    command: str


def trace(path: Path, home: Home | None = None) -> Trace:
    """Find out where a file or folder comes from.

    Args:
        path: a file that the platform wrote, or a folder of such files.
        home: where to look for the same bytes when nothing beside the file or in it tells.

    Raises:
        InputError: there is no such file.
        StorageError: nothing says where it comes from, or what says so is damaged.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    real = path.resolve()
    if real.name in (SIDECAR, MANIFEST) or real.name.endswith(EXPORT_RECORD):
        # Asked about a sidecar: about all that it describes.
        real = real.parent
    found = _trace_folder(path, real) if real.is_dir() else _trace_file(path, real)
    if found is None and home is not None and real.is_file():
        found = _trace_in_home(path, _sha256(real), home)
    if found is None:
        raise StorageError(_nothing_found(path, real, home))
    return found


def _trace_file(path: Path, real: Path) -> Trace | None:
    sha256 = _sha256(real)
    sidecars = [sidecar for folder in _folders(real.parent) for sidecar in _sidecars(folder)]
    for sidecar in sidecars:
        name = real.relative_to(sidecar.folder).as_posix()
        if name in sidecar.hashes:
            changed = () if sidecar.hashes[name] == sha256 else (name,)
            return Trace(path, sha256, changed, sidecar.place, sidecar.origins[name], sidecar.command)
    if real.suffix == ".html" and (page := read_page_stamp(real.read_bytes())) is not None:
        origin = _origin(page.stamp, "")
        changed = () if page.unchanged else (real.name,)
        return Trace(path, sha256, changed, path, (origin,), _command(page.stamp))
    for sidecar in sidecars:
        # Under another name, beside the sidecar that it was copied with.
        for name, recorded in sidecar.hashes.items():
            if recorded == sha256:
                return Trace(path, sha256, (), sidecar.place, sidecar.origins[name], sidecar.command)
    return None


def _trace_folder(path: Path, real: Path) -> Trace | None:
    for folder in _folders(real):
        for sidecar in _sidecars(folder):
            inside = "" if real == folder else f"{real.relative_to(folder).as_posix()}/"
            hashes = {name: sha256 for name, sha256 in sidecar.hashes.items() if name.startswith(inside)}
            if not hashes:
                continue
            changed = [
                name
                for name, sha256 in hashes.items()
                if not (sidecar.folder / name).is_file() or _sha256(sidecar.folder / name) != sha256
            ]
            origins = {
                (origin.asset, origin.partition, origin.version): origin
                for name in hashes
                for origin in sidecar.origins[name]
            }
            return Trace(path, None, tuple(changed), sidecar.place, tuple(origins.values()), sidecar.command)
    return None


def _trace_in_home(path: Path, sha256: str, home: Home) -> Trace | None:
    for place, manifest in AssetStore(home.store).manifests():
        if any(file.sha256 == sha256 for file in manifest.files):
            origin = _origin(manifest.stamp, manifest.version)
            return Trace(path, sha256, (), place, (origin,), _command(manifest.stamp))
    return None


def _folders(folder: Path) -> list[Path]:
    return [folder, *folder.parents][:DEPTH]


def _sidecars(folder: Path) -> Iterator[_Sidecar]:
    """The sidecars that describe files in this folder, and below it."""
    for place in (folder / SIDECAR, folder.parent / MANIFEST, folder / MANIFEST):
        manifest = read_manifest(place) if place.is_file() else None
        if manifest is None:
            continue
        if place.name == SIDECAR or place.parent / manifest.folder == folder:
            yield _stored(place, folder, manifest)
        elif place.parent == folder:
            yield _stored(place, folder / manifest.folder, manifest)
    for place in sorted(folder.glob(f"*{EXPORT_RECORD}")):
        if place.is_file():
            yield _exported(place)


def _stored(place: Path, folder: Path, manifest: Manifest) -> _Sidecar:
    origin = _origin(manifest.stamp, manifest.version)
    hashes = {file.name: file.sha256 for file in manifest.files}
    return _Sidecar(place, folder, hashes, dict.fromkeys(hashes, (origin,)), _command(manifest.stamp))


def _exported(place: Path) -> _Sidecar:
    try:
        record = json.loads(place.read_text())
        hashes = {str(name): str(sha256) for name, sha256 in record["sha256"].items()}
        stamps = record.get("stamps", {})
        origins: dict[str, tuple[Origin, ...]] = {}
        for name in hashes:
            item = name if name in record["assets"] else name.partition("/")[0]
            origins[name] = tuple(
                Origin(asset, None if part == "all" else part, str(version), Stamp.read(recorded.get(part)))
                for asset, parts in record["assets"].get(item, {}).items()
                for recorded in (stamps.get(asset, {}),)
                for part, version in parts.items()
            )
        words = ["export", record["experiment_file"], "--home", record["home"], "--to", str(place.parent)]
        command = shlex.join(["cherimoya-assets", *words, "--head", record["head"]])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"{place}: not an export record. Export again.") from error
    return _Sidecar(place, place.parent, hashes, origins, command)


def _origin(stamp: Stamp, version: str) -> Origin:
    asset = stamp.asset or f"{stamp.experiment or '?'}/{stamp.step or '?'}"
    return Origin(asset, stamp.partition, version, stamp)


def _command(stamp: Stamp) -> str:
    """The command that makes a file again, if it is one of ours and nothing but that.

    A reader is invited to paste it into a shell, so what a stranger's sidecar calls by that name is not shown.
    """
    command = stamp.command
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    ours = words[:1] == ["cherimoya-assets"] and words[1:2] in (["run"], ["export"]) and command.isprintable()
    return command if ours and shlex.join(words) == command else ""


def _nothing_found(path: Path, real: Path, home: Home | None) -> str:
    searched = ""
    if home is not None and real.is_file():
        searched = f", and nothing in {home.root} has its sha256 {_sha256(real)[:12]}..."
    return (
        f"{path}: neither the file nor anything beside it says where it comes from{searched}. What is missing is its "
        f"sidecar, {SIDECAR} (stored files) or NAME{EXPORT_RECORD} (exported ones): copy it along with the file"
        + ("." if home is not None else ", or name the home that made it with --home.")
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

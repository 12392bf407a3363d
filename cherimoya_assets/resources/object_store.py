"""The store in an object store (S3 and what speaks like it): a commit is one PUT of the manifest.

What belongs here: what is done to objects, through fsspec. What does not: what they mean (`storage.py`, `manifest.py`).

Object stores have no rename, but one PUT shows the old object or the new one. So the objects of a commit are uploaded
under a prefix that no other commit has, counted, and then the manifest is put. Nothing is written through fsspec's
file objects, whose end commits what was written so far, also when an error ends it: only complete files and bytes are
put. Nothing is read through its caches of listings: what another process wrote is seen at once.

A PUT may be repeated by the client when its answer was lost, so a manifest can come back after another writer has
replaced it. Hence the objects that were replaced stay for a while (`GRACE`): a manifest that comes back still names
objects that are there. The next commit or a sweep removes them.
"""

from __future__ import annotations

import html
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cherimoya_assets.errors import StorageError
from cherimoya_assets.resources.layout import DAMAGE, DATA_FOLDER, LATEST, MANIFEST, STAGING
from cherimoya_assets.resources.manifest import (
    Manifest,
    different_files,
    files_below,
    folder_named,
    manifest_text,
)
from cherimoya_assets.resources.scratch import Scratch, sweep_scratch

if TYPE_CHECKING:
    from upath import UPath

S3 = ("s3", "s3a")

GRACE = timedelta(hours=1)
"""How long objects stay that a commit has replaced: longer than any client repeats a request."""

AT_ONCE = 8
"""Transfers at a time; a file is a request or a few, and most of a request is waiting."""

OUTAGES = ("botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "azure", "adlfs")
"""Where the errors of clients come from that are no OSError: no credentials, no connection, no such host."""


class ObjectStore:
    """A prefix of a bucket that holds partitions, each below a prefix of its own."""

    def __init__(self, root: UPath) -> None:
        self.root = root
        self._path = root.path.rstrip("/")

    @property
    def fs(self) -> Any:
        """The file system; fsspec keeps one for each process and thread."""
        import fsspec  # type: ignore[import-untyped]

        protocol = self.root.protocol
        try:
            return fsspec.filesystem(protocol, **self.root.storage_options)
        except ImportError as error:
            how = "pip install cherimoya_assets[s3]" if protocol in S3 else str(error)
            raise StorageError(f"{self.root}: {protocol}:// needs a package that is not installed: {how}") from error
        except ValueError as error:
            raise StorageError(f"{self.root}: {error}. Name a folder or s3://bucket/prefix.") from error

    def scratch(self) -> Scratch:
        """Where to stage a value: among the temporary files of this machine (`TMPDIR` says where)."""
        return Scratch(None)

    def where(self, *parts: str) -> str:
        """The URL of something below the root, for people."""
        return "/".join([str(self.root).rstrip("/"), *parts])

    def for_people(self, place: str, name: str) -> str:
        """The URL of a page that leads to the file of a partition, and stays the same when the content changes."""
        return self.where(place, LATEST, _pointer(name))

    def path_of(self, path: Path, seen_from: str) -> str:
        """How the files of a partition name a file of this machine: there is no way from there but the whole path."""
        return str(path)

    def manifest_bytes(self, place: str) -> bytes | None:
        """What the manifest of a partition holds, None without one."""
        return self._get(self._at(place, MANIFEST))

    def written(self, place: str) -> datetime | None:
        """When the manifest of a partition was written, by the clock of the server; None without one."""
        at, found = self._at(place, MANIFEST), self._find(self._at(place))
        return _written({at: found[at]}) if at in found else None

    def inspect(self, place: str, manifest: Manifest) -> tuple[dict[str, int], bytes | None]:
        """The bytes of those files of a manifest that are there, and the note of a failed load, if there is one."""
        folder = self._at(place, manifest.folder)
        found = self._find(folder)
        sizes = {file.name: found[at]["size"] for file in manifest.files if (at := f"{folder}/{file.name}") in found}
        return sizes, self._get(at) if (at := f"{folder}/{DAMAGE}") in found else None

    def remember_damage(self, place: str, manifest: Manifest, text: str) -> None:
        """Leave a note beside damaged files."""
        with self._reached(writing=True):
            self.fs.pipe_file(self._at(place, manifest.folder, DAMAGE), text.encode())

    @contextmanager
    def opened(self, place: str, manifest: Manifest) -> Iterator[Path]:
        """A folder with the files of a manifest and no others, fetched, gone again afterwards.

        What does not have its hash is fetched once more, so that only an object can be damaged, and not a transfer.
        """
        names = [file.name for file in manifest.files]
        with Scratch(None) as scratch:
            self._fetch(place, manifest.folder, names, scratch.folder)
            if again := [file.name for file, _ in different_files(scratch.folder, manifest)]:
                self._fetch(place, manifest.folder, again, scratch.folder)
            yield scratch.folder

    def publish(self, place: str, staged: Scratch, manifest: Manifest, front: str | None) -> UPath:
        """Make a staged folder the content of a partition; returns where its files are."""
        paths, folder = files_below(staged.folder), self._at(place, manifest.folder)
        uploads = {f"{folder}/{path.relative_to(staged.folder).as_posix()}": path for path in paths}
        try:
            with self._reached(writing=True):
                fs = self.fs
                _together(lambda at: fs.put_file(str(uploads[at]), at), uploads)
            found = self._find(folder)
            for at, path in uploads.items():
                if at not in found or found[at]["size"] != path.stat().st_size:
                    raise StorageError(f"{fs.unstrip_protocol(at)}: is not what was uploaded. Run it again.")
            previous = self._named(place)
        except BaseException:
            with suppress(Exception):
                self._delete(uploads)
            raise
        with self._reached(writing=True):
            # From here on nothing is taken back: when the answer is lost, the manifest may be there.
            fs.pipe_file(self._at(place, MANIFEST), manifest_text(manifest).encode())
            if front is not None:
                page = _pointing_page(front, self.where(place, manifest.folder, front), f"../{manifest.folder}/{front}")
                fs.pipe_file(self._at(place, LATEST, _pointer(front)), page, ContentType="text/html")
        if previous is not None:
            replaced = self._find(self._at(place, previous))
            if replaced and _written(found) - _written(replaced) >= GRACE:
                self._delete(replaced)
        staged.remove()
        return self.root.joinpath(*place.split("/"), manifest.folder)

    def remove(self, place: str) -> None:
        """Remove a partition: its manifest first, then its files."""
        named = self._named(place)
        self._delete([self._at(place, MANIFEST)])
        for folder in (LATEST, named):
            if folder is not None:
                self._delete(self._find(self._at(place, folder)))

    def partitions(self, below: str) -> list[str]:
        """The places of all partitions with a manifest at a place and below it, in the order of their names."""
        places = (at[len(self._path) + 1 :].rpartition("/") for at in self._find(self._at(below)))
        found = [place for place, _, name in places if name == MANIFEST]
        # A store inside of this one has a name with a dot.
        return sorted(place for place in found if not any(part[:1] == "." for part in place.split("/")))

    def rename(self, was: str, now: str) -> None:
        """Move everything at a place to another: data are copied before manifests, and removed after them."""
        objects = self._find(self._at(was))
        manifests = [at for at in objects if at.endswith(f"/{MANIFEST}")]
        data = objects.keys() - set(manifests)
        with self._reached(writing=True):
            fs = self.fs
            for moving in (data, manifests):
                _together(lambda at: fs.cp_file(at, self._at(now, at.removeprefix(f"{self._at(was)}/"))), moving)
        self._delete(manifests)
        self._delete(data)

    def tidy(self, below: str) -> None:
        """There are no folders, so none that is empty."""

    def verify_writable(self) -> None:
        """See whether the store can be reached and written, by writing something.

        Raises:
            StorageError: it cannot.
        """
        self._time_there()

    def sweep(self, older_than: timedelta) -> list[str]:
        """Remove what dead writers left behind; returns the URLs of what was removed."""
        everything, now = self._find(self._path), self._time_there()
        folders: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for at, info in everything.items():
            *parts, _ = at[len(self._path) + 1 :].split("/")
            data = next((depth for depth, part in enumerate(parts) if DATA_FOLDER.fullmatch(part)), None)
            if data is not None:
                folders.setdefault(("/".join(parts[:data]), parts[data]), {})[at] = info
        removed = []
        for (place, folder), objects in folders.items():
            if now - _written(objects) >= older_than and not self._is_named(place, folder):
                self._delete(objects)
                removed.append(self.where(place, folder))
        probes = {at: info for at, info in everything.items() if at.startswith(f"{self._at(STAGING)}/")}
        old = [at for at, info in probes.items() if now - _written({at: info}) >= older_than]
        self._delete(old)
        return [*removed, *map(self.fs.unstrip_protocol, old), *map(str, sweep_scratch(None, older_than))]

    def _at(self, *parts: str) -> str:
        return "/".join([self._path, *filter(None, parts)])

    def _get(self, at: str) -> bytes | None:
        with self._reached():
            # In parts, an S3 object could be read as two: one GET sees one content.
            whole = {"max_concurrency": 1} if self.root.protocol in S3 else {}
            try:
                return bytes(self.fs.cat_file(at, **whole))
            except FileNotFoundError:
                return None

    def _find(self, top: str) -> dict[str, dict[str, Any]]:
        """Every object below a prefix, with its size and time."""
        with self._reached():
            try:
                found: dict[str, dict[str, Any]] = self.fs.find(top, detail=True)
            except FileNotFoundError:
                return {}
        # `top/` is not the only thing that begins with `top`.
        return {at: info for at, info in found.items() if at.startswith(f"{top}/")}

    def _fetch(self, place: str, folder: str, names: Iterable[str], into: Path) -> None:
        def fetch(name: str) -> None:
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(self._at(place, folder, name), str(target))

        with self._reached():
            fs = self.fs
            _together(fetch, names)

    def _delete(self, objects: Iterable[str]) -> None:
        def delete(at: str) -> None:
            with suppress(FileNotFoundError):
                fs.rm_file(at)

        with self._reached():
            fs = self.fs
            _together(delete, objects)

    def _named(self, place: str) -> str | None:
        return folder_named(self.manifest_bytes(place), self.where(place, MANIFEST))

    def _is_named(self, place: str, folder: str) -> bool:
        """Whether a manifest names a folder, or may do so: one that cannot be read might."""
        content = self.manifest_bytes(place)
        return content is not None and self._named(place) in (None, folder)

    def _time_there(self) -> datetime:
        """What time it is on the server, which dates the objects: a small object is put and deleted."""
        at = self._at(STAGING, uuid.uuid4().hex)
        with self._reached(writing=True):
            self.fs.pipe_file(at, b"")
            info = self.fs.info(at)
            self.fs.rm_file(at)
        return _written({at: info})

    @contextmanager
    def _reached(self, *, writing: bool = False) -> Iterator[None]:
        """Say in one sentence that the store cannot be reached; an object that is not there is no such error."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError) and not writing:
                raise
            if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in OUTAGES:
                raise StorageError(
                    f"{self.root}: cannot be reached or {'written' if writing else 'read'} ({_one_line(error)}). See "
                    "to the address, to AWS_ENDPOINT_URL and to the credentials; what was stored is untouched."
                ) from error
            raise


def _together(work: Callable[[str], None], items: Iterable[str]) -> None:
    if todo := list(items):
        with ThreadPoolExecutor(min(AT_ONCE, len(todo))) as pool:
            list(pool.map(work, todo))


def _written(objects: Mapping[str, Mapping[str, Any]]) -> datetime:
    """When the newest of some objects was written; now where the store does not say."""
    now = datetime.now(UTC)
    times = [info.get("LastModified") or info.get("created") or now for info in objects.values()]
    return max(time if time.tzinfo else time.replace(tzinfo=UTC) for time in times)


def _pointer(name: str) -> str:
    return name if name.endswith(".html") else f"{name}.html"


def _pointing_page(name: str, url: str, target: str) -> bytes:
    """A page that opens another one; objects have no links."""
    to = html.escape(quote(target), quote=True)
    return (
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={to}">'
        f'<title>{html.escape(name)}</title><p><a href="{to}">{html.escape(url)}</a></p>\n'
    ).encode()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__

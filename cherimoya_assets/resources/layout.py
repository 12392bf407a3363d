"""What the store calls things: the same names on a disk and in an object store.

What belongs here: names, and how a key becomes a place. What does not: reading or writing there.

    <experiment>/[<head>/]<asset>/<chromosome, or _pooled>/
        manifest.json                     what the partition holds now; replaced last, in one step
        <16 digits>-<32 digits>/          the files; a name that no other commit has
            provenance.json               a copy of the manifest
            damaged.json                  what a reader found damaged in this folder, if one did
        latest                            for people: the files of the last commit under a name that stays
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

MANIFEST = "manifest.json"

SIDECAR = "provenance.json"
"""The copy of the manifest that lies beside the data files and is copied with their folder."""

FRONT = "INDEX"
"""The file of a report that says which of its pages to open first."""

LATEST = "latest"

DAMAGE = "damaged.json"
"""What a load leaves beside files that it could not verify. It goes when they go."""

UNNAMED = frozenset({SIDECAR, DAMAGE})
"""Files in a data folder that its manifest does not name."""

STAGING = ".staging"

POOLED = "_pooled"
"""Folder name of an unpartitioned asset. No chromosome gets it: `path_part` escapes a leading underscore."""

DATA_FOLDER = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8,32}")
"""The first digits of the version, and digits that are new in every commit. Nothing else is ever swept."""


def path_part(name: str) -> str:
    """One key part or chromosome name as one safe folder name, reversible and never `.`, `..` or `_pooled`."""
    escaped = quote(name, safe="+")
    if escaped[:1] in (".", "_"):
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return escaped or "%00"


def partition_place(key: tuple[str, ...], partition: str | None) -> str:
    """The folder of a partition (of the whole asset when `partition` is None) below the store, parts joined by `/`."""
    return "/".join([*map(path_part, key), POOLED if partition is None else path_part(partition)])


def partition_of(name: str) -> str | None:
    """The partition whose folder has this name."""
    return None if name == POOLED else unquote(name)

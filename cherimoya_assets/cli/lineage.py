"""lineage: where a file comes from, asked of the file: inputs, parameters, versions, run, and how to make it again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cherimoya_assets.printable import REPLACEMENT, printable
from cherimoya_assets.resources.stamp import Stamp

if TYPE_CHECKING:
    from cherimoya_assets.provenance.tracing import Origin, Trace

UNCHANGED, CHANGED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="a stored, exported or drawn file (or a folder of them), or a copy of one",
    )
    parser.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        help="a home to look for the same bytes in, for a file that was copied without its sidecar",
    )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


PARTS = {
    "made from": "inputs",
    "input files, through every step": "upstream",
    "parameters": "parameters",
    "versions": "packages",
}
"""What is said of each part of a stamp."""


def run(arguments: argparse.Namespace) -> int:
    from cherimoya_assets.home import Home
    from cherimoya_assets.provenance.tracing import trace

    found = trace(arguments.path, Home(arguments.home.resolve()) if arguments.home else None)
    print(json.dumps(as_json(found), indent=1) if arguments.json else as_text(found))
    return CHANGED if found.changed else UNCHANGED


def as_json(found: Trace) -> dict[str, Any]:
    """The whole answer as plain values."""
    return {
        "path": str(found.path),
        "sha256": found.sha256,
        "unchanged": not found.changed,
        "changed": list(found.changed),
        "found_in": str(found.found_in),
        "command": found.command,
        "origins": [
            {"asset": one.asset, "partition": one.partition, "version": one.version, **_without_place(one)}
            for one in found.origins
        ],
    }


def as_text(found: Trace) -> str:
    """The answer for a reader, an asset a paragraph."""
    lines = [str(found.path)]
    if found.sha256 is not None:
        lines.append(f"sha256      {found.sha256}")
    if found.changed:
        lines.append(f"CHANGED     since it was written: {', '.join(found.changed)} (sha256 differs from the stamp)")
    else:
        lines.append("unchanged   since it was written")
    lines.append(f"stamp       {found.found_in}")
    by_asset: dict[str, list[Origin]] = {}
    for origin in found.origins:
        by_asset.setdefault(origin.asset, []).append(origin)
    for asset, origins in by_asset.items():
        lines += ["", *_asset_lines(asset, origins)]
    if found.command:
        lines += ["", "To make it again:", f"  {found.command}"]
    # A line end in a value would begin a line that looks like ours.
    return "\n".join(printable(line).replace("\n", REPLACEMENT) for line in lines)


def _asset_lines(asset: str, origins: list[Origin]) -> list[str]:
    chroms = [origin.partition for origin in origins if origin.partition is not None]
    lines = [asset + (f" ({', '.join(chroms)})" if chroms else "")]
    versions = [origin.version[:16] for origin in origins if origin.version]
    if versions:
        lines.append(f"  version   {_distinct(versions)}")
    stamps = [origin.stamp for origin in origins if origin.stamp.recorded]
    if not stamps:
        return [*lines, "  its stamp was not recorded"]
    runs = (f"{_said(stamp, 'run_id')} of {_said(stamp, 'made')}" for stamp in stamps)
    lines.append(f"  run       {_distinct(runs)}")
    lines.append(f"  device    {_distinct(_said(s, 'device') for s in stamps)}")
    lines.append(f"  from      {_distinct(_said(s, 'experiment_file') for s in stamps)}")
    for title, name in PARTS.items():
        merged: dict[str, dict[str, None]] = {}
        for stamp in stamps:
            for key, value in getattr(stamp, name).items():
                merged.setdefault(key, {})[value if isinstance(value, str) else json.dumps(value)] = None
        lines.append(f"  {title}")
        lines += [f"    {key} = {' or '.join(values)}" for key, values in merged.items()] or ["    none"]
    return lines


def _without_place(origin: Origin) -> dict[str, Any]:
    return {name: value for name, value in origin.stamp.recorded.items() if name not in ("asset", "partition")}


def _said(stamp: Stamp, name: str) -> str:
    return str(getattr(stamp, name) or "unrecorded")


def _distinct(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))

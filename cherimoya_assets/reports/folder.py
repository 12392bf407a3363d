"""A rendered report as one stored value: a folder of files with one page to open first.

What belongs here: carrying files. What does not: drawing them (the sibling modules do).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from cherimoya_assets.resources.layout import FRONT, SIDECAR


@dataclass(frozen=True)
class Report:
    """The files of a report by relative path, and the page to open first."""

    files: dict[str, bytes]
    index: str

    def write(self, folder: Path) -> None:
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (folder / FRONT).write_text(self.index + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        return cls(_files(folder), (folder / FRONT).read_text().strip())


def render(draw: Callable[[Path], None], index: str) -> Report:
    """Let `draw` write a report into an empty folder and take its files along."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "report"
        folder.mkdir()
        draw(folder)
        return Report(_files(folder), index)


def copy_report(report: Report, folder: Path) -> None:
    """Write the files of a report into a fresh `folder`, replacing what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in report.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in (FRONT, SIDECAR)
    }

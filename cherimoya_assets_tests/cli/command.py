"""Running `cherimoya-assets` in this process, with real files for stdout and stderr."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from tempfile import TemporaryFile

from cherimoya_assets.cli import main


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


def command(*arguments: object) -> Said:
    """Run one command."""
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
        out.seek(0)
        err.seek(0)
        return Said(code, out.read(), err.read())

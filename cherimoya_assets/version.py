"""Which code this is, `0.4.1.dev12+g1a2b3c4d5`: what a stamp, `--version` and the metadata of an installation say.

What belongs here: asking git. What must not: anything that decides whether a number is up to date. A stamp names the
code that made a number; a new commit makes nothing out of date, a step's raised version does (`steps.py`).

`setup.cfg` takes the version of a build from here too, so that there is one rule. Its form is that of setuptools-scm:
the tag, or after it the next release's number, the commits since the tag and the commit. `.dirty` stands at the end
where a file of the package is not as it was committed.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from importlib.metadata import Distribution
from pathlib import Path

UNKNOWN = "0.1.dev0+unknown"
"""Of a folder that came without git and was not built: a downloaded archive of the sources, say."""


@cache
def version() -> str:
    """The version of the code that this process imported, as long as it is asked for early: git is asked once.

    An editable installation keeps the metadata of the day on which it was installed. So git is asked where the package
    stands in a checkout, and metadata count only where they lie beside the package.
    """
    package = Path(__file__).resolve().parent
    if (package.parent / ".git").exists():
        return _of_checkout(package)
    beside = Distribution.discover(name="cherimoya_assets", path=[str(package.parent)])
    return next((found.version for found in beside), UNKNOWN)


def _of_checkout(package: Path) -> str:
    try:
        # Tags that are no version are passed over, `--always` answers with the bare commit where none is left.
        described = _git(
            package, "describe", "--long", "--always", "--tags", "--match=v[0-9]*", "--exclude=*[!v0-9.rc]*"
        )
        tag, ahead, commit = described.removeprefix("v").rsplit("-", 2) if "-" in described else ("0.0", "", described)
        ahead = ahead or _git(package, "rev-list", "--count", "HEAD")
        changed = _git(package, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    if ahead == "0" and not changed:
        return tag
    coming = re.sub(r"\d+$", lambda last: str(int(last[0]) + 1), tag)
    return f"{coming}.dev{ahead}+g{commit.removeprefix('g')}" + (".dirty" if changed else "")


def _git(folder: Path, *words: str) -> str:
    # Without the locks that `git status` takes for its own speed: somebody may be committing here.
    command = ["git", "-C", str(folder), "--no-optional-locks", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

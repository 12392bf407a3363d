"""Write requirements.lock from the environment that runs this: the exact version of every installed package.

    .venv/bin/python tools/lock.py            # rewrite requirements.lock
    .venv/bin/python tools/lock.py --check    # exit 1 where the environment and the lock differ

There are no hashes in the lock: PyTorch's wheel is another file on every platform and with every accelerator, under one
version. Its local version label (`+cpu`) is dropped for the same reason.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"

NOT_LOCKED = {"pip", "setuptools", "wheel", "cherimoya-assets", "modisco"}
"""The installers, ourselves, and the package that must never be there (see `cherimoya_assets/installation.py`)."""

ACCELERATOR = re.compile(r"^(nvidia-|cuda-)")
"""PyTorch's CUDA build pins its own libraries exactly; a CPU build has none."""

MARKERS = {"triton": 'sys_platform == "linux"', "uvloop": 'sys_platform != "win32"'}

HEADER = """\
# The exact version of every package, written by `make lock` (tools/lock.py). `make install` installs it:
# torch first, with what it needs, then everything else with --no-deps, because cherimoya and bpnet-lite ask for
# modisco, which would overwrite modisco-lite.
"""


def installed() -> dict[str, str]:
    """Normalised name to public version of every distribution that belongs into the lock."""
    found = {}
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name not in NOT_LOCKED and not ACCELERATOR.match(name):
            found[name] = distribution.version.split("+")[0]
    return dict(sorted(found.items()))


def locked() -> dict[str, str]:
    """What the lock file says."""
    lines = (line.split(";")[0].strip() for line in LOCK.read_text().splitlines() if not line.startswith("#"))
    return dict(line.split("==") for line in lines if line)


def main() -> int:
    if "--check" in sys.argv[1:]:
        here, wanted = installed(), locked()
        different = {name for name in here.keys() | wanted.keys() if here.get(name) != wanted.get(name)}
        for name in sorted(different):
            print(f"{name}: installed {here.get(name)}, locked {wanted.get(name)}")
        return bool(different)
    lines = [
        f"{name}=={version}" + (f"; {MARKERS[name]}" if name in MARKERS else "")
        for name, version in installed().items()
    ]
    LOCK.write_text(HEADER + "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Whether the installed packages can work together. Asked at the start of every command; takes milliseconds.

What belongs here: facts about installed distributions. What does not: importing them.

`modisco` and `modisco-lite` install the same module and the same command over each other, pip does not notice, and
cherimoya and bpnet-lite ask for the one that we do not use. So the installed files are compared with the hashes that
modisco-lite's own RECORD gives.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from cherimoya_assets.errors import InstallationError

REINSTALL_MODISCO = "pip uninstall -y modisco modisco-lite && pip install --no-deps modisco-lite==3.0.0"

REQUIRED = (
    "bpnet-lite",
    "cherimoya",
    "dagster",
    "dagster-webserver",
    "memelite",
    "numpy",
    "pandas",
    "pyarrow",
    "pyfaidx",
    "tangermeme",
    "torch",
)


def verify_installation(path: Iterable[str] | None = None) -> None:
    """Check that what we stand on is there and whole.

    Args:
        path: folders to look for distributions in, instead of `sys.path`.

    Raises:
        InstallationError: says what is wrong and the command that mends it.
    """
    search = None if path is None else list(path)
    missing = [name for name in REQUIRED if _distribution(name, search) is None]
    if missing:
        raise InstallationError(f"{', '.join(missing)} is not installed. Run `make install`, or pip install it.")
    if _distribution("modisco", search) is not None:
        raise InstallationError(
            "modisco is installed beside modisco-lite, and both install the module modiscolite over each other. "
            f"Fix it with: {REINSTALL_MODISCO}"
        )
    modisco_lite = _distribution("modisco-lite", search)
    if modisco_lite is None:
        raise InstallationError(f"modisco-lite is not installed. Fix it with: {REINSTALL_MODISCO}")
    if not modisco_lite.version.startswith("3."):
        raise InstallationError(
            f"modisco-lite is {modisco_lite.version}, but 3.x is needed. Fix it with: {REINSTALL_MODISCO}"
        )
    if foreign := _foreign_files(modisco_lite):
        raise InstallationError(
            f"{foreign[0]} is not modisco-lite's own file ({len(foreign)} such files): another package, modisco most "
            f"likely, was installed over it. Fix it with: {REINSTALL_MODISCO}"
        )


def _distribution(name: str, path: list[str] | None) -> Distribution | None:
    if path is not None:
        return next(iter(Distribution.discover(name=name, path=path)), None)
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _foreign_files(installed: Distribution) -> list[str]:
    """The files of a distribution that are missing or are not those of its RECORD."""
    foreign = []
    for file in installed.files or ():
        if file.hash is None or not str(file).startswith("modiscolite/"):
            continue
        try:
            content = Path(file.locate()).read_bytes()
        except OSError:
            foreign.append(str(file))
            continue
        digest = base64.urlsafe_b64encode(hashlib.new(file.hash.mode, content).digest()).rstrip(b"=").decode()
        if digest != file.hash.value:
            foreign.append(str(file))
    return foreign

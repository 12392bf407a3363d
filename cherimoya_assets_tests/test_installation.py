"""modisco over modisco-lite is found, whatever pip says of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from cherimoya_assets.errors import InstallationError
from cherimoya_assets.installation import REQUIRED, verify_installation

SITE = Path(sysconfig.get_paths()["purelib"])


@pytest.fixture
def site(tmp_path):
    """A folder of installed distributions: modisco-lite whole, of the others their metadata."""
    for name in REQUIRED:
        metadata = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (record,) = SITE.glob("modisco_lite-*.dist-info")
    shutil.copytree(record, tmp_path / record.name)
    shutil.copytree(SITE / "modiscolite", tmp_path / "modiscolite")
    return tmp_path


def test_this_environment_is_whole():
    verify_installation()


def test_modisco_lite_alone_is_accepted(site):
    verify_installation([str(site)])


def test_older_modules_over_modisco_lite_are_found(site):
    """What `pip install cherimoya bpnet-lite modisco-lite==3.0.0` leaves: other modules under 3.0.0's metadata."""
    (site / "modiscolite" / "tfmodisco.py").write_text("__version__ = '2.5.2'\n")
    with pytest.raises(
        InstallationError, match=r"tfmodisco\.py is not modisco-lite's own file.*pip uninstall -y modisco"
    ):
        verify_installation([str(site)])


def test_a_missing_module_is_found(site):
    (site / "modiscolite" / "io.py").unlink()
    with pytest.raises(InstallationError, match=r"modiscolite/io\.py"):
        verify_installation([str(site)])


def test_modisco_beside_modisco_lite_is_refused(site):
    metadata = site / "modisco-2.5.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: modisco\nVersion: 2.5.2\n")
    with pytest.raises(InstallationError, match="modisco is installed beside modisco-lite"):
        verify_installation([str(site)])


def test_a_missing_package_is_named(site):
    shutil.rmtree(site / "tangermeme-1.0.dist-info")
    with pytest.raises(InstallationError, match="tangermeme is not installed"):
        verify_installation([str(site)])


def test_an_older_modisco_lite_is_refused(site):
    (record,) = site.glob("modisco_lite-*.dist-info")
    text = (record / "METADATA").read_text().replace("Version: 3.0.0", "Version: 2.2.0")
    (record / "METADATA").write_text(text)
    with pytest.raises(InstallationError, match=r"modisco-lite is 2\.2\.0, but 3\.x is needed"):
        verify_installation([str(site)])


@pytest.mark.slow
def test_pip_misses_nothing_but_modisco():
    said = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True).stdout.splitlines()
    assert sorted(line.split(" ", 1)[0] for line in said if "requires modisco, which is not installed" in line) == [
        "bpnet-lite",
        "cherimoya",
    ]
    assert [line for line in said if "requires modisco, which is not installed" not in line] == []

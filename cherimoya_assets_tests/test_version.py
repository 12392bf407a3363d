"""The version is that of the code that runs: in a checkout, a shallow one, an archive, a build and an editable one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cherimoya_assets.version import UNKNOWN
from cherimoya_assets_tests.cli.command import command

ROOT = Path(__file__).parent.parent
BUILT_FROM = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "cherimoya_assets/__init__.py")


class Checkout:
    """A repository that can be built, with as little of the package as knows its version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in (*BUILT_FROM, "cherimoya_assets/version.py"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        (folder / ".gitignore").write_text("build/\n*.egg-info/\n__pycache__/\n")
        self.git("init", "--quiet")
        self.commit()

    def git(self, *words: str) -> str:
        named = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return said("git", "-C", self.folder, *named, *words)

    def commit(self) -> str:
        """Commit everything, or nothing at all; returns what the version says of it."""
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message=x")
        return "g" + self.git("rev-parse", "--short", "HEAD")


def said(*words: object, folder: Path | None = None) -> str:
    """What a program prints; it imports from `folder` first."""
    surroundings = {**os.environ, "PYTHONPATH": str(folder or "")}
    ran = subprocess.run([*map(str, words)], capture_output=True, text=True, env=surroundings, cwd="/")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def version_in(folder: Path) -> str:
    """What a process says that imports the package from this folder."""
    return said(sys.executable, "-c", "import cherimoya_assets as ca; print(ca.__version__)", folder=folder)


def pip(*words: object) -> None:
    # Without a build environment of its own, which would be fetched.
    said(sys.executable, "-m", "pip", "--quiet", *words, "--no-deps", "--no-build-isolation")


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def test_a_commit_is_named_and_counted_from_the_last_tag(checkout):
    checkout.git("tag", "nightly")
    commit = checkout.commit()
    assert version_in(checkout.folder) == f"0.1.dev2+{commit}"
    checkout.git("tag", "v0.4.9")
    assert version_in(checkout.folder) == "0.4.9"
    checkout.git("tag", "variant")
    assert version_in(checkout.folder) == "0.4.9"
    commit = checkout.commit()
    assert version_in(checkout.folder) == f"0.4.10.dev1+{commit}"
    checkout.git("tag", "v0.5.0rc1")
    assert version_in(checkout.folder) == "0.5.0rc1"


@pytest.mark.parametrize("name", ["cherimoya_assets/__init__.py", "cherimoya_assets/new.py"])
def test_a_file_of_the_package_that_is_not_committed_is_said(checkout, name):
    commit = checkout.commit()
    with (checkout.folder / name).open("a") as file:
        file.write("\n")
    assert version_in(checkout.folder) == f"0.1.dev2+{commit}.dirty"
    checkout.git("tag", "v0.4.9")
    assert version_in(checkout.folder) == f"0.4.10.dev0+{commit}.dirty"


def test_what_is_no_code_of_the_package_is_not(checkout):
    (checkout.folder / "README.md").write_text("other")
    (checkout.folder / "notes.txt").write_text("new")
    assert "dirty" not in version_in(checkout.folder)


def test_a_shallow_clone_names_its_commit(checkout, tmp_path):
    commit = checkout.commit()
    said("git", "clone", "--quiet", "--depth=1", f"file://{checkout.folder}", tmp_path / "clone")
    assert version_in(tmp_path / "clone") == f"0.1.dev1+{commit}"


@pytest.mark.slow
def test_an_archive_of_the_sources_claims_nothing(checkout, tmp_path):
    """Also where another installation of the package is in the environment, as it is here."""
    checkout.git("tag", "v0.4.9")
    (tmp_path / "archive").mkdir()
    archive = tmp_path / "archive.tar"
    checkout.git("archive", f"--output={archive}", "HEAD")
    shutil.unpack_archive(archive, tmp_path / "archive")
    assert version_in(tmp_path / "archive") == UNKNOWN
    pip("wheel", "--wheel-dir", tmp_path, tmp_path / "archive")
    assert (tmp_path / f"cherimoya_assets-{UNKNOWN}-py3-none-any.whl").exists()


def test_a_checkout_that_git_cannot_read_claims_nothing(checkout):
    (checkout.folder / ".git" / "HEAD").write_text("damaged")
    assert version_in(checkout.folder) == UNKNOWN


@pytest.mark.slow
def test_a_build_has_the_version_of_its_commit_and_keeps_it(checkout, tmp_path):
    built = version_in(checkout.folder)
    pip("install", "--target", tmp_path / "site", checkout.folder)
    checkout.commit()
    assert version_in(tmp_path / "site") == built


@pytest.mark.slow
def test_an_editable_installation_has_the_version_of_its_newest_commit(checkout, tmp_path):
    # Without --ignore-installed, pip would first remove what is installed in this environment.
    pip("install", "--ignore-installed", "--editable", checkout.folder, "--prefix", tmp_path)
    (site,) = tmp_path.glob("lib*/python*/site-packages")
    (metadata,) = site.glob("*.dist-info")
    before = version_in(checkout.folder)
    assert before in metadata.name
    commit = checkout.commit()
    through_the_installation = f"import site; site.addsitedir({str(site)!r}); "
    code = through_the_installation + "import cherimoya_assets as ca; print(ca.__file__, ca.__version__)"
    file, _, version = said(sys.executable, "-S", "-c", code).rpartition(" ")
    assert Path(file).parent.parent == checkout.folder
    assert version == f"0.1.dev2+{commit}" != before


def test_the_command_line_says_it():
    assert command("--version").out.startswith(f"cherimoya-assets {version_in(ROOT)}")

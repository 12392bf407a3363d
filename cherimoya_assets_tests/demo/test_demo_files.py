"""The embedded demo: its files are those that were published, each has a licence, and all travel in a wheel."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import HOME_NAME

DEMO = DEMO_EXPERIMENT.parent
ROOT = DEMO.parent.parent
PAPERS = {"README.md", "SHA256SUMS", "__init__.py", DEMO_EXPERIMENT.name}
DATA = sorted(path.name for path in DEMO.iterdir() if path.is_file() and path.name not in PAPERS)

LICENCES = re.compile(r"Artistic-2\.0|BSD-3-Clause|CC BY 4\.0|MIT")


def test_every_data_file_has_the_hash_that_was_published():
    published = dict(reversed(line.split("  ")) for line in (DEMO / "SHA256SUMS").read_text().splitlines())
    assert published == {name: hashlib.sha256((DEMO / name).read_bytes()).hexdigest() for name in DATA}


@pytest.mark.parametrize("name", DATA)
def test_every_data_file_has_a_source_and_a_licence(name):
    row = next(line for line in (DEMO / "README.md").read_text().splitlines() if line.startswith(f"| `{name}` |"))
    _, _, content, source, licence, _ = (cell.strip() for cell in row.split("|"))
    assert content and source and LICENCES.search(licence), row


def test_the_experiment_needs_nothing_but_the_data_files():
    experiment = read_experiment(DEMO_EXPERIMENT)
    models = [file.path for file in experiment.model.values()]
    named = [experiment.sequences, *experiment.loci, *experiment.negatives, *experiment.exclusion_lists, *models]
    assert {path.relative_to(DEMO).as_posix() for path in [*named, experiment.motifs]} == set(DATA) - {"fit.json"}


def test_numbers_in_the_readme_are_those_of_the_files():
    text = (DEMO / "README.md").read_text()
    for number, name in (("1,383", "peaks.narrowPeak"), ("1,373", "negatives.bed")):
        assert f"{number} " in text
        assert len((DEMO / name).read_text().splitlines()) == int(number.replace(",", ""))
    assert "178 motifs" in text
    assert (DEMO / "JASPAR2024_CORE_fungi.meme").read_text().count("\nMOTIF ") == 178


@pytest.mark.slow
def test_a_wheel_carries_every_file_that_git_would(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    package = source / "cherimoya_assets"
    shutil.copytree(DEMO.parent, package, ignore=shutil.ignore_patterns("__pycache__", "*.fai", HOME_NAME))
    wanted = {path.relative_to(source).as_posix() for path in package.rglob("*") if path.is_file()}
    # PyTorch needs setuptools, so it is there wherever this project is installed.
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("cherimoya_assets/")}
    assert packed == wanted
    assert {f"cherimoya_assets/demo/{name}" for name in DATA} <= packed

"""Real disks that are full or read-only: a sentence, old content that stays, and a next run that completes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cherimoya_assets_tests.cli.command import Said
from cherimoya_assets_tests.faults import deeds
from cherimoya_assets_tests.faults.scene import Cell, Scene, scene_of_many_chromosomes
from cherimoya_assets_tests.faults.warm import Warm
from cherimoya_assets_tests.small_models import cherimoya_file

pytestmark = pytest.mark.slow

NO_SKIP = os.environ.get("CHERIMOYA_ASSETS_NO_SKIP") == "1"

SELECT = ("--select", "one_hot_sequences", "attributions")
SIZE = "32m"


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A small disk of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        if NO_SKIP:
            pytest.fail(mounted.stderr)
        pytest.skip(f"no disk can be mounted here: {mounted.stderr}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as handle:
        for size in (1 << 16, 1):
            try:
                while handle.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    assert shutil.disk_usage(disk).free == 0
    return filler


class Experiment:
    """Everything is made of one model, and another has been put in its place. `new` is what comes of it."""

    def __init__(self, warm: Warm, scene: Scene, said: Path) -> None:
        self.warm, self.scene, self.said = warm, scene, said
        model = scene.folder / "model.torch"
        first, second = model.read_bytes(), cherimoya_file(scene.folder, seed=8).path.read_bytes()
        made: list[dict[Cell, str]] = []
        for content in (second, first):
            model.write_bytes(content)
            assert self.run().code == 0
            made.append(scene.versions())
        model.write_bytes(second)
        self.new, self.old = made

    def run(self) -> Said:
        """`cherimoya-assets run` in a child."""
        words = ["run", self.scene.file, "--home", self.scene.home.root, *SELECT]
        self.warm.do(deeds.command_line, words=[str(word) for word in words], said=str(self.said))
        return Said(*json.loads(self.said.read_text()))

    def completes(self) -> None:
        assert self.run().code == 0
        assert self.scene.versions() == self.new
        assert self.scene.left() == []


def test_a_store_on_a_full_disk(tmp_path, warm, disk):
    scene = scene_of_many_chromosomes(tmp_path / "scene", 1)
    scene.home.root.mkdir()
    (scene.home.root / "storage.yaml").write_text(f"url: file://{disk}/store\n")
    experiment = Experiment(warm, scene, tmp_path / "said.json")
    filler = fill(disk)
    said = experiment.run()
    assert said.code == 1
    assert re.search(
        rf"failed at counts/attributions: StorageError: {disk}/store/.chunks: the disk is full; nothing was stored, "
        r"and what was there before is as it was\. Free some space and run it again\.",
        " ".join(said.out.split()),
    ), said
    assert "Traceback" not in said.out + said.err
    assert scene.versions() == experiment.old
    filler.unlink()
    experiment.completes()


def test_a_home_on_a_full_disk(tmp_path, warm, disk):
    """Dagster's own files lie there, too."""
    scene = scene_of_many_chromosomes(disk / "scene", 1)
    experiment = Experiment(warm, scene, tmp_path / "said.json")
    filler = fill(disk)
    said = experiment.run()
    assert said.code == 1
    assert re.fullmatch(
        rf"{scene.home.dagster}: Dagster's files cannot be written \([\w/ ]+\): the disk is full, read-only or "
        r"damaged\. What was stored stays\. Free some space and run it again\.\n",
        said.err,
    ), said
    assert scene.versions() == experiment.old
    filler.unlink()
    experiment.completes()


def test_a_store_on_a_disk_that_is_read_only(tmp_path, warm, disk):
    scene = scene_of_many_chromosomes(tmp_path / "scene", 1)
    scene.home.root.mkdir()
    (scene.home.root / "storage.yaml").write_text(f"url: file://{disk}/store\n")
    experiment = Experiment(warm, scene, tmp_path / "said.json")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    said = experiment.run()
    assert said.code != 0
    assert said.err == (
        f"{disk}/store: cannot be written, {disk}/store may not be written by you. Name another place for the store.\n"
    )
    assert scene.versions() == experiment.old
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    experiment.completes()


def test_a_disk_that_becomes_read_only_while_it_is_computed(tmp_path, warm, disk):
    """As Linux does with a disk that fails."""
    scene = scene_of_many_chromosomes(tmp_path / "scene", 1)
    scene.home.root.mkdir()
    (scene.home.root / "storage.yaml").write_text(f"url: file://{disk}/store\n")
    experiment = Experiment(warm, scene, tmp_path / "said.json")
    warm.do(deeds.make_on_a_disk_that_fails, **scene.names, disk=str(disk), said=str(tmp_path / "said"))
    assert (
        (tmp_path / "said")
        .read_text()
        .startswith(f"StorageError: {disk}/store/.chunks: the disk is read-only; nothing was")
    )
    assert scene.versions() == experiment.old
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    experiment.completes()

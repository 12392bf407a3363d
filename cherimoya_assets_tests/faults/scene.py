"""An experiment and its home, what can be seen in it, and what must not be left in it.

What belongs here: what has to be true after every fault, whatever it was. What does not: the faults.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import dagster as dg
import numpy as np

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.cli.reap import reap
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.resources.chunks import FOLDER
from cherimoya_assets.resources.layout import LATEST, MANIFEST, STAGING, UNNAMED, partition_of
from cherimoya_assets.resources.manifest import parse_manifest
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets.runs.reaping import UNFINISHED
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

Cell = tuple[str, str | None]
"""An asset without its experiment (`counts/attributions`), and a chromosome."""


@dataclass(frozen=True)
class Scene:
    """An experiment file in a folder, its home beside it, and copies of both to go back to."""

    file: Path

    @property
    def folder(self) -> Path:
        return self.file.parent

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    @property
    def names(self) -> dict[str, str]:
        """What the children need to know."""
        return {"file": str(self.file), "home": str(self.home.root)}

    @cached_property
    def lineage(self) -> ExperimentLineage:
        return ExperimentLineage(read_experiment(self.file), self.home)

    def keep(self, name: str) -> None:
        """Remember how everything is now."""
        shutil.copytree(self.folder, self.folder.with_name(f"{self.folder.name}.{name}"), symlinks=True)

    def back_to(self, name: str) -> None:
        """Make everything as it was."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.folder.with_name(f"{self.folder.name}.{name}"), self.folder, symlinks=True)

    def versions(self) -> dict[Cell, str]:
        """What a reader sees: the version of every partition that is there. All of it is read and verified."""
        store, found = AssetStore(self.home.store), {}
        for place in _places(store.root):
            *key, name = place.relative_to(store.root).parts
            partition = partition_of(name)
            manifest = parse_manifest((place / MANIFEST).read_bytes(), str(place))
            # Raises where a hash is wrong, a file is missing or something else than one value is there.
            store.load(tuple(key), partition)
            found["/".join(key[1:]), partition] = manifest.version
            # The path for people leads to a complete folder, too, of this commit or of the one before.
            link = place / LATEST
            if link.exists() or link.is_symlink():
                sidecar = json.loads((link / "provenance.json").read_text())
                assert {file["name"] for file in sidecar["files"]} == _files(link.resolve()) - UNNAMED
        return found

    def chunks(self) -> int:
        """How many chunks are there; all are read and verified."""
        store, found = AssetStore(Path(self.home.store) / FOLDER), 0
        for place in _places(store.root):
            *key, name = place.relative_to(store.root).parts
            store.load(tuple(key), name)
            found += 1
        return found

    def left(self) -> list[str]:
        """What is left behind by the dead: runs, places in pools, leases, files. Nothing should be, after `reap`."""
        told = reap(self.home)
        # Leases and temporary files are of the whole machine, where other tests may be dying at this moment.
        ours = ("run ", str(AssetStore(self.home.store).root))
        found = [f"reap has still to do: {sentence}" for sentence in reap(self.home) if sentence.startswith(ours)]
        with dg.DagsterInstance.from_config(str(self.home.dagster)) as instance:
            runs = instance.get_runs(dg.RunsFilter(statuses=[*UNFINISHED, dg.DagsterRunStatus.QUEUED]))
            found += [f"run {run.run_id} is {run.status.value} ({told})" for run in runs]
            found += [
                f"run {run_id} has a place in a pool" for run_id in instance.event_log_storage.get_concurrency_run_ids()
            ]
        store = AssetStore(self.home.store)
        found += [f"staged: {path}" for path in Path(store.root).rglob(f"{STAGING}/*")]
        # Data that nobody names may be on their way for a day. No writer lives now.
        store.sweep(timedelta(0))
        named = {
            place / manifest.folder
            for place in _places(store.root)
            for manifest in [parse_manifest((place / MANIFEST).read_bytes(), "")]
        }
        for path in Path(store.root).rglob("*"):
            if path.is_file() and not path.is_symlink() and path.name != MANIFEST:
                if not named & set(path.parents):
                    found.append(f"nobody names {path}")
                elif FOLDER in path.parts:
                    found.append(f"a chunk is left: {path}")
        return found


def _places(root: Path) -> Iterator[Path]:
    """The folders of the partitions of a store, without those of a store inside of it."""
    for manifest in sorted(root.rglob(MANIFEST)):
        if not any(part.startswith(".") for part in manifest.relative_to(root).parts):
            yield manifest.parent


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def only(versions: Mapping[Cell, str], name: str) -> dict[str | None, str]:
    """The versions of one asset by chromosome."""
    return {chrom: version for (asset, chrom), version in versions.items() if asset == name}


def scene_of_many_chromosomes(folder: Path, number: int) -> Scene:
    """Two loci on each of so many chromosomes."""
    file = tiny_experiment(folder, {"motifs": None})
    bases = np.random.default_rng(0)
    names = [f"chr{place}" for place in range(1, number + 1)]
    (folder / "genome.fa").write_text(
        "".join(f">{name}\n{''.join(bases.choice(list('ACGT'), 900))}\n" for name in names)
    )
    rows = "".join(f"{name}\t{start}\t{start + 40}\n" for name in names for start in (300, 600))
    for bed in ("peaks.bed", "negatives.bed"):
        (folder / bed).write_text(rows)
    return Scene(file)

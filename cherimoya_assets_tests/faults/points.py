"""The points at which a step kills itself with SIGKILL, by name: the windows between what is durable.

What belongs here: the points, and how a child reaches them: by replacing, in itself, what the product calls there. What
does not: who is killed and what has to be true afterwards.

A point is of one step. Before that step has begun nothing is a point of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dagster import DagsterEventType, DagsterInstance

from cherimoya_assets.resources import storage
from cherimoya_assets.resources.chunks import FOLDER, StoredChunks
from cherimoya_assets.resources.layout import MANIFEST, STAGING
from cherimoya_assets_tests.killed import die

Reached = Callable[[str], None]

EVERY_STEP = (
    "it has begun",
    "it computes",
    "its files are written",
    "its files are hashed",
    "its data are to get their name",
    "its data have their name",
    "its manifest lies beside the old one",
    "its manifest is in place",
    "its commit is done",
    "its event is recorded",
    "its success is recorded",
    "its run is to end",
)
"""In the order in which a step comes by."""

WITH_CHUNKS = (
    "a chunk is written",
    "the data of a chunk have their name",
    "a chunk is kept",
    "its chunks are to go",
    "its chunks are gone",
)


class Points:
    """Kills this process when `point` of a step is reached for the n-th time. `step` is the name of its op."""

    def __init__(self, point: str, step: str, times: int = 1) -> None:
        assert point in EVERY_STEP + WITH_CHUNKS
        self._point, self._step, self._left = point, step, times
        self._now = ""
        for prepare in (self._events, self._computing, self._staging, self._publishing, self._chunks):
            prepare()

    def reach(self, name: str) -> None:
        if name == self._point and self._now == self._step:
            self._left -= 1
            if not self._left:
                die()

    def _events(self) -> None:
        handle = DagsterInstance.handle_new_event
        after = {
            DagsterEventType.STEP_START: "it has begun",
            DagsterEventType.ASSET_MATERIALIZATION: "its event is recorded",
            DagsterEventType.STEP_SUCCESS: "its success is recorded",
        }

        def watched(instance: DagsterInstance, entry: Any, **others: Any) -> None:
            kind = None if entry.dagster_event is None else entry.dagster_event.event_type
            if kind == DagsterEventType.STEP_START:
                self._now = entry.dagster_event.step_key
            if kind == DagsterEventType.ASSET_MATERIALIZATION:
                self.reach("its commit is done")
            if kind == DagsterEventType.RUN_SUCCESS:
                self.reach("its run is to end")
            handle(instance, entry, **others)
            if kind in after:
                self.reach(after[kind])

        DagsterInstance.handle_new_event = watched

    def _computing(self) -> None:
        """Somewhere inside of the work itself."""
        from cherimoya_assets.analysis.mutagenesis.windowed.cpu.kernels import CpuSequence
        from cherimoya_assets.assets import experiment_report

        for owner, name in (
            (CpuSequence, "sweep"),
            # The page is drawn, and of the files beside it none is there yet.
            (experiment_report, "write_record"),
        ):
            self._before(owner, name, "it computes")

    def _staging(self) -> None:
        hash_files = storage.hash_files

        def watched(folder: Path) -> Any:
            chunk = FOLDER in folder.parts
            self.reach("a chunk is written" if chunk else "its files are written")
            files = hash_files(folder)
            if not chunk:
                self.reach("its files are hashed")
            return files

        storage.hash_files = watched

    def _publishing(self) -> None:
        replace = os.replace

        def watched(source: Any, target: Any, **others: Any) -> None:
            chunk = FOLDER in Path(target).parts
            data, manifest = STAGING in Path(source).parts, Path(target).name == MANIFEST
            if data and not chunk:
                self.reach("its data are to get their name")
            if manifest and not chunk:
                self.reach("its manifest lies beside the old one")
            replace(source, target, **others)
            if data:
                self.reach("the data of a chunk have their name" if chunk else "its data have their name")
            if manifest and not chunk:
                self.reach("its manifest is in place")

        os.replace = watched

    def _chunks(self) -> None:
        self._after(StoredChunks, "put", "a chunk is kept")
        self._before(StoredChunks, "forget", "its chunks are to go")
        self._after(StoredChunks, "forget", "its chunks are gone")

    def _before(self, owner: Any, name: str, point: str) -> None:
        call = getattr(owner, name)

        def watched(*arguments: Any, **others: Any) -> Any:
            self.reach(point)
            return call(*arguments, **others)

        setattr(owner, name, watched)

    def _after(self, owner: Any, name: str, point: str) -> None:
        call = getattr(owner, name)

        def watched(*arguments: Any, **others: Any) -> Any:
            found = call(*arguments, **others)
            self.reach(point)
            return found

        setattr(owner, name, watched)

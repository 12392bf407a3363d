"""What the children do, from the experiment file on: as `cherimoya-assets run` does it, without a display."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cherimoya_assets import walk as walking
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.instance import open_instance
from cherimoya_assets.walk import walk
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.faults.points import Points


class Nobody:
    """A watcher who looks elsewhere."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


def make(
    file: str,
    home: str,
    names: Sequence[str] = (),
    chroms: Sequence[str] = (),
    force: bool = False,
    point: str = "",
    step: str = "",
    times: int = 1,
) -> None:
    """Make what is out of date of these assets (`counts/attributions`) and chromosomes; be killed at a point."""
    lineage = ExperimentLineage(read_experiment(Path(file)), Home(Path(home)))
    if point:
        # The inputs are observed by the run that comes after the kill.
        walking._Walker.observe_inputs = lambda walker: None
        Points(point, step, times)
    keys = {lineage.key(*name.split("/")) for name in names} or None
    with open_instance(lineage.home) as instance:
        outcome = walk(lineage, instance, Nobody(), keys=keys, chroms=tuple(chroms) or None, force=force)
    assert not outcome.failed, [made.failures for made in outcome.made]


def make_with_small_chunks(**arguments: Any) -> None:
    """The same, and a chunk is one locus."""
    from cherimoya_assets.analysis import attribution_chunks

    attribution_chunks.CHUNK = 1
    make(**arguments)


def command_line(words: Sequence[str], said: str) -> None:
    """Run a command and write down its exit code and what it said."""
    told = command(*words)
    Path(said).write_text(json.dumps([told.code, told.out, told.err]))


def make_on_a_disk_that_fails(file: str, home: str, disk: str, said: str) -> None:
    """The disk of the store becomes read-only when the first attributions are computed."""
    from cherimoya_assets.assets import attributions

    compute = attributions.attribute

    def failing(*arguments: Any, **others: Any) -> Any:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        return compute(*arguments, **others)

    attributions.attribute = failing
    lineage = ExperimentLineage(read_experiment(Path(file)), Home(Path(home)))
    keys = {lineage.key("one_hot_sequences"), lineage.key("counts", "attributions")}
    with open_instance(lineage.home) as instance:
        outcome = walk(lineage, instance, Nobody(), keys=keys, chroms=lineage.chroms[:1])
    (failure,) = [failure for made in outcome.made for failure in made.failures]
    assert not failure.traceback
    Path(said).write_text(failure.message)

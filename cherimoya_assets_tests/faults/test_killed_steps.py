"""kill -9 of a step, at every point between two things that are durable; on each chromosome another point.

After each kill a reader sees old partitions or new ones and nothing else, and one `cherimoya-assets run` afterwards
makes what an uninterrupted run makes, byte for byte.
"""

from __future__ import annotations

import random
import re
import time
from itertools import cycle
from pathlib import Path

import pytest

from cherimoya_assets_tests.faults import deeds
from cherimoya_assets_tests.faults.points import EVERY_STEP, WITH_CHUNKS
from cherimoya_assets_tests.faults.scene import Cell, Scene, only, scene_of_many_chromosomes
from cherimoya_assets_tests.small_models import cherimoya_file
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

pytestmark = pytest.mark.slow

SEQUENCES, ATTRIBUTIONS, REPORT = "one_hot_sequences", "counts/attributions", "experiment_report"

BEFORE = (*WITH_CHUNKS[:3], *EVERY_STEP[: EVERY_STEP.index("its manifest is in place")])
AFTER = (*EVERY_STEP[EVERY_STEP.index("its manifest is in place") :], *WITH_CHUNKS[3:])
"""Points at which nothing new is to be seen, and at which all of it is. Chunks first: who finds all writes none."""

CHROMS = 3

RANDOM = 5
"""Kills of a whole run from outside, each at a moment that nobody chose."""

KILLS = len(BEFORE) + len(AFTER) + len(EVERY_STEP) + RANDOM
"""In this module."""


def test_attributions_that_replace_older_ones(tmp_path, warm):
    """The model is replaced when everything is there; the chromosomes take turns in being killed."""
    scene = scene_of_many_chromosomes(tmp_path / "scene", CHROMS)
    wanted = {**scene.names, "names": [SEQUENCES, ATTRIBUTIONS]}
    warm.do(deeds.make, **wanted)
    old = scene.versions()
    cherimoya_file(scene.folder, seed=8).path.replace(scene.folder / "model.torch")
    scene.keep("replaced")
    warm.do(deeds.make, **wanted)
    new = scene.versions()
    assert only(old, SEQUENCES) == only(new, SEQUENCES)
    assert not set(only(old, ATTRIBUTIONS).values()) & set(only(new, ATTRIBUTIONS).values())
    assert scene.left() == []

    scene.back_to("replaced")
    seen = old
    for landed, points in ((False, BEFORE), (True, AFTER)):
        for point, chrom in zip(points, cycle(scene.lineage.chroms), strict=False):
            # By force, since what has landed once is up to date.
            how = {"names": [ATTRIBUTIONS], "chroms": [chrom], "force": True}
            warm.is_killed(deeds.make_with_small_chunks, **scene.names, **how, point=point, step="tiny__attributions")
            if landed:
                seen = {**seen, (ATTRIBUTIONS, chrom): new[ATTRIBUTIONS, chrom]}
            assert scene.versions() == seen, point
            scene.chunks()
    warm.do(deeds.make_with_small_chunks, **wanted)
    assert scene.versions() == new
    assert scene.left() == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory, warm) -> tuple[Scene, dict[Cell, str]]:
    """An experiment of two chromosomes in which everything is made without an interruption, and what that gives."""
    folder = tmp_path_factory.mktemp("whole") / "scene"
    scene = Scene(tiny_experiment(folder, {"chroms": ["chrA", "chrB"], "motifs": None}))
    scene.keep("empty")
    warm.do(deeds.make, **scene.names)
    return scene, scene.versions()


def test_a_report_while_it_is_drawn_and_stored_again(whole, warm):
    """Killed at every point, one after the other, with no run in between that succeeds."""
    scene, versions = whole
    for point in EVERY_STEP:
        how = {"names": [REPORT], "force": True, "point": point, "step": f"tiny__{REPORT}"}
        warm.is_killed(deeds.make, **scene.names, **how)
        assert scene.versions() == versions, point
    warm.do(deeds.make, **scene.names)
    assert scene.versions() == versions
    assert scene.left() == []


def test_a_whole_run_again_and_again_at_moments_that_nobody_chose(whole, warm):
    scene, versions = whole
    page = without_times(scene)
    scene.back_to("empty")
    seen: dict[Cell, str] = {}
    for _ in range(RANDOM):
        child = warm.call(deeds.make, **scene.names)
        time.sleep(random.uniform(0.1, 1.2))
        child.kill()
        before, seen = seen, scene.versions()
        assert before.items() <= seen.items() <= versions.items()
    warm.do(deeds.make, **scene.names)
    done = scene.versions()
    # The page says how long each step took, in this run.
    assert {**done, (REPORT, None): ""} == {**versions, (REPORT, None): ""}
    assert without_times(scene) == page
    assert scene.left() == []


def without_times(scene: Scene) -> str:
    """The report's page, but for the seconds in its table and for the stamp that names its run.

    Where the kill came after a commit and before Dagster heard of it, there are no seconds to show.
    """
    page = next(Path(scene.home.store).glob(f"tiny/{REPORT}/_pooled/latest/experiment.html")).read_text()
    assert re.search(r">[\d.]+ (?:s|min|h)</td>", page)
    return re.sub(r">(?:[\d.]+ (?:s|min|h)|–)</td>", "></td>", page.partition('<script type="application/json"')[0])

"""Experiments in, `dagster.Definitions` out: what a code location holds.

What belongs here: putting assets, jobs, schedules, sensors and resources together. What does not: what an experiment's
assets and jobs are (`build.py`), and which experiments there are (`definitions.py`, the command line). Nothing outside
of the definitions is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from cherimoya_assets.assets.inputs import observed_inputs
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.not_loaded import not_loaded_assets
from cherimoya_assets.automation import automation_sensors
from cherimoya_assets.build import assets_and_jobs
from cherimoya_assets.errors import CherimoyaAssetsError, ExperimentError, Problems
from cherimoya_assets.experiment import Experiment, Unreadable
from cherimoya_assets.home import Home
from cherimoya_assets.reprocessing import reprocessing_job, reprocessing_schedules


def build_defs(
    experiments: Sequence[Experiment],
    home: Path,
    *,
    device: str = "",
    automation: bool = False,
    executor: dg.ExecutorDefinition | None = None,
    tags: Mapping[str, str] | None = None,
    resources: Mapping[str, Any] | None = None,
    unreadable: Sequence[Unreadable] = (),
) -> dg.Definitions:
    """One code location for these experiments, which share `home`.

    An experiment that cannot be loaded, because its genome is gone for example, is an asset that says so, and takes no
    other with it.

    Args:
        experiments: with different names.
        home: where everything lands.
        device: overrides what the experiments ask for; empty leaves it to them.
        automation: starts the sensors.
        executor: of the steps of a run; None: in the run's own process, as `EXPERIMENT__reprocess` always is.
        tags: of every run of a job or a sensor, for the run launcher of the instance (`dagster-k8s/config`, say).
        resources: in the place of `store` and `gpu`, or beside them.
        unreadable: files that are no experiments, as from `experiment.read_folder`; they are such assets, too.

    Raises:
        ExperimentError: two experiments have the same name.
    """
    names = [experiment.name for experiment in experiments]
    for name in names:
        if names.count(name) > 1:
            files = ", ".join(str(e.source) for e in experiments if e.name == name)
            raise ExperimentError(f"{files}: two experiments are named {name}. Rename one; the name is its asset key.")
    lineages, without = loadable(experiments, home)
    jobs = {one.name: reprocessing_job(one, device=device, tags=tags or {}, resources=resources) for one in lineages}
    return dg.Definitions.merge(
        assets_and_jobs(lineages, home, device=device, executor=executor, tags=tags, resources=resources),
        dg.Definitions(
            assets=not_loaded_assets([*unreadable, *without], [one.name for one in lineages]),
            jobs=list(jobs.values()),
            schedules=[schedule for one in lineages for schedule in reprocessing_schedules(one, jobs[one.name])],
            sensors=automation_sensors(lineages, running=automation, tags=tags or {}),
        ),
    )


def loadable(experiments: Sequence[Experiment], home: Path) -> tuple[list[ExperimentLineage], list[Unreadable]]:
    """The lineages of experiments, and why others have none: the files that decide on its partitions are looked at."""
    lineages: list[ExperimentLineage] = []
    without: list[Unreadable] = []
    for experiment in experiments:
        lineage = ExperimentLineage(experiment, Home(home.resolve()))
        try:
            observed_inputs(lineage)
        except CherimoyaAssetsError as error:
            problems = error.problems if isinstance(error, Problems) else (str(error),)
            without.append(Unreadable(experiment.source, problems, experiment.name))
        else:
            lineages.append(lineage)
    return lineages, without

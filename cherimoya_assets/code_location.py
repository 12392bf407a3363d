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

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.automation import automation_sensors
from cherimoya_assets.build import assets_and_jobs
from cherimoya_assets.errors import ExperimentError
from cherimoya_assets.experiment import Experiment
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
) -> dg.Definitions:
    """One code location for these experiments, which share `home`.

    Args:
        experiments: with different names.
        home: where everything lands.
        device: overrides what the experiments ask for; empty leaves it to them.
        automation: starts the sensors.
        executor: of the steps of a run; None: in the run's own process, as `EXPERIMENT__reprocess` always is.
        tags: of every run of a job or a sensor, for the run launcher of the instance (`dagster-k8s/config`, say).
        resources: in the place of `store` and `gpu`, or beside them.

    Raises:
        ExperimentError: two experiments have the same name.
    """
    names = [experiment.name for experiment in experiments]
    for name in names:
        if names.count(name) > 1:
            files = ", ".join(str(e.source) for e in experiments if e.name == name)
            raise ExperimentError(f"{files}: two experiments are named {name}. Rename one; the name is its asset key.")
    lineages = [ExperimentLineage(experiment, Home(home.resolve())) for experiment in experiments]
    jobs = {one.name: reprocessing_job(one, device=device, tags=tags or {}, resources=resources) for one in lineages}
    return dg.Definitions.merge(
        assets_and_jobs(lineages, home, device=device, executor=executor, tags=tags, resources=resources),
        dg.Definitions(
            jobs=list(jobs.values()),
            schedules=[schedule for one in lineages for schedule in reprocessing_schedules(one, jobs[one.name])],
            sensors=automation_sensors(lineages, running=automation, tags=tags or {}),
        ),
    )

"""Experiments in, `dagster.Definitions` out: the one place where the lineage graph is put together.

What belongs here: which assets, jobs and resources an experiment has. What does not: what an asset does (`assets/`) or
which experiments there are (`definitions.py`, the command line).

Partitioned and pooled assets never share a job: Dagster would run the pooled step in every chromosome's run. So the
graph has stages, alternately by chromosome and pooled, and a job each. An asset backfill from the UI finds the order
by itself; `cherimoya-assets run` walks the stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from cherimoya_assets import steps
from cherimoya_assets.assets.inputs import experiment_inputs, shared_inputs
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.made import assets_of
from cherimoya_assets.automation import automation_sensors, recompute_when_out_of_date
from cherimoya_assets.errors import ExperimentError
from cherimoya_assets.experiment import Experiment
from cherimoya_assets.home import Home
from cherimoya_assets.reprocessing import reprocessing_job, reprocessing_schedules
from cherimoya_assets.resources.gpu import GPUResource
from cherimoya_assets.resources.storage import StoreIOManager
from cherimoya_assets.runs.pool_waiting import sleep_while_waiting


@dataclass(frozen=True)
class Stage:
    """Assets that one run may hold together: all by chromosome, or all pooled."""

    name: str
    partitioned: bool
    keys: tuple[dg.AssetKey, ...]
    job: str


def build_defs(
    experiments: Sequence[Experiment], home: Path, *, device: str = "", automation: bool = False
) -> dg.Definitions:
    """One code location for these experiments, which share `home`.

    `device` overrides what the experiments ask for; empty leaves it to them. `automation` starts the sensors.

    Raises:
        ExperimentError: two experiments have the same name.
    """
    # Every process that executes runs of ours comes by here.
    sleep_while_waiting()
    names = [experiment.name for experiment in experiments]
    for name in names:
        if names.count(name) > 1:
            files = ", ".join(str(e.source) for e in experiments if e.name == name)
            raise ExperimentError(f"{files}: two experiments are named {name}. Rename one; the name is its asset key.")
    lineages = [ExperimentLineage(experiment, Home(home.resolve())) for experiment in experiments]
    reprocessing = {one.name: reprocessing_job(one) for one in lineages}
    return dg.Definitions(
        assets=[*shared_inputs(lineages), *(asset for one in lineages for asset in build_experiment(one))],
        jobs=[*(job for one in lineages for job in stage_jobs(one)), *reprocessing.values()],
        schedules=[schedule for one in lineages for schedule in reprocessing_schedules(one, reprocessing[one.name])],
        sensors=automation_sensors(lineages, running=automation),
        resources={
            "store": StoreIOManager(root=str(Home(home.resolve()).store)),
            "gpu": GPUResource(device=device),
        },
        executor=dg.in_process_executor,
    )


def build_experiment(lineage: ExperimentLineage) -> list[dg.AssetsDefinition]:
    """The assets of one experiment, inputs included, shared inputs not."""
    assets = [
        *experiment_inputs(lineage),
        *(asset for step in lineage.steps.values() for asset in assets_of(lineage, step)),
    ]
    return assets if (condition := recompute_when_out_of_date(lineage)) is None else _automated(assets, condition)


def _automated(
    assets: Sequence[dg.AssetsDefinition], condition: dg.AutomationCondition[Any]
) -> list[dg.AssetsDefinition]:
    """The assets with a condition each; inputs are observed by a sensor."""
    return [
        asset.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=condition))
        if asset.is_materializable
        else asset
        for asset in assets
    ]


def stages(lineage: ExperimentLineage) -> list[Stage]:
    """The order in which the assets of one experiment can be made."""
    found = []
    for row in steps.STAGES:
        keys = tuple(k for step in lineage.steps.values() if step.stage == row.name for k in lineage.keys_of(step))
        found.append(Stage(row.name, row.by_chromosome, keys, f"{lineage.name}__{row.job}"))
    return [stage for stage in found if stage.keys]


def stage_jobs(lineage: ExperimentLineage) -> list[dg.UnresolvedAssetJobDefinition]:
    """A job for each stage, named `EXPERIMENT__1_attribution` and so on."""
    return [
        dg.define_asset_job(
            stage.job,
            selection=dg.AssetSelection.assets(*stage.keys),
            tags={"experiment": lineage.name},
            description="One chromosome a run." if stage.partitioned else "All chromosomes together.",
        )
        for stage in stages(lineage)
    ]

"""The lineage graph put together: the assets of experiments, the stages in which they are made, a job for each.

What belongs here: which assets, jobs and resources an experiment has. What does not: what an asset does (`assets/`),
and schedules and sensors (`code_location.py`).

Partitioned and pooled assets never share a job: Dagster would run the pooled step in every chromosome's run. So the
graph has stages, alternately by chromosome and pooled, and a job each. An asset backfill from the UI finds the order
by itself; `cherimoya-assets run` walks the stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from cherimoya_assets import steps
from cherimoya_assets.assets.inputs import experiment_inputs, shared_inputs
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.made import assets_of
from cherimoya_assets.automation import recompute_when_out_of_date
from cherimoya_assets.home import Home
from cherimoya_assets.resources.gpu import GPUResource
from cherimoya_assets.resources.storage import StoreIOManager
from cherimoya_assets.runs.pool_waiting import sleeping_executor


@dataclass(frozen=True)
class Stage:
    """Assets that one run may hold together: all by chromosome, or all pooled."""

    name: str
    partitioned: bool
    keys: tuple[dg.AssetKey, ...]
    job: str


def assets_and_jobs(
    lineages: Sequence[ExperimentLineage],
    home: Path,
    *,
    device: str = "",
    executor: dg.ExecutorDefinition | None = None,
    tags: Mapping[str, str] | None = None,
    resources: Mapping[str, Any] | None = None,
) -> dg.Definitions:
    """What makes the assets of these experiments; arguments as in `code_location.build_defs`."""
    return dg.Definitions(
        assets=[*shared_inputs(lineages), *(asset for one in lineages for asset in build_experiment(one))],
        jobs=[job for one in lineages for job in stage_jobs(one, tags or {})],
        resources={
            "store": StoreIOManager(root=str(Home(home.resolve()).store)),
            "gpu": GPUResource(device=device),
            **(resources or {}),
        },
        executor=executor or sleeping_executor,
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


def stage_jobs(lineage: ExperimentLineage, tags: Mapping[str, str]) -> list[dg.UnresolvedAssetJobDefinition]:
    """A job for each stage, named `EXPERIMENT__1_attribution` and so on."""
    return [
        dg.define_asset_job(
            stage.job,
            selection=dg.AssetSelection.assets(*stage.keys),
            tags={**tags, "experiment": lineage.name},
            description="One chromosome a run." if stage.partitioned else "All chromosomes together.",
        )
        for stage in stages(lineage)
    ]

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

import dagster as dg

from cherimoya_assets.assets.annotated_seqlets import annotated_seqlets_asset
from cherimoya_assets.assets.attribution_tracks import attribution_tracks_asset
from cherimoya_assets.assets.attributions import attributions_asset
from cherimoya_assets.assets.experiment_report import experiment_report_asset
from cherimoya_assets.assets.inputs import experiment_inputs, shared_inputs
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.marginalization import backgrounds_asset, effects_asset, report_asset
from cherimoya_assets.assets.modisco import modisco_patterns_asset, modisco_report_asset
from cherimoya_assets.assets.one_hot_sequences import one_hot_sequences_asset
from cherimoya_assets.assets.seqlets import seqlet_null_asset, seqlets_asset
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
    assets = [*experiment_inputs(lineage), one_hot_sequences_asset(lineage), attributions_asset(lineage)]
    for head in lineage.heads:
        assets += [seqlet_null_asset(lineage, head), seqlets_asset(lineage, head)]
        if lineage.motif_file is not None:
            assets.append(annotated_seqlets_asset(lineage, head))
        assets += [modisco_patterns_asset(lineage, head), modisco_report_asset(lineage, head)]
        assets.append(attribution_tracks_asset(lineage, head))
    if lineage.marginalizes:
        assets += [backgrounds_asset(lineage), effects_asset(lineage), report_asset(lineage)]
    assets.append(experiment_report_asset(lineage, assets))
    return assets if (condition := recompute_when_out_of_date(lineage)) is None else _automated(assets, condition)


def _automated(assets: Sequence[dg.AssetsDefinition], condition: dg.AutomationCondition) -> list[dg.AssetsDefinition]:
    """The assets with a condition each; inputs are observed by a sensor."""
    return [
        asset.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=condition))
        if asset.is_materializable
        else asset
        for asset in assets
    ]


def stages(lineage: ExperimentLineage) -> list[Stage]:
    """The order in which the assets of one experiment can be made."""
    heads = lineage.heads
    attribution = [lineage.key("one_hot_sequences"), *(lineage.key(head, "attributions") for head in heads)]
    pooled = [lineage.key(head, "seqlet_null") for head in heads]
    seqlets = [lineage.key(head, "seqlets") for head in heads]
    found = ("modisco_patterns", "modisco_report", "attribution_tracks")
    results = [lineage.key(head, asset) for head in heads for asset in found]
    if lineage.motif_file is not None:
        seqlets += [lineage.key(head, "annotated_seqlets") for head in heads]
    if lineage.marginalizes:
        pooled.append(lineage.key("marginalization_backgrounds"))
        seqlets.append(lineage.key("marginalization_effects"))
        results.append(lineage.key("marginalization_report"))
    results.append(lineage.key("experiment_report"))
    return [
        Stage("attribution", True, tuple(attribution)),
        Stage("nulls_and_backgrounds", False, tuple(pooled)),
        Stage("seqlets_and_effects", True, tuple(seqlets)),
        Stage("patterns_and_reports", False, tuple(results)),
    ]


def stage_jobs(lineage: ExperimentLineage) -> list[dg.UnresolvedAssetJobDefinition]:
    """A job for each stage, named `EXPERIMENT__1_attribution` and so on."""
    return [
        dg.define_asset_job(
            f"{lineage.name}__{number}_{stage.name}",
            selection=dg.AssetSelection.assets(*stage.keys),
            tags={"experiment": lineage.name},
            description="One chromosome a run." if stage.partitioned else "All chromosomes together.",
        )
        for number, stage in enumerate(stages(lineage), start=1)
    ]

"""Scheduled reprocessing: what `cherimoya-assets run` does, as a job that Dagster's scheduler can start every week.

What belongs here: the job and its two schedules. What does not: making assets (`walk.py`) and conditions
(`automation.py`). A schedule of Dagster's cannot start an asset backfill, and the stages must follow each other, so one
run of the job walks all of them; each asset is made by an ordinary run of its stage's job. Both schedules are stopped
until somebody starts them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.runs.pool_waiting import sleeping_executor
from cherimoya_assets.walk import Made, Skipped, walk

WEEKLY = "0 3 * * 0"
"""Sundays at 3, when nobody waits for the GPU."""


class Reprocess(dg.Config):
    """`force`: make again what is up to date, too."""

    force: bool = False


def reprocessing_job(
    lineage: ExperimentLineage, *, device: str, tags: Mapping[str, str], resources: Mapping[str, Any] | None
) -> dg.JobDefinition:
    """The job `EXPERIMENT__reprocess`. Its runs and those of the stages get what `code_location.build_defs` got."""

    @dg.op(name=f"{lineage.name}__walk_the_stages")
    def walk_the_stages(context: dg.OpExecutionContext, config: Reprocess) -> None:
        log, force = _Log(context.log), config.force
        outcome = walk(lineage, context.instance, log, device=device, tags=tags, resources=resources, force=force)
        reasons = [failure.message for made in outcome.made for failure in made.failures]
        if outcome.failed:
            raise dg.Failure("Some assets were not made: " + " ".join(dict.fromkeys(reasons)), allow_retries=False)

    @dg.job(
        name=f"{lineage.name}__reprocess",
        tags={**tags, "experiment": lineage.name},
        executor_def=sleeping_executor,
        description="Makes what is out of date, stage by stage; with `force`, everything.",
    )
    def reprocess() -> None:
        walk_the_stages()

    return reprocess


def reprocessing_schedules(lineage: ExperimentLineage, job: dg.JobDefinition) -> list[dg.ScheduleDefinition]:
    """`EXPERIMENT__weekly` makes what is out of date, `EXPERIMENT__weekly_forced` makes everything."""
    return [
        dg.ScheduleDefinition(
            name=f"{lineage.name}__weekly{suffix}",
            job=job,
            cron_schedule=WEEKLY,
            execution_timezone=lineage.experiment.schedule_timezone,
            run_config=dg.RunConfig({f"{lineage.name}__walk_the_stages": Reprocess(force=force)}),
            default_status=dg.DefaultScheduleStatus.STOPPED,
        )
        for suffix, force in (("", False), ("_forced", True))
    ]


class _Log:
    """Looks on while stages are walked, and says in the run's log what was made, skipped and warned of."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log = log

    def stage_begins(self, number: int, of: int, stage: object, partitions: Sequence[str | None]) -> None:
        self._log.info(f"stage {number} of {of}: {', '.join(filter(None, partitions)) or 'all chromosomes together'}")

    def run_begins(self, stage: object, partition: str | None) -> None: ...

    def step_begins(self, keys: Collection[dg.AssetKey]) -> None: ...

    def waits(self, sentence: str) -> None:
        self._log.info(sentence)

    def advances(self, advance: object) -> None: ...

    def run_ends(self, made: Made) -> None:
        where = f" [{made.partition}]" if made.partition else ""
        for key in made.metadata:
            self._log.info(f"made {key.to_user_string()}{where} in run {made.run_id}")
        for said in made.warnings:
            self._log.warning(said)

    def made_elsewhere(self, partition: str | None, sentence: str) -> None:
        self._log.info(f"{partition or 'all chromosomes'}: {sentence}")

    def skipped(self, skipped: Skipped) -> None:
        self._log.info(f"skipped {skipped.key.to_user_string()}: {skipped.reason}")

    def stage_ends(self) -> None: ...

"""The weekly job makes what is out of date and nothing else; the forced one makes everything."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import Versions
from cherimoya_assets.build import stages
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets_tests.test_code_location import LEASED, TAGS, Watched
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lineage(tmp_path_factory):
    """Two chromosomes and few steps, so that making everything twice takes seconds."""
    folder = tmp_path_factory.mktemp("reprocessed")
    file = tiny_experiment(folder, {"motifs": None, "negatives": None, "chroms": ["chrA", "chrB"]})
    return ExperimentLineage(read_experiment(file), Home(folder / "home"))


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def reprocess(lineage: ExperimentLineage, instance: dg.DagsterInstance, schedule: str) -> set[tuple[str, str | None]]:
    """Run what the schedule would start; the assets that were made by it."""
    before = runs(lineage)
    defs = build_defs([lineage.experiment], lineage.home.root, tags=TAGS, resources={"gpu": Watched()})
    (found,) = [one for one in defs.schedules if one.name == schedule]
    context = dg.build_schedule_context(instance, repository_def=defs.get_repository_def())
    (request,) = found.evaluate_tick(context).run_requests
    job = defs.resolve_job_def(f"{lineage.name}__reprocess")
    assert job.execute_in_process(instance=instance, run_config=request.run_config).success
    return {cell for cell, run in runs(lineage).items() if run != before[cell]}


def runs(lineage: ExperimentLineage) -> dict[tuple[str, str | None], str | None]:
    """The run that made what is stored of each asset and chromosome."""
    versions, found = Versions(lineage), {}
    for stage in stages(lineage):
        for key in stage.keys:
            for chrom in lineage.chroms if stage.partitioned else (None,):
                manifest = versions.manifest(key, chrom)
                found["/".join(key.path[1:]), chrom] = manifest and manifest.stamp.run_id
    return found


def test_the_schedules_tick_in_the_time_zone_of_the_experiment_also_when_clocks_are_changed(tmp_path):
    """Sundays at 3 in Berlin, the hour after which clocks are changed there: 2:00 UTC in winter, 1:00 in summer."""
    experiment = read_experiment(tiny_experiment(tmp_path, {"timezone": "Europe/Berlin"}))
    defs = build_defs([experiment], tmp_path / "home")
    for name in ("tiny__weekly", "tiny__weekly_forced"):
        schedule = defs.resolve_schedule_def(name)
        assert schedule.execution_timezone == "Europe/Berlin"
        for start, ticks in (
            (datetime(2026, 3, 16, tzinfo=UTC), ["03-22 02:00", "03-29 01:00", "04-05 01:00"]),
            (datetime(2026, 10, 12, tzinfo=UTC), ["10-18 01:00", "10-25 02:00", "11-01 02:00"]),
        ):
            found = schedule_execution_time_iterator(
                start.timestamp(), schedule.cron_schedule, schedule.execution_timezone
            )
            assert [tick.astimezone(UTC).strftime("%m-%d %H:%M") for tick in islice(found, 3)] == ticks


def test_the_weekly_job_makes_what_is_out_of_date_and_the_forced_one_everything(lineage, instance):
    everything = runs(lineage).keys()
    LEASED.clear()
    assert reprocess(lineage, instance, "tiny__weekly") == everything
    # The runs of the stages, too, have what the code location was built with.
    assert LEASED == ["cpu", "cpu"]
    assert all(TAGS.items() <= run.tags.items() for run in instance.get_runs())
    assert reprocess(lineage, instance, "tiny__weekly") == set()
    assert reprocess(lineage, instance, "tiny__weekly_forced") == everything


def test_schedules_are_stopped_until_somebody_starts_them(lineage):
    schedules = build_defs([lineage.experiment], lineage.home.root).schedules
    assert {schedule.name: schedule.default_status for schedule in schedules} == {
        "tiny__weekly": dg.DefaultScheduleStatus.STOPPED,
        "tiny__weekly_forced": dg.DefaultScheduleStatus.STOPPED,
    }


def test_a_failure_is_the_jobs_failure_with_its_sentence(tmp_path, instance):
    file = tiny_experiment(tmp_path, {"motifs": None, "negatives": None, "chroms": ["chrB"]})
    experiment = read_experiment(file)
    (tmp_path / "model.torch").write_bytes(b"not a model")
    job = build_defs([experiment], tmp_path / "home").resolve_job_def("tiny__reprocess")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "Some assets were not made: " in failure.step_failure_data.user_failure_data.description
    assert "model.torch" in failure.step_failure_data.user_failure_data.description

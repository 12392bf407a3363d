"""The Dagster instance of a home: settings that hold, and runs of dead processes that do not block the living."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus

from cherimoya_assets.errors import StorageError
from cherimoya_assets.home import Home
from cherimoya_assets.instance import open_instance, prepare_instance
from cherimoya_assets.runs.run_process import PROCESS_TAG, process_tag

pytestmark = pytest.mark.slow

KILLED_IN_A_POOLED_STEP = """
import os, signal, sys
from pathlib import Path
import dagster as dg
from cherimoya_assets.home import Home
from cherimoya_assets.instance import open_instance
from cherimoya_assets.runs.run_process import process_tag

@dg.asset(pool="gpu")
def dies():
    os.kill(os.getpid(), signal.SIGKILL)

with open_instance(Home(Path(sys.argv[1]))) as instance:
    dg.materialize([dies], instance=instance, tags=process_tag())
"""


@dg.asset(pool="gpu")
def lives():
    return 1


def test_a_new_instance_is_quiet_and_holds_one_step_in_the_gpu_pool(tmp_path):
    with open_instance(Home(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_poll_interval_seconds == 30
        assert instance.run_monitoring_start_timeout_seconds == 300
        assert instance.run_monitoring_cancel_timeout_seconds == 180
        assert instance.run_monitoring_max_runtime_seconds == 0
        # Resuming a run would make Dagster's own cancelling stop no step any more.
        assert instance.run_monitoring_max_resume_run_attempts == 0
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] == 60
        assert instance.run_retries_enabled
        assert instance.run_retries_max_retries == 2
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.code_server_process_startup_timeout == 180
        assert instance.get_tick_retention_settings(InstigatorType.SENSOR)[TickStatus.SKIPPED] == 7
        assert dg.materialize([lives], instance=instance).success
        assert instance.event_log_storage.get_concurrency_info("gpu").limit == 1


def test_the_users_settings_are_never_overwritten(tmp_path):
    home = Home(tmp_path)
    (prepare_instance(home) / "dagster.yaml").write_text("nux: {enabled: true}\n")
    with open_instance(home) as instance:
        assert instance.nux_enabled


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="--home"):
        prepare_instance(Home(tmp_path / "home"))


def test_a_killed_run_is_ended_and_gives_its_pool_slot_back(tmp_path):
    died = subprocess.run([sys.executable, "-c", KILLED_IN_A_POOLED_STEP, str(tmp_path)], capture_output=True)
    assert died.returncode == -9
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        (run,) = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
        assert instance.event_log_storage.get_concurrency_info("gpu").active_slot_count == 1
    with open_instance(Home(tmp_path)) as instance:
        assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.FAILURE
        assert instance.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0
        assert dg.materialize([lives], instance=instance).success


@pytest.mark.parametrize("tag", [process_tag()[PROCESS_TAG], "another-host:1:1"], ids=["this process", "another host"])
def test_runs_of_the_living_and_of_other_machines_are_left_alone(tmp_path, tag):
    with open_instance(Home(tmp_path)) as instance:
        run = instance.create_run_for_job(
            dg.Definitions([lives]).resolve_implicit_global_asset_job_def(),
            status=DagsterRunStatus.STARTED,
            tags={PROCESS_TAG: tag},
        )
    with open_instance(Home(tmp_path)) as instance:
        assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.STARTED

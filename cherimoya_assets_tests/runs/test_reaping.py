"""What a crash left behind is ended, in a real instance; what lives, waits or is somebody else's is left alone."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import filter_runs_to_should_retry
from dagster._daemon.monitoring.concurrency import execute_concurrency_slots_iteration
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from cherimoya_assets.home import Home
from cherimoya_assets.instance import open_instance, prepare_instance
from cherimoya_assets.resources import leases
from cherimoya_assets.resources.leases import lease
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets.runs import reaping
from cherimoya_assets.runs.launcher import LocalRunLauncher
from cherimoya_assets.runs.reaping import end_abandoned_runs, free_slots
from cherimoya_assets.runs.run_process import launch_tag, process_tag
from cherimoya_assets_tests.cli.command import command

pytestmark = pytest.mark.slow

STARTING, STARTED, CANCELING = DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING
QUEUED, FAILURE, CANCELED = DagsterRunStatus.QUEUED, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED


@dg.asset(pool="gpu")
def pooled():
    return 1


JOB = dg.Definitions([pooled]).resolve_implicit_global_asset_job_def()


@pytest.fixture(scope="module")
def dead():
    process = subprocess.Popen(["sleep", "600"])
    tag = process_tag(process.pid)
    process.kill()
    process.wait()
    return tag


@pytest.fixture(scope="module")
def of_this_module(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("reaping"))
    prepare_instance(home)
    with dg.DagsterInstance.from_config(str(home.dagster)) as opened:
        yield home, opened


@pytest.fixture
def home(of_this_module, tmp_path, monkeypatch):
    """A home whose instance is empty, and a folder of its own for the leases of devices."""
    monkeypatch.setattr(leases.tempfile, "tempdir", str(tmp_path))
    home, instance = of_this_module
    yield home
    for run in instance.get_runs():
        instance.delete_run(run.run_id)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


@pytest.fixture
def instance(of_this_module, home):
    return of_this_module[1]


def run_in(instance, status, tags):
    return instance.create_run_for_job(JOB, status=status, tags=tags)


def holds_a_slot(instance, run):
    instance.event_log_storage.set_concurrency_slots("gpu", 3)
    assert instance.event_log_storage.claim_concurrency_slot("gpu", run.run_id, "step").is_claimed


def slots(instance):
    return instance.event_log_storage.get_concurrency_info("gpu").active_slot_count


def status(instance, run):
    return instance.get_run_by_id(run.run_id).status


@pytest.mark.parametrize(("was", "becomes"), [(STARTING, FAILURE), (STARTED, FAILURE), (CANCELING, CANCELED)])
def test_a_run_without_a_process_ends_and_gives_its_slot_back(instance, dead, was, becomes):
    run = run_in(instance, was, dead)
    holds_a_slot(instance, run)
    assert end_abandoned_runs(instance) == [run.run_id]
    assert status(instance, run) == becomes
    assert slots(instance) == 0
    assert end_abandoned_runs(instance) == []


@pytest.mark.parametrize("was", [STARTING, STARTED, CANCELING])
@pytest.mark.parametrize("tags", [process_tag(), {}, {"cherimoya_assets/process": "another-host:1:1@abc"}])
def test_what_lives_or_may_live_is_left_alone(instance, was, tags):
    run = run_in(instance, was, tags)
    assert end_abandoned_runs(instance) == []
    assert status(instance, run) == was


def test_a_queued_run_waits_on_with_the_tag_that_a_retry_inherited(instance, dead):
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("location"), "repository"), "pooled")
    queued = dg.DagsterRun("pooled", status=QUEUED, tags=dead, remote_job_origin=origin)
    run = instance.run_storage.add_run(queued)
    assert end_abandoned_runs(instance) == []
    assert status(instance, run) == QUEUED


def test_a_launched_run_that_never_begins_ends_when_a_start_takes_too_long(instance, monkeypatch):
    run = run_in(instance, DagsterRunStatus.NOT_STARTED, launch_tag())
    instance.report_dagster_event(
        DagsterEvent(DagsterEventType.PIPELINE_STARTING.value, job_name=run.job_name), run.run_id
    )
    assert status(instance, run) == STARTING
    assert end_abandoned_runs(instance) == []
    later = time.time() + instance.run_monitoring_start_timeout_seconds + 1
    monkeypatch.setattr(reaping.time, "time", lambda: later)
    assert end_abandoned_runs(instance) == [run.run_id]
    assert status(instance, run) == FAILURE


def test_slots_of_runs_that_ended_or_were_deleted_are_freed(instance, dead):
    ended, deleted, living = (run_in(instance, STARTED, tags) for tags in (dead, dead, process_tag()))
    for run in (ended, deleted, living):
        holds_a_slot(instance, run)
    instance.report_run_failed(ended)
    instance.delete_run(deleted.run_id)
    instance.event_log_storage.claim_concurrency_slot("gpu", deleted.run_id, "step")
    assert sorted(free_slots(instance)) == sorted([ended.run_id, deleted.run_id])
    assert slots(instance) == 1
    assert free_slots(instance) == []


def test_a_run_that_was_declared_dead_and_lives_keeps_its_slot(instance):
    run = run_in(instance, STARTED, process_tag())
    holds_a_slot(instance, run)
    instance.report_run_failed(run)
    assert free_slots(instance) == []
    assert slots(instance) == 1


def test_the_users_limit_of_a_pool_is_kept(home):
    with open_instance(home) as instance:
        instance.event_log_storage.set_concurrency_slots("gpu", 4)
    with open_instance(home) as instance:
        assert instance.event_log_storage.get_concurrency_info("gpu").slot_count == 4


def test_reap_says_what_it_did_and_then_that_there_is_nothing_to_do(home, instance, dead):
    run = run_in(instance, STARTED, dead)
    with lease(["GPU-x"], "a run", print):
        said = command("reap", "--home", home.root)
    assert (said.code, said.out) == (0, f"run {run.run_id}: ended, its process is gone\n")
    assert command("reap", "--home", home.root).out == "nothing to do\n"


def test_reap_clears_the_lease_of_a_dead_process(home):
    pid = os.fork()
    if pid == 0:
        with lease(["GPU-x"], "a run", lambda _: None):
            os._exit(0)
    os.waitpid(pid, 0)
    assert command("reap", "--home", home.root).out.startswith(
        f"device GPU-x: its lease died with pid {pid}, run a run, since "
    )
    assert command("reap", "--home", home.root).out == "nothing to do\n"


def test_reap_removes_what_a_writer_left_that_died(home):
    class Report:
        def write(self, folder):
            (folder / "half").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        AssetStore(home.store).stage(Report())
    os.waitpid(pid, 0)
    (left,) = (half.parent for half in home.store.rglob("half"))
    assert command("reap", "--home", home.root).out == f"{left}: removed, its writer died\n"
    assert not left.exists()
    assert command("reap", "--home", home.root).out == "nothing to do\n"


def test_reap_of_a_folder_that_is_no_home_is_one_sentence(tmp_path):
    said = command("reap", "--home", tmp_path)
    assert said.code == 1
    assert said.err == f"{tmp_path}: is not a home: it has no dagster folder. Name one with --home.\n"
    assert not list(tmp_path.iterdir())


# What `dagster.yaml` turns on, by the daemon's own loops.


def retried(instance, run_id):
    return [run.run_id for run in filter_runs_to_should_retry([instance.get_run_by_id(run_id)], instance)]


def context_of(instance):
    return SimpleNamespace(instance=instance, create_request_context=lambda: None)


def test_dagsters_monitoring_ends_a_run_whose_process_is_gone_and_its_retries_make_it_again(instance, dead):
    gone, living = run_in(instance, STARTED, dead), run_in(instance, STARTED, process_tag())
    assert isinstance(instance.run_launcher, LocalRunLauncher)
    assert list(execute_run_monitoring_iteration(context_of(instance), logging.getLogger())) == [None, None]
    assert status(instance, gone) == FAILURE
    assert status(instance, living) == STARTED
    assert retried(instance, gone.run_id) == [gone.run_id]


def test_a_step_that_failed_is_not_retried(instance):
    @dg.asset
    def fails():
        raise ValueError

    result = dg.materialize([fails], instance=instance, raise_on_error=False)
    assert retried(instance, result.run_id) == []


def test_the_daemon_frees_the_slots_of_ended_runs_after_a_minute(instance, dead, monkeypatch):
    run = run_in(instance, STARTED, dead)
    holds_a_slot(instance, run)
    instance.report_run_failed(run)
    list(execute_concurrency_slots_iteration(context_of(instance), logging.getLogger()))
    assert slots(instance) == 1
    from dagster._daemon.monitoring import concurrency

    later = concurrency.get_current_datetime() + concurrency.datetime.timedelta(seconds=62)
    monkeypatch.setattr(concurrency, "get_current_datetime", lambda: later)
    list(execute_concurrency_slots_iteration(context_of(instance), logging.getLogger()))
    assert slots(instance) == 0

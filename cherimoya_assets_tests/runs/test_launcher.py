"""The run launcher: whose name a run carries when, and how a run is interrupted whose code server is gone."""

from __future__ import annotations

import json
import signal
import subprocess
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.events import EngineEventData
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.storage.tags import GRPC_INFO_TAG

from cherimoya_assets.home import Home
from cherimoya_assets.instance import prepare_instance
from cherimoya_assets.runs.launcher import LocalRunLauncher
from cherimoya_assets.runs.run_process import PROCESS_TAG, launch_tag, process_tag


@dg.job
def nothing():
    pass


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    with dg.DagsterInstance.from_config(str(prepare_instance(Home(tmp_path_factory.mktemp("home"))))) as instance:
        launcher = LocalRunLauncher()
        launcher.register_instance(instance)
        yield launcher


@pytest.fixture
def worker():
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def run_in(launcher, status, tags):
    return launcher._instance.create_run_for_job(nothing, status=status, tags=tags)


def begin(launcher, run, pid):
    launcher._instance.report_engine_event(
        f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid)
    )


def test_a_launched_run_has_the_name_of_its_machine_and_then_of_its_process(launcher, worker, monkeypatch):
    """What a retry inherited is gone before the process begins, which may last."""
    run = run_in(launcher, DagsterRunStatus.STARTING, {PROCESS_TAG: "inherited:1:1"})
    seen = []

    def launch_as_dagster_does(self, context):
        seen.append(self._instance.get_run_by_id(run.run_id).tags[PROCESS_TAG])
        begin(self, run, worker.pid)

    monkeypatch.setattr(DefaultRunLauncher, "launch_run", launch_as_dagster_does)
    launcher.launch_run(SimpleNamespace(dagster_run=run))
    assert seen == [launch_tag()[PROCESS_TAG]]
    assert launcher._instance.get_run_by_id(run.run_id).tags[PROCESS_TAG] == process_tag(worker.pid)[PROCESS_TAG]


def test_a_run_whose_code_server_is_gone_is_interrupted_itself(launcher, worker, tmp_path):
    gone = json.dumps({"host": "localhost", "socket": str(tmp_path / "gone")})
    run = run_in(launcher, DagsterRunStatus.STARTED, {**process_tag(worker.pid), GRPC_INFO_TAG: gone})
    begin(launcher, run, worker.pid)
    assert launcher.terminate(run.run_id)
    assert worker.wait() == -signal.SIGINT


def test_a_run_that_is_dead_is_not_interrupted(launcher, worker, tmp_path):
    gone = json.dumps({"host": "localhost", "socket": str(tmp_path / "gone")})
    run = run_in(launcher, DagsterRunStatus.STARTED, {**process_tag(worker.pid), GRPC_INFO_TAG: gone})
    begin(launcher, run, worker.pid)
    worker.kill()
    worker.wait()
    with pytest.raises(Exception, match="Could not reach user code server"):
        launcher.terminate(run.run_id)

"""Runs forked from a warm process: they work, and it is known when they die, are cancelled or cannot start."""

import json
import os
import signal
import subprocess
import sys
import time

import dagster as dg
import pytest
from dagster._core.launcher import LaunchRunContext, WorkerStatus

from cherimoya_assets.errors import CherimoyaAssetsError
from cherimoya_assets.runs import run_workers
from cherimoya_assets.runs.run_process import PROCESS_TAG, process_tag
from cherimoya_assets.steps import STEPS

pytestmark = pytest.mark.slow

WARM = """
import importlib
from cherimoya_assets.runs import run_workers
of_dagster = [name for name in run_workers.IMPORTED if name.startswith("dagster")]
run_workers.import_beforehand = lambda: [importlib.import_module(name) for name in of_dagster]
run_workers.serve()
"""

SETTINGS = """
run_launcher: {module: cherimoya_assets.runs.warm_launcher, class: WarmRunLauncher}
telemetry: {enabled: false}
"""


@dg.op
def says_who_it_is(context: dg.OpExecutionContext) -> None:
    context.log.info(f"process {os.getpid()}, parent {os.getppid()}")


@dg.op
def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dg.op
def takes_long() -> None:
    time.sleep(600)


@dg.job(executor_def=dg.in_process_executor)
def good() -> None:
    says_who_it_is()


@dg.job(executor_def=dg.in_process_executor)
def killed() -> None:
    is_killed()


@dg.job(executor_def=dg.in_process_executor)
def long() -> None:
    takes_long()


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """An instance with the launcher; its forking process imports Dagster alone, which is what these jobs need."""
    folder = tmp_path_factory.mktemp("dagster_home")
    (folder / "dagster.yaml").write_text(SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_workers, "FORKING_PROCESS", (sys.executable, "-W", "ignore", "-c", WARM))
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            yield instance
            instance.run_launcher._workers._process.stdin.close()


def launch(instance: dg.DagsterInstance, job: dg.JobDefinition) -> str:
    origin = dg.reconstructable(job).get_python_origin()
    run = instance.create_run_for_job(job, job_code_origin=origin, status=dg.DagsterRunStatus.STARTING)
    instance.run_launcher.launch_run(LaunchRunContext(run, None))
    return run.run_id


def wait(instance: dg.DagsterInstance, run_id: str, *statuses: dg.DagsterRunStatus) -> dg.DagsterRun:
    until = time.monotonic() + 120
    while (run := instance.get_run_by_id(run_id)).status not in statuses:
        assert time.monotonic() < until, f"the run is {run.status.value}"
        time.sleep(0.05)
    return run


def messages(instance: dg.DagsterInstance, run_id: str) -> str:
    return "\n".join(entry.message for entry in instance.all_logs(run_id))


def test_a_run_succeeds_in_a_process_of_its_own_that_its_tag_names(instance):
    runs = [launch(instance, good), launch(instance, good)]
    found = [wait(instance, run_id, dg.DagsterRunStatus.SUCCESS) for run_id in runs]
    processes = [run.tags[PROCESS_TAG].split(":")[1] for run in found]
    forking = instance.run_launcher._workers._process.pid
    for process, run_id in zip(processes, runs, strict=True):
        assert f"process {process}, parent {forking}" in messages(instance, run_id)
    assert len({*processes, str(os.getpid()), str(forking)}) == 4


def test_a_killed_run_fails_at_once_and_says_by_which_signal(instance):
    run_id = launch(instance, killed)
    wait(instance, run_id, dg.DagsterRunStatus.FAILURE)
    assert "The process that executed this run was killed by signal 9." in messages(instance, run_id)


def test_a_cancelled_run_is_interrupted_and_recorded_as_cancelled(instance):
    run_id = launch(instance, long)
    wait(instance, run_id, dg.DagsterRunStatus.STARTED)
    run = instance.get_run_by_id(run_id)
    assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    assert instance.run_launcher.terminate(run_id)
    wait(instance, run_id, dg.DagsterRunStatus.CANCELED)
    assert not instance.run_launcher.terminate(run_id)


def test_a_run_whose_forking_process_died_goes_on_and_the_next_run_gets_another(instance):
    run_id = launch(instance, long)
    run = wait(instance, run_id, dg.DagsterRunStatus.STARTED)
    forking = instance.run_launcher._workers._process
    forking.kill()
    forking.wait()
    wait(instance, launch(instance, good), dg.DagsterRunStatus.SUCCESS)
    assert instance.run_launcher._workers._process.pid != forking.pid

    worker = int(run.tags[PROCESS_TAG].split(":")[1])
    assert run.tags[PROCESS_TAG] == process_tag(worker)[PROCESS_TAG]
    assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    os.kill(worker, signal.SIGKILL)
    until = time.monotonic() + 60
    while instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_forking_process_that_cannot_begin_is_said(monkeypatch):
    monkeypatch.setattr(run_workers, "FORKING_PROCESS", (sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(CherimoyaAssetsError, match="exit code 3"):
        run_workers.RunWorkers().start(["--version"], lambda code: None)


NEEDED = {
    "bpnetlite.bpnet",
    "cherimoya",
    "figwig.writer",
    "h5py",
    "matplotlib.pyplot",
    "memelite.tomtom",
    "modiscolite.descriptive_report",
    "modiscolite.report",
    "numba",
    "pyarrow.parquet",
    "pyfaidx",
    "scipy.stats",
    "tangermeme.predict",
    "tangermeme.saturation_mutagenesis",
    "tangermeme.seqlet",
    "torch",
}
"""What runs were seen to import, each where it is first needed."""


def test_the_forking_process_imports_what_runs_need_in_one_thread_and_touches_neither_a_gpu_nor_an_experiment(
    tmp_path,
):
    (tmp_path / "added_step.py").write_text("def added(): ...\n")
    script = """
import json, sys, threading, torch
from dataclasses import replace
from cherimoya_assets import steps
from cherimoya_assets.runs.run_workers import import_beforehand
touched = []
for name in ("is_available", "device_count", "_lazy_init"):
    setattr(torch.cuda, name, lambda name=name: touched.append(name) or False)
steps.STEPS = (*steps.STEPS, replace(steps.STEPS[0], name="added", made_by="added_step:added"))
import_beforehand()
print(json.dumps([threading.active_count(), touched, list(sys.modules)]))
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | path)
    threads, touched, modules = json.loads(said.stdout)
    assert (threads, touched) == (1, [])
    named = {place.partition(":")[0] for row in STEPS for place in (row.made_by, row.stored)}
    assert NEEDED | named | {"added_step"} <= {*modules}
    assert "cherimoya_assets.definitions" not in modules

"""Which process executes a run and whether it lives, told from the run's tag and its log; processes are real ones."""

from __future__ import annotations

import os
import subprocess

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.events import EngineEventData

from cherimoya_assets.runs import run_process
from cherimoya_assets.runs.run_process import PROCESS_TAG, Life, launch_tag, life_of, process_tag, run_worker


@dg.job
def nothing():
    pass


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture(scope="module")
def dead():
    """The tag of a process that was there and is gone."""
    process = subprocess.Popen(["sleep", "600"])
    tag = process_tag(process.pid)
    process.kill()
    process.wait()
    return tag


def started(instance, tags):
    return instance.create_run_for_job(nothing, status=DagsterRunStatus.STARTED, tags=tags)


def begin(instance, run, pid):
    """The first line that a run worker writes."""
    instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))


def test_our_own_run_lives(instance):
    assert life_of(instance, started(instance, process_tag())) == Life.ALIVE


def test_a_run_of_a_process_that_ended_is_gone(instance, dead):
    assert life_of(instance, started(instance, dead)) == Life.GONE


def test_a_process_that_ended_and_that_nobody_waits_for_is_gone(instance):
    """A zombie keeps its number: in a container whose first process does not collect them, for ever."""
    process = subprocess.Popen(["sleep", "600"])
    run = started(instance, process_tag(process.pid))
    assert life_of(instance, run) == Life.ALIVE
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert life_of(instance, run) == Life.GONE
    process.wait()


def test_a_later_process_with_the_same_number_is_another(instance):
    host, pid, start = process_tag()[PROCESS_TAG].rsplit(":", 2)
    ticks, _, boot = start.partition("@")
    assert life_of(instance, started(instance, {PROCESS_TAG: f"{host}:{pid}:{int(ticks) - 1}@{boot}"})) == Life.GONE


@pytest.mark.parametrize("tag", [process_tag(), launch_tag()])
def test_nothing_survives_a_boot_of_the_machine(instance, monkeypatch, tag):
    run = started(instance, tag)
    begin(instance, run, os.getpid())
    monkeypatch.setattr(run_process, "_boot", lambda: "another")
    assert life_of(instance, run) == Life.GONE


def test_a_tag_of_an_earlier_version_without_a_boot_is_read(instance):
    tag = process_tag()[PROCESS_TAG].partition("@")[0]
    assert life_of(instance, started(instance, {PROCESS_TAG: tag})) == Life.ALIVE


@pytest.mark.parametrize("tags", [{}, {PROCESS_TAG: "another-host:1:1@abc"}])
def test_of_runs_without_a_tag_and_of_other_machines_nothing_is_known(instance, tags):
    assert life_of(instance, started(instance, tags)) == Life.UNKNOWN


def test_a_launched_run_is_that_of_the_process_that_its_log_names_first(instance, dead):
    run = started(instance, launch_tag())
    assert run_worker(instance, run.run_id) is None
    assert life_of(instance, run) == Life.STARTING
    begin(instance, run, os.getpid())
    begin(instance, run, int(dead[PROCESS_TAG].split(":")[1]))  # a step in a process of its own
    assert run_worker(instance, run.run_id) == os.getpid()
    assert life_of(instance, run) == Life.ALIVE


def test_a_launched_run_whose_worker_died_is_gone(instance, dead):
    run = started(instance, launch_tag())
    begin(instance, run, int(dead[PROCESS_TAG].split(":")[1]))
    assert life_of(instance, run) == Life.GONE

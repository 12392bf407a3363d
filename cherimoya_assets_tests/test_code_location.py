"""What a code location takes from whoever hosts it, and that building one changes nothing else."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import dagster as dg
import pytest

from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.resources.gpu import GPUResource
from cherimoya_assets.runs.pool_waiting import sleeping_executor
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

TAGS = {"dagster-k8s/config": '{"container_config": {}}', "team": "chromatin"}


class Watched(GPUResource):
    """Says which devices were leased."""

    @contextmanager
    def lease(self, requested, log):
        LEASED.append(requested)
        with super().lease(requested, log) as device:
            yield device


LEASED: list[str] = []


@pytest.fixture
def experiment(tmp_path):
    return read_experiment(tiny_experiment(tmp_path, {"automation": "eager"}))


FRESH_PROCESS = """
import logging, os, sys, warnings
from pathlib import Path
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment

def surroundings():
    waiting = InstanceConcurrencyContext.interval_to_next_pending_claim_check
    handlers = list(logging.root.handlers), list(logging.getLogger("cherimoya_assets").handlers)
    return waiting, dict(os.environ), list(warnings.filters), handlers, logging.root.level, os.getcwd(), sys.excepthook

experiment, before = read_experiment(Path(sys.argv[1])), surroundings()
build_defs([experiment], Path(sys.argv[2])).resolve_all_job_defs()
assert surroundings() == before, (before, surroundings())
"""


@pytest.mark.slow
def test_building_definitions_changes_nothing_in_the_process(experiment, tmp_path):
    command = [sys.executable, "-c", FRESH_PROCESS, str(experiment.source), str(tmp_path / "home")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_process_sleeps_while_waiting_from_when_it_executes_a_run(experiment, tmp_path):
    assert build_defs([experiment], tmp_path / "home").executor is sleeping_executor


def test_executor_tags_and_resources_come_from_outside(experiment, tmp_path):
    LEASED.clear()
    defs = build_defs(
        [experiment],
        tmp_path / "home",
        executor=dg.multiprocess_executor,
        tags=TAGS,
        resources={"gpu": Watched(), "of_theirs": dg.ResourceDefinition.hardcoded_resource(1)},
    )
    dg.Definitions.validate_loadable(defs)
    jobs = [job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")]
    assert len(jobs) == 5
    for job in jobs:
        assert TAGS.items() <= job.tags.items()
        assert job.tags["experiment"] == "tiny"
    assert {job.executor_def for job in jobs if "reprocess" not in job.name} == {dg.multiprocess_executor}
    (automation,) = [one for one in defs.sensors if isinstance(one, dg.AutomationConditionSensorDefinition)]
    assert TAGS.items() <= automation.run_tags.items()
    (observing,) = [one for one in defs.sensors if one is not automation]
    with dg.build_sensor_context(definitions=defs) as context:
        (request,) = observing.evaluate_tick(context).run_requests
    assert TAGS.items() <= request.tags.items()
    assert defs.resources["of_theirs"] is not None
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("tiny__1_attribution")
        assert job.execute_in_process(partition_key="chrC", instance=instance).success
        (run,) = instance.get_runs()
    assert TAGS.items() <= run.tags.items()
    assert LEASED == ["cpu"]

"""Who waits for a device says so in the log of its run; the walk hands it on to who looks on."""

from types import SimpleNamespace

import dagster as dg

from cherimoya_assets.resources.leases import WAITING
from cherimoya_assets.walk import _Walker


@dg.op
def waits(context: dg.OpExecutionContext):
    context.log.info("something else")
    context.log.info(f"{WAITING} since 0 s: GPU-a is held by pid 12")


@dg.job
def waiting():
    waits()


def test_who_looks_on_hears_what_is_waited_for():
    heard: list[str] = []
    watcher = SimpleNamespace(waits=heard.append, step_begins=lambda keys: None)
    walker = SimpleNamespace(watcher=watcher, _keys_of_step=lambda step: set())
    run_id = "0c9f5b7e-0000-4000-8000-000000000000"
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_event_listener(run_id, lambda entry: _Walker._tell_step(walker, entry))
        assert waiting.execute_in_process(instance=instance, run_id=run_id).success
    assert heard == [f"{WAITING} since 0 s: GPU-a is held by pid 12"]

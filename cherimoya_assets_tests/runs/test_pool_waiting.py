"""A run that waits for a place in a pool looks now and then, and sleeps in between."""

from __future__ import annotations

import inspect
import threading

import dagster as dg
import pytest
from dagster._core.execution.plan import instance_concurrency_context
from dagster._core.execution.plan.active import ActiveExecution

from cherimoya_assets.runs.pool_waiting import sleep_while_waiting


@pytest.mark.slow
def test_a_run_sleeps_while_another_has_the_place(tmp_path, monkeypatch):
    sleep_while_waiting()

    @dg.asset(pool="gpu")
    def pooled() -> int:
        return 1

    (tmp_path / "dagster.yaml").write_text("concurrency: {pools: {default_limit: 1, granularity: op}}\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        storage, looks, look = instance.event_log_storage, [], ActiveExecution.get_next_step
        storage.initialize_concurrency_limit_to_default("gpu")
        assert storage.claim_concurrency_slot("gpu", "another run", "its step").is_claimed

        def looks_once_more(execution):
            looks.append(found := look(execution))
            if len(looks) == 1:
                threading.Timer(0.3, storage.free_concurrency_slots_for_run, ["another run"]).start()
            return found

        monkeypatch.setattr(ActiveExecution, "get_next_step", looks_once_more)
        assert dg.materialize([pooled], instance=instance).success
    assert looks[0] is None
    assert len(looks) < 10


def test_dagster_itself_does_not_sleep_yet():
    # When this fails, `pool_waiting.py` can go, and its call in `build.py`.
    text = inspect.getsource(instance_concurrency_context)
    assert "return min([0, *[ready_at - now for ready_at in self._pending_timeouts.values()]])" in text

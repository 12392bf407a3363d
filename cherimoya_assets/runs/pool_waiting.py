"""A run that waits for a place in a pool sleeps.

What belongs here: one corrected line of Dagster. What does not: pools and their limits.

In Dagster 1.13.27 a run whose step waits for a place in its pool asks for the time until it should look again, and the
answer is the smallest of zero and that time. So it never sleeps: every waiting run takes a whole core for as long as
somebody else has the GPU, which may be hours (seen in a profile: 20,000 looks a second; proposed and closed unmerged as
dagster-io/dagster pull request 20367). The test beside this module says when Dagster has fixed it itself.
"""

from __future__ import annotations

import time

from dagster import Executor, ExecutorDefinition, InitExecutorContext, in_process_executor
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext


def sleep_while_waiting() -> None:
    """Make runs of this process sleep until they should look again, in steps of Dagster's own: from 1 to 15 s."""
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = _seconds_to_next_look  # type: ignore[method-assign, assignment]


def _sleeping(context: InitExecutorContext) -> Executor:
    sleep_while_waiting()
    create = in_process_executor.executor_creation_fn
    assert create is not None
    return create(context)


sleeping_executor = ExecutorDefinition(
    "in_process",
    config_schema=in_process_executor.config_schema.as_field(),
    executor_creation_fn=_sleeping,
    description="Dagster's executor in the run's own process, which begins by teaching that process to sleep.",
)


def _seconds_to_next_look(waiting: InstanceConcurrencyContext) -> float:
    now = time.time()
    # A claim that was just refused has a time; one without is due now.
    return max(0.0, min((ready - now for ready in waiting._pending_timeouts.values()), default=0.0))

"""Declarative automation: what makes an asset ask to be recomputed, and the sensor that listens.

What belongs here: conditions and the sensor. What does not: which assets there are (`build.py`).

Dagster's `eager()` alone fires on an identical recomputation, ignores code versions, and pools old with new data after
a chromosome failed. The conditions here look at data versions and code versions and wait for failed parents.
The sensor is off until somebody turns it on.
"""

from __future__ import annotations

import dagster as dg


def reprocess_when_changed() -> dg.AutomationCondition:
    """New upstream content, or a new code version, with every parent there, none failed and nothing in progress."""
    condition = dg.AutomationCondition
    new_data = condition.eager().replace("newly_updated", condition.data_version_changed())
    new_code = condition.code_version_changed().since_last_handled()
    ready = ~condition.any_deps_missing() & ~condition.any_deps_match(condition.execution_failed())
    return (new_data | (new_code & ~condition.in_progress())) & ready


def reprocessing_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions of every asset; stopped until it is turned on in the UI."""
    return dg.AutomationConditionSensorDefinition(
        "reprocess_when_changed",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.STOPPED,
    )

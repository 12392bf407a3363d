"""A row of the lineage's table changed for a test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cherimoya_assets import steps


def change_step(monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> None:
    """From now on, for experiments that are looked at anew."""
    rows = tuple(replace(row, **changes) if row.name == name else row for row in steps.STEPS)
    monkeypatch.setattr(steps, "STEPS", rows)

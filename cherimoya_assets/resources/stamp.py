"""The stamp: how a stored value was made, from what, by which code, when and where.

What belongs here: its parts, and reading one that anybody can have written. What does not: filling it
(`assets/lineage.py`, `assets/landing.py`) and what it means for freshness (`assets/drift.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

FORMAT = 1
"""Raised when a part changes its meaning. Stamps from before there was a number have the same parts."""


class Stamp(BaseModel):
    """How a partition was made.

    Attributes:
        format: of the stamp. experiment, experiment_file, home: whose it is.
        step, step_version: the row of `steps.py`. code_version: what Dagster knew the asset by.
        inputs: what it was made from, name to version. upstream: the same of everything above it.
        parameters: those of the row, and what was measured on the way.
        device, platform, packages: where and with what it was computed.
        asset, partition, run_id, made, command: this very run, and the command that makes it again.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = FORMAT
    experiment: str = ""
    experiment_file: str = ""
    home: str = ""
    step: str = ""
    step_version: int = 0
    code_version: str | None = None
    inputs: Mapping[str, str] = {}
    upstream: Mapping[str, str] = {}
    parameters: Mapping[str, Any] = {}
    device: str = ""
    platform: str = ""
    packages: Mapping[str, str] = {}
    asset: str = ""
    partition: str | None = None
    run_id: str = ""
    made: str = ""
    command: str = ""

    @classmethod
    def read(cls, raw: object) -> Self:
        """A stamp as it is stored, without parts of another kind: anybody can have written it."""
        if not isinstance(raw, Mapping):
            return cls()
        try:
            return cls.model_validate(raw, strict=True)
        except ValidationError as error:
            foreign = {detail["loc"][0] for detail in error.errors()}
            return cls.model_validate({name: value for name, value in raw.items() if name not in foreign})

    @property
    def recorded(self) -> dict[str, Any]:
        """The parts that were recorded, for JSON; none of a value that was stored without a stamp."""
        return self.model_dump(exclude_unset=True)

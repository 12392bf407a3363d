"""Parameters as an experiment file has them: what is unknown is refused, and text is never taken for a number.

What belongs here: what every group of parameters shares. What does not: a group (`experiment/model.py`, and each method
of attribution beside its science).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

Positive = Annotated[int, Field(gt=0, lt=2**31)]
Unsigned = Annotated[int, Field(ge=0, lt=2**32)]
"""As far as a seed of NumPy goes; what is counted or measured in bp is far below."""


class Section(BaseModel):
    """Unknown keys are errors, nothing changes after reading, and text is never taken for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, info: Any) -> Any:
        # YAML has read `512` as a number already: text here was quoted or mistyped, and `true` is not 1.
        annotation = str(cls.model_fields[info.field_name].annotation)
        numeric = "int" in annotation or "float" in annotation
        if numeric and isinstance(value, str) and "Literal" not in annotation:
            raise ValueError(f"a number is needed, not the text {value!r}")
        if numeric and isinstance(value, bool):
            raise ValueError(f"a number is needed, not {str(value).lower()}")
        return value

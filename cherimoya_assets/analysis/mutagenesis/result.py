"""What a mutagenesis engine gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MutagenesisResult:
    """Hypothetical scores of each head and how they were computed.

    Attributes:
        scores: head to float32, (n, 4, width), centred over the alphabet.
        engine: "tangermeme" or "windowed".
        report: plain numbers and words about the computation (measured error, what went another way and why).
    """

    scores: Mapping[str, NDArray[np.float32]]
    engine: str
    report: Mapping[str, float | int | str] = field(default_factory=dict)

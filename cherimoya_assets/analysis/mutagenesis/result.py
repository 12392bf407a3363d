"""What a mutagenesis engine gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MutagenesisResult:
    """Attributions of one model and how they were computed.

    Attributes:
        scores: head to float32 (n, 4, end - start), hypothetical, centred over A, C, G, T.
        engine: "tangermeme" or "windowed".
        report: numbers and words about the computation (measured error, what went another way and why), for JSON.
    """

    scores: Mapping[str, NDArray[np.float32]]
    engine: str
    report: Mapping[str, float | int | str]

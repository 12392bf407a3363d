"""A method of attribution: its parameters, what it needs of a model, how it goes through loci, what is checked of it.

What belongs here: the face of every method. What does not: a method, and which ones there are (`methods.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, collect
from cherimoya_assets.section import Section

if TYPE_CHECKING:
    from cherimoya_assets.analysis.sequence_model import SequenceModel


@dataclass(frozen=True)
class Verdict:
    """What a check found: its name, whether it passed, and what was seen."""

    name: str
    passed: bool
    seen: str


@dataclass(frozen=True)
class Asked:
    """What is asked of every sequence.

    Attributes:
        start, end: positions in the sequence, 0-based and half-open.
        outputs: heads, of "counts" and "profile". group: the model's signal group, or None for all of them.
    """

    start: int
    end: int
    outputs: tuple[str, ...]
    group: int | None

    def shape(self, n: int) -> tuple[int, int, int]:
        """Of one head's scores of `n` sequences."""
        return n, 4, self.end - self.start


class LocusEngine(Protocol):
    """A method and a model, ready for sequences.

    Attributes:
        name, version: of what computes; the version is raised whenever the same sequences get other numbers.
        alone: whether every sum stays in one thread, so that sequences are computed side by side on a CPU, and the
            number of threads changes nothing.
    """

    name: str
    version: int
    alone: bool

    def each_locus(self, X: NDArray[np.int8], asked: Asked, stretch: int | None = None) -> LocusByLocus:
        """Hypothetical attributions of sequences (n, 4, L), handed over while they are computed.

        With `stretch`, no locus is begun before the stretch of so many before it is done.
        """


class AttributionMethod(Section, ABC):
    """A method with its parameters, which are its fields.

    An experiment file has them at its first level, under the fields' names or what `keys` calls them.

    Attributes:
        name: what an experiment calls it in `algorithm`. title: what a reader calls it.
        keys: names of fields in an experiment file, where they are others.
        undecisive: fields that decide no number, and are part of no code version.
        checks: names of what `verdicts` checks, beside what is checked of every method.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    keys: ClassVar[Mapping[str, str]] = {}
    undecisive: ClassVar[frozenset[str]] = frozenset()
    checks: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def key(cls, field: str) -> str:
        """What an experiment file calls a field."""
        return cls.keys.get(field, field)

    @property
    def decisive(self) -> dict[str, Any]:
        """The parameters that decide numbers, by their names in an experiment file."""
        return {
            self.key(field): getattr(self, field) for field in type(self).model_fields if field not in self.undecisive
        }

    def check(self, model: SequenceModel, outputs: Sequence[str], group: int | None, dtype: str) -> None:
        """Raise ModelError where the method cannot attribute these heads of this model."""

    @abstractmethod
    def engine(
        self, model: SequenceModel, *, length: int, batch_size: int | None, dtype: str, device: str
    ) -> LocusEngine:
        """What attributes sequences of `length` bp.

        Args:
            batch_size: how much is computed together, where that matters; None takes what suits the device.
            dtype: the name of a torch dtype. device: where to compute.
        """

    def verdicts(self, head: str, scores: NDArray[np.float32], folds: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
        """The method's `checks` of the mean over folds, (n, 4, width), and of what each fold's computation reported."""
        return []

    def facts(self, head: str, folds: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        """What of the folds' reports is worth following over time."""
        return {}

    def attribute(
        self,
        model: SequenceModel,
        X: NDArray[np.int8],
        start: int,
        end: int,
        outputs: Sequence[str] = ("counts", "profile"),
        *,
        group: int | None = 0,
        batch_size: int | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """Hypothetical contributions of the positions `[start, end)` of every sequence, by one model.

        Args:
            model: the model, loaded.
            X: int8 (n, 4, L), one-hot without unknown bases; n may be 0.
            start, end: positions in the sequence, 0-based and half-open.
            outputs: "counts", "profile" or both.
            group: the model's signal group, or None for all of them.
            batch_size, dtype, device: as in `engine`.
            progress: called with (loci done, loci in all) after each locus.

        Returns:
            Head to float32 (n, 4, end - start), and what the computation says of itself, plain numbers and words. The
            scores do not depend, bit for bit, on which other sequences are in `X`.

        Raises:
            ModelError: the method cannot attribute these heads of this model.
            DeviceError: the device has not the memory for the smallest step.
        """
        self.check(model, outputs, group, dtype)
        engine = self.engine(model, length=X.shape[2], batch_size=batch_size, dtype=dtype, device=device)
        asked = Asked(start, end, tuple(outputs), group)
        return collect(engine.each_locus(X, asked), asked.shape(len(X)), outputs, progress)

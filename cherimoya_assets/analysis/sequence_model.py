"""A trained model behind one face, whatever its family: what it predicts, and what of its outputs is attributed.

What belongs here: what all families share, and what each has to say of itself. What does not: a family
(`cherimoya_model.py`, `bpnet_model.py`), opening files (`models.py`), attributing (`methods.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.memory import forward_batch_size
from cherimoya_assets.errors import ModelError

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.mutagenesis.engines import Engine

DTYPES = ("float32", "bfloat16", "float16")
"""What torch's autocast can do with these models. float64 it cannot: parts of them are written in float32."""


@dataclass(frozen=True)
class SequenceModel(ABC):
    """A loaded model in evaluation mode. A family is a class under this one.

    Attributes:
        module: the model itself, on its device.
        signal_groups: channels of each signal group (BPNet: one group of all). n_control_tracks: control channels.
        trimming: bp that the profile is shorter than the input on each side.
        path, fingerprint: the file and the sha256 of its bytes.

        kind: what an experiment calls the family. pickled: whether opening a file executes code of it.
        matmul_precision: of float32 matrices on a GPU, as the family's own command line has it.
        deep_lift_dtypes: what an experiment can ask its DeepLIFT/SHAP to compute in; empty where it has none.
        deep_lift_float64: the heads whose DeepLIFT/SHAP is float64 all the same, as in the family's own command.
        read_by_cherimoya: whether the command `cherimoya` reads its files.
    """

    module: torch.nn.Module
    signal_groups: tuple[int, ...]
    n_control_tracks: int
    trimming: int
    path: Path
    fingerprint: str

    kind: ClassVar[str]
    pickled: ClassVar[bool]
    matmul_precision: ClassVar[str]
    deep_lift_dtypes: ClassVar[tuple[str, ...]] = DTYPES
    deep_lift_float64: ClassVar[frozenset[str]] = frozenset()
    read_by_cherimoya: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def opened(cls, path: Path, content: bytes, fingerprint: str, device: str) -> Self:
        """The model in the bytes of a file. Of a pickled family they are those that the experiment trusts.

        Raises:
            ModelError: damaged, of another family, or with weights that are not finite.
        """

    @abstractmethod
    def with_controls(self) -> torch.nn.Module:
        """The model with its control tracks set to zero.

        Takes (n, 4, L); gives profile logits (n, channels, output length) and log counts (n, groups).
        """

    @abstractmethod
    def counts_wrapper(self, group: int | None, inner: torch.nn.Module | None = None) -> torch.nn.Module:
        """The field's wrapper of the counts head: sequence in, log counts out.

        Args:
            group: index of the signal group: (n, 1) out; None: of all, (n, groups). BPNet and ChromBPNet have one.
            inner: what predicts logits and log counts; None for the model, `with_controls()`.
        """

    @abstractmethod
    def profile_wrapper(self, group: int | None, inner: torch.nn.Module | None = None) -> torch.nn.Module:
        """The field's wrapper of the profile head: sequence in, (n, 1) out.

        The score is the sum of the mean-centred logits, each weighted by its softmax, over the channels and positions
        of a signal group (None: of all together). Arguments as in `counts_wrapper`.
        """

    @abstractmethod
    def windowed_engine(self, *, length: int, tolerance: float, batch_size: int | None, device: str) -> Engine | None:
        """What computes float32 mutagenesis on windows around the edits; None where this model has to be dense."""

    @abstractmethod
    def deep_lift_shap(
        self,
        X: torch.Tensor,
        head: str,
        *,
        group: int | None,
        batch_size: int,
        dtype: str,
        device: str,
        n_shuffles: int,
        random_state: int,
        warning_threshold: float | None,
    ) -> torch.Tensor:
        """tangermeme's hypothetical DeepLIFT/SHAP of one head, (n, 4, L), with the family's own rules."""

    def fast_deep_lift_shap(
        self,
        head: str,
        *,
        group: int | None,
        dtype: str,
        device: str,
        n_shuffles: int,
        random_state: int,
        warning_threshold: float | None,
    ) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """The same of one sequence, by a faster path; None where the family has none."""
        return None

    def output_length(self, in_window: int) -> int:
        """Width of the profile, in bp, of an input of `in_window` bp."""
        return in_window - 2 * self.trimming

    def check_window(self, in_window: int, out_window: int | None = None) -> None:
        """Raise ModelError where an input of `in_window` bp does not fit, or gives another profile than promised."""
        length = self.output_length(in_window)
        if length <= 0:
            raise ModelError(
                f"{self.path.name}: trims {self.trimming} bp on each side, so an in_window of {in_window} leaves no "
                f"profile. Set in_window to the one that it was trained with (more than {2 * self.trimming})."
            )
        if out_window is not None and length != out_window:
            raise ModelError(
                f"{self.path.name}: gives a profile of {length} bp for in_window {in_window} (it trims {self.trimming} "
                f"on each side), but out_window says {out_window}. With out_window {out_window} it was trained at "
                f"in_window {out_window + 2 * self.trimming}. Correct in_window or out_window, or name the right model."
            )

    def check_group(self, group: int | None) -> None:
        """Raise ModelError where there is no such signal group."""
        if group is not None and not 0 <= group < len(self.signal_groups):
            raise ModelError(
                f"{self.path.name}: has {len(self.signal_groups)} signal group(s), so there is no group {group}. "
                "Groups count from 0."
            )

    def check_dtype(self, dtype: str) -> None:
        """Raise ModelError where the model cannot compute in `dtype`, the name of a torch dtype."""
        if dtype not in DTYPES:
            raise ModelError(
                f"{self.path.name}: cannot compute in {dtype}; a {self.kind} normalises, averages and stores its "
                f"weights in float32. Set dtype to one of {', '.join(DTYPES)}."
            )

    def score_wrapper(self, heads: Sequence[str], group: int | None) -> torch.nn.Module:
        """Sequence in; the scores of several heads out, a list in their order, from one forward pass of the model."""
        import torch

        class Predicted(torch.nn.Module):
            """Stands where the field's wrappers expect a model, and hands on a prediction that has been made."""

            def __init__(self, signal_groups: Sequence[int]) -> None:
                super().__init__()
                self.signal_groups = list(signal_groups)

            def forward(self, prediction: Any, X_ctl: None = None) -> Any:
                return prediction

        class Scores(torch.nn.Module):
            def __init__(self, predict: torch.nn.Module, heads: Sequence[torch.nn.Module]) -> None:
                super().__init__()
                self.predict = predict
                self.heads = torch.nn.ModuleList(heads)

            def forward(self, X: torch.Tensor) -> list[torch.Tensor]:
                prediction = self.predict(X)
                return [head(prediction) for head in self.heads]

        wrap = {"counts": self.counts_wrapper, "profile": self.profile_wrapper}
        predicted = Predicted(self.signal_groups)
        return Scores(self.with_controls(), [wrap[head](group, predicted) for head in heads]).eval()

    def predict(self, X: NDArray[np.int8]) -> tuple[torch.Tensor, torch.Tensor]:
        """Profile logits (n, channels, output length) and log counts (n, groups) of int8 (n, 4, L), n > 0, float32.

        Controls are zero; one forward pass, on the model's device.
        """
        import torch

        device = next(self.module.parameters()).device
        with self.numerics(), torch.no_grad():
            logits, log_counts = self.with_controls()(torch.from_numpy(X).to(device).float())
        return logits, log_counts

    def check_prediction(self, X: NDArray[np.int8], dtype: str) -> None:
        """Predict one sequence, and raise ModelError where that fails or is not what the model says of itself.

        Args:
            X: int8 (1, 4, L), one-hot. dtype: the name of the torch dtype that it is to compute in.
        """
        import torch

        length, device = X.shape[2], next(self.module.parameters()).device
        half = torch.autocast(device.type, dtype=getattr(torch, dtype), enabled=dtype != "float32")
        try:
            with self.numerics(), torch.no_grad(), half:
                logits, log_counts = self.with_controls()(torch.from_numpy(X).to(device).float())
            found = tuple(logits.shape), tuple(log_counts.shape)
            finite = bool(logits.isfinite().all() and log_counts.isfinite().all())
        except Exception as error:  # whatever the module's own code raises; all mean the same to the reader
            raise ModelError(
                f"{self.path.name}: cannot predict a locus of {length} bp ({first_line(error)}). Name a {self.kind} "
                "that its own library predicts with."
            ) from error
        expected = (1, sum(self.signal_groups), self.output_length(length)), (1, len(self.signal_groups))
        if found != expected:
            raise ModelError(
                f"{self.path.name}: predicts a profile of shape {found[0]} and log counts of {found[1]} of a locus of "
                f"{length} bp, where a {self.kind} with its groups and trimming has {expected[0]} and {expected[1]}. "
                "Name another model."
            )
        if not finite:
            cure = "Name another model" if dtype == "float32" else "Set dtype to float32"
            raise ModelError(f"{self.path.name}: predicts NaN or infinity of a locus in {dtype}. {cure}.")

    def batch_size(self, length: int, device: str) -> int:
        """Sequences of `length` bp that a forward pass takes at a time on the device."""
        return forward_batch_size(self.module, length, device)

    @contextmanager
    def numerics(self) -> Iterator[None]:
        """Torch's switches as the model's own command line has them, for the time of a `with` block.

        `import cherimoya` lets GPUs multiply float32 matrices in TF32 and choose convolutions by a stopwatch, for the
        whole process: a BPNet's numbers would depend on whether cherimoya was imported before, and any model's on
        which convolution won. Here Cherimoya has TF32, as in `cherimoya attribute`, and the bpnet-lite models have
        torch's default; convolutions are chosen by rule and without atomic adds. On a CPU none of these changes a
        number.

        What does on a CPU is how many threads share a sum. numba, which tangermeme and memelite read and match with,
        sets OpenMP's number for the whole process, torch's too: a chromosome that came after such a call would differ
        in its last bits. So the number is the one that torch had when the first model was opened.
        """
        import torch

        cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
        benchmark, deterministic = cudnn.benchmark, cudnn.deterministic
        threads = torch.get_num_threads()
        torch.set_num_threads(threads_at_first())
        torch.set_float32_matmul_precision(self.matmul_precision)
        cudnn.benchmark, cudnn.deterministic = False, True
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
            cudnn.benchmark, cudnn.deterministic = benchmark, deterministic
            torch.set_num_threads(threads)


@cache
def threads_at_first() -> int:
    """Torch's number of threads when this was first asked."""
    import torch

    return int(torch.get_num_threads())


def check_folds(models: Mapping[str, SequenceModel], in_window: int) -> None:
    """Raise ModelError where two folds do not predict the same things of an input of `in_window` bp.

    Attributions are a mean over folds, so each fold must have the same signal groups and a profile of the same length.
    """
    (first, one), *others = models.items()
    for fold, other in others:
        for what, a, b in (
            ("channels in its signal groups", list(one.signal_groups), list(other.signal_groups)),
            ("bp of profile", one.output_length(in_window), other.output_length(in_window)),
        ):
            if a != b:
                raise ModelError(
                    f"The folds {first} ({one.path.name}) and {fold} ({other.path.name}) do not predict the same: of "
                    f"an in_window of {in_window} the one has {a} {what}, the other {b}, and attributions are the mean "
                    "of both. Name folds of one model, or write an experiment for each."
                )


def check_weights(path: Path, module: torch.nn.Module) -> None:
    """Training that diverged saves NaN, and every attribution would be NaN."""
    for name, tensor in module.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise ModelError(f"{path.name}: {name} holds NaN or infinity; its training diverged. Name another model.")


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

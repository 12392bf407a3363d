"""Trained models: opened safely, checked against the experiment's windows, wrapped as the field wraps them.

What lives here: Cherimoya, BPNet and ChromBPNet behind one face. What must not: attributing them.

A Cherimoya checkpoint is opened with `weights_only=True` and can execute nothing. bpnet-lite saves whole pickled
modules, which execute code when opened: such a file is opened only when the experiment calls it trusted and names its
sha256, and then from the very bytes that were hashed.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cherimoya_assets.analysis.memory import forward_batch_size
from cherimoya_assets.errors import ModelError

if TYPE_CHECKING:
    import torch


class ModelFileLike(Protocol):
    """What an experiment says about a model file."""

    @property
    def path(self) -> Path: ...
    @property
    def kind(self) -> str: ...
    @property
    def trusted(self) -> bool: ...
    @property
    def sha256(self) -> str | None: ...


@dataclass(frozen=True)
class SequenceModel:
    """A loaded model in evaluation mode.

    Attributes:
        kind: "cherimoya", "bpnet" or "chrombpnet". module: the model itself, on its device.
        signal_groups: channels of each signal group (BPNet: one group of all). n_control_tracks: control channels.
        trimming: bp that the profile is shorter than the input on each side.
        path, fingerprint: the file and the sha256 of its bytes.
    """

    kind: str
    module: torch.nn.Module
    signal_groups: tuple[int, ...]
    n_control_tracks: int
    trimming: int
    path: Path
    fingerprint: str

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
                f"in_window {out_window + 2 * self.trimming}. Mend in_window or out_window, or name the right model."
            )

    def check_group(self, group: int | None) -> None:
        """Raise ModelError where there is no such signal group."""
        if group is not None and group >= len(self.signal_groups):
            raise ModelError(
                f"{self.path.name}: has {len(self.signal_groups)} signal group(s), so there is no group {group}. "
                "Groups count from 0."
            )

    def with_controls(self) -> torch.nn.Module:
        """The model with its control tracks set to zero: sequence in, (profile logits, log counts) out."""
        if self.kind == "cherimoya":
            from cherimoya import ControlWrapper

            wrapped: torch.nn.Module = ControlWrapper(self.module)
            return wrapped.eval()
        from bpnetlite.bpnet import ControlWrapper as BPNetControlWrapper

        wrapped = BPNetControlWrapper(self.module)
        return wrapped.eval()

    def head_wrapper(self, head: str, group: int | None, base: torch.nn.Module | None = None) -> torch.nn.Module:
        """The field's own wrapper of a head: sequence in, its score out.

        Args:
            head: "counts" (LogCountWrapper: (n, 1) log counts, (n, groups) for `group=None`) or "profile"
                (ProfileWrapper: (n, 1), the softmax-weighted sum of the mean-centred logits).
            group: index of the signal group, or None. BPNet and ChromBPNet have one.
            base: what predicts (logits, log counts); None for `with_controls()`.
        """
        inner = self.with_controls() if base is None else base
        if self.kind == "cherimoya":
            from cherimoya import LogCountWrapper, ProfileWrapper

            wrapper = LogCountWrapper if head == "counts" else ProfileWrapper
            wrapped: torch.nn.Module = wrapper(inner, group=group)
            return wrapped.eval()
        from bpnetlite.bpnet import CountWrapper
        from bpnetlite.bpnet import ProfileWrapper as BPNetProfileWrapper

        wrapped = CountWrapper(inner) if head == "counts" else BPNetProfileWrapper(inner)
        return wrapped.eval()

    def score_wrapper(self, heads: Sequence[str], group: int | None) -> torch.nn.Module:
        """A module that gives a list with the score of every head, from one forward pass of the model."""
        import torch

        model = self

        class Given(torch.nn.Module):
            """Stands for the model in the field's wrappers and hands them a prediction that is already there."""

            def __init__(self) -> None:
                super().__init__()
                self.signal_groups = list(model.signal_groups)
                self.prediction: Any = None

            def forward(self, X: torch.Tensor, X_ctl: torch.Tensor | None = None) -> Any:
                return self.prediction

        class Heads(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.base = model.with_controls()
                self.given = Given()
                self.heads = torch.nn.ModuleList([model.head_wrapper(head, group, self.given) for head in heads])

            def forward(self, X: torch.Tensor) -> list[torch.Tensor]:
                self.given.prediction = self.base(X)
                return [head(X) for head in self.heads]

        return Heads().eval()

    def batch_size(self, length: int, device: str) -> int:
        """Sequences of `length` bp that a forward pass takes at a time on the device."""
        return forward_batch_size(self.module, length, device)

    def numerics(self) -> AbstractContextManager[None]:
        return nullcontext()


def load_model(file: ModelFileLike, device: str = "cpu") -> SequenceModel:
    """Open a model file without executing anything that is not trusted.

    Raises:
        ModelError: missing, damaged, of another kind, or pickled and not trusted; says what to do.
    """
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{file.path}: cannot be read ({error.strerror}). Restore it or mend `model` in the experiment file."
        ) from error
    fingerprint = hashlib.sha256(content).hexdigest()
    if file.sha256 is not None and file.sha256 != fingerprint:
        raise ModelError(
            f"{file.path.name}: its sha256 is {fingerprint}, but the experiment file says {file.sha256}. "
            "The file is not the one that was meant; restore it, or correct the sha256 if you trust it."
        )
    if file.kind == "cherimoya":
        return _cherimoya(file.path, content, fingerprint, device)
    if not file.trusted or file.sha256 is None:
        raise ModelError(
            f"{file.path.name}: {file.kind} files are pickled Python and can execute code when opened. If you trust "
            f"where it came from, write `trusted: true` and `sha256: {fingerprint}` beside its path."
        )
    return _pickled(file.kind, file.path, content, fingerprint, device)


def _cherimoya(path: Path, content: bytes, fingerprint: str, device: str) -> SequenceModel:
    import pickle

    import torch
    from cherimoya import Cherimoya

    hint = "Name a checkpoint that `Cherimoya.save` wrote"
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ModelError(f"{path.name}: is damaged, cut short, or not a PyTorch checkpoint. {hint}.")
    try:
        payload = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name}: holds pickled Python, not only weights, and was not opened. {hint}; for a BPNet or "
            "ChromBPNet set `kind`, `trusted` and `sha256`."
        ) from error
    except Exception as error:  # torch names damage in many ways; all mean the same to the reader
        raise ModelError(f"{path.name}: is damaged ({_first_line(error)}). {hint}.") from error
    if not isinstance(payload, dict) or not {"config", "state_dict"} <= set(payload):
        raise ModelError(f"{path.name}: has no Cherimoya configuration in it. {hint}.")
    try:
        module = Cherimoya(**payload["config"], compile=False)
        module.load_state_dict(payload["state_dict"])
    except Exception as error:
        raise ModelError(f"{path.name}: its weights do not fit its configuration ({_first_line(error)}).") from error
    return SequenceModel(
        "cherimoya",
        module.to(device).eval(),
        tuple(module.signal_groups),
        module.n_control_tracks,
        module.trimming,
        path,
        fingerprint,
    )


def _pickled(kind: str, path: Path, content: bytes, fingerprint: str, device: str) -> SequenceModel:
    import torch
    from bpnetlite.bpnet import BPNet
    from bpnetlite.chrombpnet import ChromBPNet

    try:
        # Trusted by the experiment, and these are the bytes whose sha256 it names.
        module: Any = torch.load(io.BytesIO(content), map_location=device, weights_only=False)
    except Exception as error:
        raise ModelError(f"{path.name}: is damaged, or not a {kind} model ({_first_line(error)}).") from error
    expected = BPNet if kind == "bpnet" else ChromBPNet
    if not isinstance(module, expected):
        raise ModelError(f"{path.name}: holds a {type(module).__name__}, but `kind` says {kind}. Mend `kind`.")
    inner = module if kind == "bpnet" else module.accessibility
    return SequenceModel(
        kind,
        module.to(device).eval(),
        (int(module.n_outputs),),
        int(module.n_control_tracks),
        int(inner.trimming),
        path,
        fingerprint,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

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
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.memory import forward_batch_size
from cherimoya_assets.errors import ModelError

if TYPE_CHECKING:
    import torch

LOCAL_FILE = b"PK\x03\x04"
"""How a zip archive begins that has something in it."""

DTYPES = ("float32", "bfloat16", "float16")
"""What torch's autocast can do with these models. float64 it cannot: parts of them are written in float32."""


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

    def with_controls(self) -> torch.nn.Module:
        """The model with its control tracks set to zero.

        Takes (n, 4, L); gives profile logits (n, channels, output length) and log counts (n, groups).
        """
        if self.kind == "cherimoya":
            from cherimoya import ControlWrapper

            wrapped: torch.nn.Module = ControlWrapper(self.module)
        else:
            from bpnetlite.bpnet import ControlWrapper as BPNetControlWrapper

            wrapped = BPNetControlWrapper(self.module)
        return wrapped.eval()

    def counts_wrapper(self, group: int | None, inner: torch.nn.Module | None = None) -> torch.nn.Module:
        """The field's wrapper of the counts head: sequence in, log counts out.

        Args:
            group: index of the signal group: (n, 1) out; None: of all, (n, groups). BPNet and ChromBPNet have one.
            inner: what predicts logits and log counts; None for the model, `with_controls()`.
        """
        inner = self.with_controls() if inner is None else inner
        if self.kind == "cherimoya":
            from cherimoya import LogCountWrapper

            wrapped: torch.nn.Module = LogCountWrapper(inner, group=group)
        else:
            from bpnetlite.bpnet import CountWrapper

            wrapped = CountWrapper(inner)
        return wrapped.eval()

    def profile_wrapper(self, group: int | None, inner: torch.nn.Module | None = None) -> torch.nn.Module:
        """The field's wrapper of the profile head: sequence in, (n, 1) out.

        The score is the sum of the mean-centred logits, each weighted by its softmax, over the channels and positions
        of a signal group (None: of all together). Arguments as in `counts_wrapper`.
        """
        inner = self.with_controls() if inner is None else inner
        if self.kind == "cherimoya":
            from cherimoya import ProfileWrapper

            wrapped: torch.nn.Module = ProfileWrapper(inner, group=group)
        else:
            from bpnetlite.bpnet import ProfileWrapper as BPNetProfileWrapper

            wrapped = BPNetProfileWrapper(inner)
        return wrapped.eval()

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

    def batch_size(self, length: int, device: str) -> int:
        """Sequences of `length` bp that a forward pass takes at a time on the device."""
        return forward_batch_size(self.module, length, device)

    @contextmanager
    def numerics(self) -> Iterator[None]:
        """Torch's switches as the model's own command line has them, for the time of a `with` block.

        `import cherimoya` lets GPUs multiply float32 matrices in TF32 and choose convolutions by a stopwatch, for the
        whole process: a BPNet's numbers would hang on whether cherimoya was imported before, and any model's on which
        convolution won. Here Cherimoya has TF32, as in `cherimoya attribute`, and the bpnet-lite models have torch's
        default; convolutions are chosen by rule and without atomic adds. On a CPU none of these changes a number.

        What does on a CPU is how many threads share a sum. numba, which tangermeme and memelite read and match with,
        sets OpenMP's number for the whole process, torch's too: a chromosome that came after such a call would differ
        in its last bits. So the number is the one that torch had when the first model was opened.
        """
        import torch

        cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
        benchmark, deterministic = cudnn.benchmark, cudnn.deterministic
        threads = torch.get_num_threads()
        torch.set_num_threads(_threads())
        torch.set_float32_matmul_precision("high" if self.kind == "cherimoya" else "highest")
        cudnn.benchmark, cudnn.deterministic = False, True
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
            cudnn.benchmark, cudnn.deterministic = benchmark, deterministic
            torch.set_num_threads(threads)


def load_model(file: ModelFileLike, device: str = "cpu") -> SequenceModel:
    """Open a model file without executing anything that is not trusted.

    Raises:
        ModelError: missing, damaged, of another kind, or pickled and not trusted; says what to do.
    """
    _threads()
    if file.path.exists() and not (file.path.is_file() or file.path.is_dir()):
        # A pipe or /dev/zero would be read for ever.
        raise ModelError(f"{file.path}: cannot be read (not a regular file). Name the checkpoint itself.")
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


@cache
def _threads() -> int:
    """Torch's number of threads when this was first asked."""
    import torch

    return int(torch.get_num_threads())


def _cherimoya(path: Path, content: bytes, fingerprint: str, device: str) -> SequenceModel:
    import pickle

    import torch
    from cherimoya import Cherimoya

    hint = "Name a checkpoint that `Cherimoya.save` wrote"
    _check_archive(path, content, hint)
    try:
        payload = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name}: holds pickled Python, not only weights, and was not opened. {hint}; if it is a BPNet or "
            f"ChromBPNet that you trust, write `kind`, `trusted: true` and `sha256: {fingerprint}` beside its path."
        ) from error
    except Exception as error:  # torch names damage in many ways; all mean the same to the reader
        raise ModelError(f"{path.name}: is damaged ({_first_line(error)}). {hint}.") from error
    if not isinstance(payload, dict) or not {"config", "state_dict"} <= set(payload):
        raise ModelError(f"{path.name}: has weights but no Cherimoya configuration. {hint}.")
    _check_sizes(path, payload, len(content), hint)
    try:
        # First without memory: a configuration of a few bytes can ask for more than any machine has.
        with torch.device("meta"):
            _check_shapes(Cherimoya(**payload["config"], compile=False), payload["state_dict"])
        module = Cherimoya(**payload["config"], compile=False)
        module.load_state_dict(payload["state_dict"])
    except Exception as error:
        raise ModelError(
            f"{path.name}: its weights do not fit its configuration ({_first_line(error)}). {hint}."
        ) from error
    _check_weights(path, module)
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
        raise ModelError(
            f"{path.name}: is damaged, or was saved by another version ({_first_line(error)}). "
            "Save the model again with the installed bpnet-lite."
        ) from error
    expected = BPNet if kind == "bpnet" else ChromBPNet
    if not isinstance(module, expected):
        raise ModelError(
            f"{path.name}: holds a {type(module).__name__}, but `kind` says {kind}. Mend `kind`, or name a "
            "file that bpnet-lite saved."
        )
    _check_weights(path, module)
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


def _check_archive(path: Path, content: bytes, hint: str) -> None:
    """A checkpoint is a zip archive; torch does not compare its checksums, so a flipped bit would become a weight."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if any(one.compress_type != zipfile.ZIP_STORED for one in members) or (
                sum(one.file_size for one in members) > len(content)
            ):
                # PyTorch compresses nothing; what is packed can be a thousand times as large as the file.
                raise ValueError("packed")
            if content[:4] != LOCAL_FILE or any(one.filename.endswith("/constants.pkl") for one in members):
                # torch.load goes by the first bytes, where zipfile goes by the last; and it hands programs to another
                # loader.
                raise ValueError("something before the archive, or a program")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise ModelError(f"{path.name}: is damaged, cut short, or not a PyTorch checkpoint. {hint}.") from error
    if damaged is not None:
        raise ModelError(f"{path.name}: is damaged: the checksum of {damaged} does not fit. Restore the file.")


def _check_sizes(path: Path, payload: dict[str, Any], size: int, hint: str) -> None:
    """Refuse what is larger than the file: a view can repeat one number for ever, and a configuration can name any."""
    import torch

    config, weights = payload["config"], payload["state_dict"]
    plain = (
        isinstance(config, dict)
        and isinstance(weights, dict)
        and all(isinstance(name, str) for name in (*config, *weights))
        and all(isinstance(one, torch.Tensor) and one.layout == torch.strided for one in weights.values())
    )
    if not plain:
        raise ModelError(f"{path.name}: its configuration or its weights are not plain values. {hint}.")
    if sum(one.numel() * one.element_size() for one in weights.values()) > size:
        raise ModelError(f"{path.name}: its weights claim to be more than the file holds. {hint}.")
    layers = config.get("n_layers", 0)
    if not isinstance(layers, int) or layers > len(weights):
        raise ModelError(f"{path.name}: its configuration has more layers than there are weights. {hint}.")


def _check_shapes(expected: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Compare a model without memory with the weights that it is to have."""
    shapes = {name: tuple(one.shape) for name, one in expected.state_dict().items()}
    for name in dict.fromkeys([*shapes, *weights]):
        found = tuple(weights[name].shape) if name in weights else "missing"
        if found != shapes.get(name, "none"):
            raise ValueError(f"{name} is {found}, expected {shapes.get(name, 'none')}")


def _check_weights(path: Path, module: torch.nn.Module) -> None:
    """Training that diverged saves NaN, and every attribution would be NaN."""
    for name, tensor in module.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise ModelError(f"{path.name}: {name} holds NaN or infinity; its training diverged. Name another model.")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

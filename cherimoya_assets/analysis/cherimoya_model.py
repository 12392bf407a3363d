"""Cherimoya: opened safely, wrapped and attributed as cherimoya does it.

A checkpoint is opened with `weights_only=True` and can execute nothing. The fast path of DeepLIFT/SHAP has no public
entrance of its own: this module uses `cherimoya._deep_lift_shap_engine.Engine` of cherimoya 0.3.1.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cherimoya_assets.analysis.sequence_model import SequenceModel, check_weights, first_line
from cherimoya_assets.errors import DeviceError, ModelError

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.mutagenesis.engines import Engine

LOCAL_FILE = b"PK\x03\x04"
"""How a zip archive begins that has something in it."""

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch's container of before 1.6 begins, which is no archive: `torch.serialization.MAGIC_NUMBER`, pickled."""

HINT = "Name a checkpoint that `Cherimoya.save` wrote"


class CherimoyaModel(SequenceModel):
    """A Cherimoya of one or more signal groups."""

    kind, pickled, matmul_precision, read_by_cherimoya = "cherimoya", False, "high", True

    @classmethod
    def opened(cls, path: Path, content: bytes, fingerprint: str, device: str) -> Self:
        """See `SequenceModel.opened`."""
        import pickle

        import torch
        from cherimoya import Cherimoya

        _check_archive(path, content)
        try:
            payload = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        except pickle.UnpicklingError as error:
            raise ModelError(
                f"{path.name}: holds pickled Python, not only weights, and was not opened. {HINT}; if it is a BPNet or "
                f"ChromBPNet that you trust, write `kind`, `trusted: true` and `sha256: {fingerprint}` beside its path."
            ) from error
        except Exception as error:  # torch names damage in many ways; all mean the same to the reader
            raise ModelError(f"{path.name}: is damaged ({first_line(error)}). {HINT}.") from error
        if not isinstance(payload, dict) or not {"config", "state_dict"} <= set(payload):
            raise ModelError(f"{path.name}: has weights but no Cherimoya configuration. {HINT}.")
        _check_sizes(path, payload, len(content))
        weights = _with_saved_names(payload["state_dict"])
        try:
            # First without memory: a configuration of a few bytes can ask for more than any machine has.
            with torch.device("meta"):
                _check_shapes(Cherimoya(**payload["config"], compile=False), weights)
            module = Cherimoya(**payload["config"], compile=False)
            module.load_state_dict(weights)
        except TypeError as error:
            raise ModelError(
                f"{path.name}: cherimoya {version('cherimoya')} cannot build a model of its configuration "
                f"({first_line(error)}); another version saved it. Load its weights into a Cherimoya of this version "
                "and `save` that, or name another checkpoint."
            ) from error
        except Exception as error:
            raise ModelError(
                f"{path.name}: its weights do not fit its configuration ({first_line(error)}). {HINT}."
            ) from error
        check_weights(path, module)
        groups, controls = tuple(module.signal_groups), module.n_control_tracks
        return cls(module.to(device).eval(), groups, controls, module.trimming, path, fingerprint)

    def with_controls(self) -> torch.nn.Module:
        """See `SequenceModel.with_controls`."""
        from cherimoya import ControlWrapper

        wrapped: torch.nn.Module = ControlWrapper(self.module)
        return wrapped.eval()

    def counts_wrapper(self, group: int | None, inner: torch.nn.Module | None = None) -> torch.nn.Module:
        """See `SequenceModel.counts_wrapper`."""
        from cherimoya import LogCountWrapper

        wrapped: torch.nn.Module = LogCountWrapper(inner or self.with_controls(), group=group)
        return wrapped.eval()

    def profile_wrapper(self, group: int | None, inner: torch.nn.Module | None = None) -> torch.nn.Module:
        """See `SequenceModel.profile_wrapper`."""
        from cherimoya import ProfileWrapper

        wrapped: torch.nn.Module = ProfileWrapper(inner or self.with_controls(), group=group)
        return wrapped.eval()

    def windowed_engine(self, *, length: int, tolerance: float, batch_size: int | None, device: str) -> Engine | None:
        """See `SequenceModel.windowed_engine`. Without a layer there is no window that is narrower than the whole."""
        if not self.module.n_layers:
            return None
        from cherimoya_assets.analysis.mutagenesis.cherimoya_engine import CherimoyaEngine

        return CherimoyaEngine(self, length=length, tolerance=tolerance, batch_size=batch_size, device=device)

    def deep_lift_shap(self, X: torch.Tensor, head: str, **arguments: Any) -> torch.Tensor:
        """See `SequenceModel.deep_lift_shap`."""
        from cherimoya.deep_lift_shap import deep_lift_shap

        output = "logcounts" if head == "counts" else "profile"
        attributed: torch.Tensor = deep_lift_shap(
            self.module, X, output=output, hypothetical=True, fast=False, **arguments
        )
        return attributed

    def fast_deep_lift_shap(
        self, head: str, *, dtype: str, device: str, n_shuffles: int, **arguments: Any
    ) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """cherimoya's engine, for the counts in float32: all references of a sequence in one step of one shape."""
        if head != "counts" or dtype != "float32":
            return None
        from cherimoya._deep_lift_shap_engine import Engine

        engine = Engine(self.module, device=device, n_shuffles=n_shuffles, seqs_per_step=1, **arguments)

        def attribute(X: torch.Tensor) -> torch.Tensor:
            import torch

            try:
                attributed: torch.Tensor = engine.run(X).attr
            except torch.OutOfMemoryError as error:
                # A step is one sequence with all its references; smaller steps are the default path's.
                raise DeviceError(
                    f"{device}: does not have enough free memory for one sequence with its {n_shuffles} references at "
                    "once. Set fast to false, which computes fewer at a time, or free memory on the device."
                ) from error
            return attributed

        return attribute


def _check_archive(path: Path, content: bytes) -> None:
    """A checkpoint is a zip archive; torch does not compare its checksums, so a flipped bit would become a weight.

    The older container has none, and an archive may have been written without them
    (`torch.serialization.set_crc32_options`).
    """
    if content.startswith(LEGACY):
        return
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
            damaged = next((one.filename for one in members if _checksum_differs(archive, one)), None)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise ModelError(f"{path.name}: is damaged, cut short, or not a PyTorch checkpoint. {HINT}.") from error
    if damaged is not None:
        raise ModelError(f"{path.name}: is damaged: the checksum of {damaged} does not fit. Restore the file.")


def _checksum_differs(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Whether a member is not what was written; one without a checksum, which is 0 then, cannot be told."""
    if not member.CRC:
        return False
    try:
        archive.read(member)
    except zipfile.BadZipFile:
        return True
    return False


def _with_saved_names(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under the names that `Cherimoya.save` writes; `Cherimoya.load` takes another for a block's taps."""
    saved = {name: name.replace(".conv.conv_weight", ".conv_weight") for name in weights}
    return {name if saved[name] in weights else saved[name]: one for name, one in weights.items()}


def _check_sizes(path: Path, payload: dict[str, Any], size: int) -> None:
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
        raise ModelError(f"{path.name}: its configuration or its weights are not plain values. {HINT}.")
    if sum(one.numel() * one.element_size() for one in weights.values()) > size:
        raise ModelError(f"{path.name}: its weights claim to be more than the file holds. {HINT}.")
    layers = config.get("n_layers", 0)
    if not isinstance(layers, int) or layers > len(weights):
        raise ModelError(f"{path.name}: its configuration has more layers than there are weights. {HINT}.")


def _check_shapes(expected: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Compare a model without memory with the weights that it is to have."""
    shapes = {name: tuple(one.shape) for name, one in expected.state_dict().items()}
    for name in dict.fromkeys([*shapes, *weights]):
        found = tuple(weights[name].shape) if name in weights else "missing"
        if found != shapes.get(name, "none"):
            raise ValueError(f"{name} is {found}, expected {shapes.get(name, 'none')}")

"""BPNet and ChromBPNet, as bpnet-lite saves, wraps and attributes them.

bpnet-lite saves whole pickled modules, which execute code when opened; `models.py` opens them only where the experiment
calls them trusted and names their sha256.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cherimoya_assets.analysis.sequence_model import SequenceModel, check_weights, first_line
from cherimoya_assets.errors import ModelError

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.mutagenesis.engines import Engine


class BPNetModel(SequenceModel):
    """A BPNet. It has one signal group, whichever is asked for."""

    kind, pickled, matmul_precision, deep_lift_dtypes = "bpnet", True, "highest", ("float32",)

    @classmethod
    def saved(cls) -> type[torch.nn.Module]:
        """What bpnet-lite's files of the family hold."""
        from bpnetlite.bpnet import BPNet

        found: type[torch.nn.Module] = BPNet
        return found

    @classmethod
    def trimming_of(cls, module: Any) -> int:
        """bp that the profile is shorter than the input on each side."""
        return int(module.trimming)

    @classmethod
    def opened(cls, path: Path, content: bytes, fingerprint: str, device: str) -> Self:
        """See `SequenceModel.opened`."""
        import torch

        expected = cls.saved()
        try:
            # Trusted by the experiment, and these are the bytes whose sha256 it names.
            module: Any = torch.load(io.BytesIO(content), map_location=device, weights_only=False)
        except Exception as error:
            raise ModelError(
                f"{path.name}: is damaged, or was saved by another version ({first_line(error)}). "
                "Save the model again with the installed bpnet-lite."
            ) from error
        if not isinstance(module, expected):
            raise ModelError(
                f"{path.name}: holds a {type(module).__name__}, but `kind` says {cls.kind}. Correct `kind`, or name a "
                "file that bpnet-lite saved."
            )
        check_weights(path, module)
        loaded: Any = module.to(device).eval()
        groups, controls = (int(loaded.n_outputs),), int(loaded.n_control_tracks)
        return cls(loaded, groups, controls, cls.trimming_of(loaded), path, fingerprint)

    def with_controls(self) -> torch.nn.Module:
        """See `SequenceModel.with_controls`."""
        from bpnetlite.bpnet import ControlWrapper

        wrapped: torch.nn.Module = ControlWrapper(self.module)
        return wrapped.eval()

    def counts_wrapper(self, group: int | None, inner: torch.nn.Module | None = None) -> torch.nn.Module:
        """See `SequenceModel.counts_wrapper`."""
        from bpnetlite.bpnet import CountWrapper

        wrapped: torch.nn.Module = CountWrapper(inner or self.with_controls())
        return wrapped.eval()

    def profile_wrapper(self, group: int | None, inner: torch.nn.Module | None = None) -> torch.nn.Module:
        """See `SequenceModel.profile_wrapper`."""
        from bpnetlite.bpnet import ProfileWrapper

        wrapped: torch.nn.Module = ProfileWrapper(inner or self.with_controls())
        return wrapped.eval()

    def windowed_engine(self, *, length: int, tolerance: float, batch_size: int | None, device: str) -> Engine | None:
        """See `SequenceModel.windowed_engine`. Exact to rounding, whatever the tolerance; on a CPU only."""
        from cherimoya_assets.analysis.mutagenesis.convolutional.network import networks_of

        networks = networks_of(self.module) if device == "cpu" else None
        if networks is None:
            return None
        from cherimoya_assets.analysis.mutagenesis.bpnet_engine import BPNetEngine

        return BPNetEngine(networks)

    def deep_lift_shap(
        self,
        X: torch.Tensor,
        head: str,
        *,
        group: int | None,
        dtype: str,
        warning_threshold: float | None,
        **arguments: Any,
    ) -> torch.Tensor:
        """See `SequenceModel.deep_lift_shap`. bpnet-lite's function has no dtype."""
        from bpnetlite.attribute import deep_lift_shap

        wrapper = self.counts_wrapper(group) if head == "counts" else self.profile_wrapper(group)
        threshold = float("inf") if warning_threshold is None else warning_threshold
        attributed: torch.Tensor = deep_lift_shap(
            wrapper, X, hypothetical=True, warning_threshold=threshold, **arguments
        )
        return attributed


class ChromBPNetModel(BPNetModel):
    """A ChromBPNet: two BPNets, one of which learned the enzyme's bias."""

    kind = "chrombpnet"

    @classmethod
    def saved(cls) -> type[torch.nn.Module]:
        """See `BPNetModel.saved`."""
        from bpnetlite.chrombpnet import ChromBPNet

        found: type[torch.nn.Module] = ChromBPNet
        return found

    @classmethod
    def trimming_of(cls, module: Any) -> int:
        """See `BPNetModel.trimming_of`."""
        return int(module.accessibility.trimming)

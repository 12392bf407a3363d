"""BPNet, BasePairNet and ChromBPNet, as bpnet-lite saves, wraps and attributes them.

bpnet-lite saves whole pickled modules, which execute code when opened; `models.py` opens them only where the experiment
calls them trusted and names their sha256. What is opened has the weights of the file and the code of the installed
bpnet-lite, so that modules which an older one did not have are missing (`complete`). Weights of any precision become
float32, as `bpnet attribute` casts them.
"""

from __future__ import annotations

import io
from copy import deepcopy
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cherimoya_assets.analysis.sequence_model import SequenceModel, check_weights, first_line
from cherimoya_assets.errors import ModelError

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.mutagenesis.engines import Engine


MOVED = (
    "open it with the version that saved it, save its `state_dict()`, load that into a model of the installed "
    "bpnet-lite and save the whole of it"
)
"""What to do with a file of another version: a whole module is bound to the code that saved it, its weights are not."""


class BPNetModel(SequenceModel):
    """A BPNet. It has one signal group, whichever is asked for."""

    kind, pickled, matmul_precision, deep_lift_dtypes = "bpnet", True, "highest", ("float32",)
    deep_lift_float64 = frozenset({"profile"})

    @classmethod
    def saved(cls) -> type[torch.nn.Module]:
        """What bpnet-lite's files of the family hold."""
        from bpnetlite.bpnet import BPNet

        found: type[torch.nn.Module] = BPNet
        return found

    @classmethod
    def complete(cls, path: Path, module: Any) -> None:
        """Give a module what it lacks because an older bpnet-lite saved it; nothing of that holds weights.

        Rectifiers are modules since 0.2.

        Raises:
            ModelError: its parts do not fit each other.
        """
        from torch.nn import ModuleList, ReLU

        if not hasattr(module, "irelu"):
            module.irelu, module.rrelus = ReLU(), ModuleList(ReLU() for _ in module.rconvs)

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
                f"{path.name}: cannot be opened by bpnet-lite {version('bpnet-lite')} ({first_line(error)}): it is "
                f"damaged, or another version saved it. Restore it, or {MOVED}."
            ) from error
        if not isinstance(module, expected):
            raise ModelError(
                f"{path.name}: holds a {type(module).__name__}, but `kind` says {cls.kind}. Correct `kind`, or name a "
                "file that bpnet-lite saved."
            )
        return cls.holding(path, module, fingerprint, device)

    @classmethod
    def holding(cls, path: Path, module: Any, fingerprint: str, device: str) -> Self:
        """The model of a module, wherever its weights came from; arguments and errors as of `opened`."""
        try:
            cls.complete(path, module)
            loaded: Any = module.float().to(device).eval()
            groups, controls = (int(loaded.n_outputs),), int(loaded.n_control_tracks)
            trimming = cls.trimming_of(loaded)
        except (AttributeError, TypeError) as error:
            raise ModelError(
                f"{path.name}: lacks what bpnet-lite {version('bpnet-lite')} reads of a {cls.saved().__name__} "
                f"({first_line(error)}); another version saved it. To use it, {MOVED}."
            ) from error
        check_weights(path, loaded)
        return cls(loaded, groups, controls, trimming, path, fingerprint)

    def with_controls(self) -> torch.nn.Module:
        """See `SequenceModel.with_controls`."""
        from bpnetlite.bpnet import ControlWrapper

        wrapped: torch.nn.Module = ControlWrapper(self.module)
        return wrapped.eval()

    @cached_property
    def _in_float64(self) -> torch.nn.Module:
        """`with_controls` of a copy in float64; the model itself goes on in float32."""
        from bpnetlite.bpnet import ControlWrapper

        wrapped: torch.nn.Module = ControlWrapper(deepcopy(self.module).double())
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
        """See `SequenceModel.deep_lift_shap`. bpnet-lite's function computes in the dtype of the weights, and `bpnet
        attribute` makes these float64 where differences of a reference are divided by, which float32 leaves off by up
        to 1 % of the highest base.
        """
        from bpnetlite.attribute import deep_lift_shap

        inner = self._in_float64 if head in self.deep_lift_float64 else None
        wrapper = self.counts_wrapper(group, inner) if head == "counts" else self.profile_wrapper(group, inner)
        threshold = float("inf") if warning_threshold is None else warning_threshold
        attributed: torch.Tensor = deep_lift_shap(
            wrapper, X, hypothetical=True, warning_threshold=threshold, **arguments
        )
        return attributed


class BasePairNetModel(BPNetModel):
    """A BPNet as in basepairmodels: its layers add to what comes before the rectifier. tangermeme computes it."""

    kind = "basepairnet"

    @classmethod
    def saved(cls) -> type[torch.nn.Module]:
        """See `BPNetModel.saved`."""
        from bpnetlite.bpnet import BasePairNet

        found: type[torch.nn.Module] = BasePairNet
        return found


class ChromBPNetModel(BPNetModel):
    """A ChromBPNet: two BPNets, one of which learned the enzyme's bias."""

    kind = "chrombpnet"
    deep_lift_float64 = frozenset({"counts", "profile"})

    @classmethod
    def saved(cls) -> type[torch.nn.Module]:
        """See `BPNetModel.saved`."""
        from bpnetlite.chrombpnet import ChromBPNet

        found: type[torch.nn.Module] = ChromBPNet
        return found

    @classmethod
    def complete(cls, path: Path, module: Any) -> None:
        """See `BPNetModel.complete`: until 0.6 counts were added by a function, until 0.3 nothing was counted."""
        from bpnetlite.chrombpnet import _Exp, _Log

        for name, made in (("_log", _Log), ("_exp1", _Exp), ("_exp2", _Exp)):
            if not hasattr(module, name):
                setattr(module, name, made())
        if not hasattr(module, "n_control_tracks"):
            module.n_control_tracks, module.n_outputs = module.accessibility.n_control_tracks, 1
        bias, accessibility = int(module.bias.trimming), int(module.accessibility.trimming)
        if bias > accessibility:
            raise ModelError(
                f"{path.name}: its bias model trims {bias} bp on each side and its accessibility model "
                f"{accessibility}, so that their profiles cannot be added. Make the ChromBPNet of a bias model that "
                "trims no more."
            )

    @classmethod
    def trimming_of(cls, module: Any) -> int:
        """See `BPNetModel.trimming_of`."""
        return int(module.accessibility.trimming)

"""Small Cherimoyas with strong weights, and sequences for them.

Fresh weights would prove nothing about mutagenesis: Cherimoya starts with a standard deviation of 0.02 everywhere, GELU
stays in its linear part and the shifts of the normalisation are next to none, so that a model of their effects may be
wrong altogether and be right to seven digits. Here every layer hands on about the variance that it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from cherimoya import Cherimoya

from cherimoya_assets.analysis.cherimoya_model import CherimoyaModel
from cherimoya_assets.analysis.sequence_model import SequenceModel


def strong_model(
    *,
    n_filters: int = 8,
    n_layers: int = 3,
    expansion: int = 2,
    residual_scale: float = 0.5,
    signal_groups: Sequence[int] = (1,),
    controls: int = 0,
    trimming: int | None = None,
    seed: int = 0,
) -> SequenceModel:
    module = Cherimoya(
        n_filters=n_filters,
        n_layers=n_layers,
        expansion=expansion,
        residual_scale=residual_scale,
        signal_groups=list(signal_groups),
        n_control_tracks=controls,
        trimming=trimming,
        compile=False,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            # Of the taps (3, C) each makes one output; of the others, outputs come first.
            inputs = 3 if name.endswith("conv_weight") else parameter[0].numel()
            if name == "iconv.weight":
                # A quarter of the inputs are 1.
                inputs = inputs // 4
            spread = 0.3 if parameter.ndim == 1 else 1.4 / inputs**0.5
            parameter.normal_(0, spread, generator=generator)
    return as_loaded(module)


def fresh_model(*, n_filters: int = 8, n_layers: int = 3, seed: int = 0) -> SequenceModel:
    """As Cherimoya starts its training."""
    return as_loaded(Cherimoya(n_filters=n_filters, n_layers=n_layers, compile=False, random_state=seed))


def as_loaded(module: Cherimoya) -> SequenceModel:
    groups = tuple(module.signal_groups)
    return CherimoyaModel(module.eval(), groups, module.n_control_tracks, module.trimming, Path("strong.torch"), "")


def random_sequences(n: int, length: int, seed: int = 0) -> np.ndarray:
    """One-hot int8 (n, 4, length)."""
    letters = np.random.default_rng(seed).integers(0, 4, (n, length))
    return np.ascontiguousarray(np.eye(4, dtype=np.int8)[letters].transpose(0, 2, 1))

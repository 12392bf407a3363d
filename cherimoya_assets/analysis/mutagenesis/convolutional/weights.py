"""Memory that compiled code reads: a BPNet's weights, and one unedited sequence.

What lives here: named tuples of arrays, which numba takes apart at a call, and what a network must be like. Channels
are padded with zeros to a multiple of 16 (C below is the padded number), so that no loop has a remainder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.mutagenesis.compiled.heads import ProfileHead, profile_head
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import padded, spread

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FLANK = 37
"""bp on either side of the profile over which bpnet-lite averages for the counts, whatever its profile's kernel."""


class Weights(NamedTuple):
    """A BPNet of n dilated layers, control tracks at zero (they then contribute nothing to either head).

    Attributes:
        stem: (taps, 4, C); row k is what a base does k - taps // 2 bp behind it. stem_bias: (C,).
        layers: (n, 3, channels, C and what keeps rows apart). biases: (n, C). dilations: (n,), in bp.
        profile: see `heads.ProfileHead`. counts: (channels, 1). counts_bias: of the counts head.
        trimming: bp that the profile is shorter on each side.
    """

    stem: Floats
    stem_bias: Floats
    layers: Floats
    biases: Floats
    dilations: NDArray[np.int64]
    profile: ProfileHead
    counts: Doubles
    counts_bias: float
    trimming: int


class Passed(NamedTuple):
    """One pass over the unedited sequence of L bp.

    Attributes:
        stem: (L, C) and layers: (n, L, C), before their rectifiers. state: (L, C), after the last layer.
    """

    stem: Floats
    layers: Floats
    state: Floats


def fits(module: torch.nn.Module) -> bool:
    """Whether a module is bpnet-lite's BPNet as it comes: what is computed here is what its `forward` computes."""
    from bpnetlite.bpnet import BPNet

    model: Any = module
    if type(module) is not BPNet or model.n_layers < 1 or len(model.rconvs) != model.n_layers:
        return False
    convolutions = [model.iconv, *model.rconvs, model.fconv]
    if any(c.kernel_size[0] % 2 == 0 or c.stride != (1,) or c.groups != 1 for c in convolutions):
        return False
    centred = all(c.padding == (c.dilation[0] * (c.kernel_size[0] // 2),) for c in convolutions)
    plain = all(c.padding_mode == "zeros" for c in convolutions) and all(c.kernel_size == (3,) for c in model.rconvs)
    undilated = model.iconv.dilation == (1,) and model.fconv.dilation == (1,)
    unhooked = not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    # A vector's rectifier makes 0 of what is no number.
    finite = all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    return bool(centred and plain and undilated and unhooked and finite and model.linear.out_features == 1)


def pack(module: torch.nn.Module) -> Weights:
    """The weights of a `bpnetlite.bpnet.BPNet`, copied."""
    model: Any = module
    stem = _array(model.iconv.weight)
    channels, _, taps = stem.shape
    width = padded(channels)
    layers = np.stack([_array(layer.weight).transpose(2, 1, 0) for layer in model.rconvs])
    profile, counts = _array(model.fconv.weight), _array(model.linear.weight)
    bias = model.fconv.bias
    return Weights(
        stem=_within((taps, 4, width), stem.transpose(2, 1, 0)[::-1]),
        stem_bias=_within((width,), _bias(model.iconv)),
        layers=_within((len(layers), 3, channels, spread(width)), layers),
        biases=_within((len(layers), width), np.stack([_bias(layer) for layer in model.rconvs])),
        dilations=np.array([int(layer.dilation[0]) for layer in model.rconvs], dtype=np.int64),
        profile=profile_head(profile[:, :channels], np.zeros(len(profile)) if bias is None else _array(bias)),
        counts=np.ascontiguousarray(counts[:, :channels].T),
        counts_bias=0.0 if model.linear.bias is None else float(_array(model.linear.bias)[0]),
        trimming=int(model.trimming),
    )


def no_pass(weights: Weights, length: int) -> Passed:
    """Memory for a pass over a sequence."""
    n, width = weights.biases.shape
    return Passed(
        *(np.zeros(shape, dtype=np.float32) for shape in ((length, width), (n, length, width), (length, width)))
    )


def _bias(layer: Any) -> Doubles:
    return np.zeros(int(layer.out_channels)) if layer.bias is None else _array(layer.bias)


def _array(tensor: torch.Tensor) -> Doubles:
    array: Doubles = tensor.detach().double().cpu().numpy()
    return array


def _within(shape: tuple[int, ...], values: Doubles) -> Floats:
    """Values in the corner of a larger array of zeros."""
    array = np.zeros(shape, dtype=np.float32)
    array[tuple(slice(0, n) for n in values.shape)] = values
    return array

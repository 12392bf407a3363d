"""Memory that compiled code reads: a Cherimoya's weights, one unedited sequence, the model of the outside.

What lives here: named tuples of arrays, which numba takes apart at a call, and their sizes. Channels and hidden ones
are padded with zeros to a multiple of 16 (C and H below are padded numbers), so that no loop has a remainder.
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
Integers = NDArray[np.int64]


class Weights(NamedTuple):
    """A Cherimoya of n blocks, control tracks at zero (they then contribute nothing to either head).

    Attributes:
        stem: (21, 4, C); row k is what a base does k - 10 bp behind it. stem_bias: (C,).
        taps: (n, 3, C). dilations: (n,), in bp.
        expand: (n, channels, H). expand_sum: (n, H), over channels. contract: (n, hidden, C), times the residual scale.
        profile: see `heads.ProfileHead`.
        counts: (channels, groups), and counts_bias: (groups,). through: (hidden, groups), the last block's second layer
            and the counts head in one.
        trimming: bp that the profile is shorter on each side. epsilon: what blocks add to a variance.
    """

    stem: Floats
    stem_bias: Floats
    taps: Floats
    dilations: Integers
    expand: Floats
    expand_sum: Floats
    contract: Floats
    profile: ProfileHead
    counts: Doubles
    counts_bias: Doubles
    through: Doubles
    trimming: int
    epsilon: float


class Passed(NamedTuple):
    """One pass over the unedited sequence of L bp.

    Attributes:
        stem: (L, 3, C), pre-activation, its gate, and 1 - gate. hidden: (n, L, 3, H), likewise of each block.
        centred: (n, L, C), convolved input of each block less its mean. rstd: (n,), reciprocal standard deviation.
        state: (L, C), after the last block.
    """

    stem: Floats
    centred: Floats
    rstd: Doubles
    hidden: Floats
    state: Floats


class Outside(NamedTuple):
    """The model of the outside: m = 2 i + K fields after i blocks, first-order ones and then a residual one a node.

    Attributes:
        fields: flat; after block i (L, 2 i + room, C), one block behind the other, see `level_start`.
        room: residual fields that there is memory for. K: how many there are; less than `room` while it is made.
        nodes: (n + 1, room, 2 n), shift vectors times the metric of each level. interpolation: (n + 1, room, room).
        first, cross: (n, L + 1, 2 n + room) and gram: (n, L + 1, 2 n, 2 n), row p of each the sum over positions
            below p of what the fields before block i are behind its convolution: of h; of h (2 centred + h) but for
            the products of first-order fields; of these.
        logits: (2 n + room, outputs * length padded), of each field of the last level.
        counts: (L + 1, 2 n + room, groups), likewise of the counts head, summed over the positions below.
    """

    fields: Floats
    room: int
    nodes: Doubles
    interpolation: Doubles
    first: Doubles
    cross: Doubles
    gram: Doubles
    logits: Floats
    counts: Doubles


def pack(module: torch.nn.Module) -> Weights:
    """The weights of a `cherimoya.Cherimoya`, copied."""
    from cherimoya.cheri import CONV_NORM_EPS

    model: Any = module
    channels, blocks = int(model.iconv.out_channels), list(model.blocks)
    hidden = int(blocks[0].linear1.weight.shape[0])
    width, wide = padded(channels), padded(hidden)
    profile = _array(model.fconv.weight)[:, :channels]
    counts = np.ascontiguousarray(_array(model.linear.weight)[:, :channels].T)
    contract = np.stack([_array(block.linear2.weight).T * float(block.residual_scale) for block in blocks])
    expand = np.stack([_array(block.linear1.weight).T for block in blocks])
    return Weights(
        stem=_within((taps_of_stem(model), 4, width), _array(model.iconv.weight).transpose(2, 1, 0)[::-1]),
        stem_bias=_within((width,), _array(model.iconv.bias)),
        taps=_within((len(blocks), 3, width), np.stack([_array(block.conv_weight) for block in blocks])),
        dilations=np.array([int(block.dilation) for block in blocks], dtype=np.int64),
        expand=_within((len(blocks), channels, spread(wide)), expand),
        expand_sum=_within((len(blocks), wide), expand.sum(axis=1)),
        contract=_within((len(blocks), hidden, spread(width)), contract),
        profile=profile_head(profile, _array(model.fconv.bias)),
        counts=counts,
        counts_bias=_array(model.linear.bias),
        through=contract[-1] @ counts,
        trimming=int(model.trimming),
        epsilon=float(CONV_NORM_EPS),
    )


def taps_of_stem(model: Any) -> int:
    """Of its first convolution."""
    return int(model.iconv.weight.shape[2])


def no_pass(weights: Weights, length: int) -> Passed:
    """Memory for a pass over a sequence."""
    blocks, hidden = weights.expand_sum.shape
    width = weights.stem.shape[2]

    def floats(*shape: int) -> Floats:
        return np.zeros(shape, dtype=np.float32)

    return Passed(
        stem=floats(length, 3, width),
        centred=floats(blocks, length, width),
        rstd=np.zeros(blocks),
        hidden=floats(blocks, length, 3, hidden),
        state=floats(length, width),
    )


def no_outside(weights: Weights, length: int, room: int) -> Outside:
    """Memory for a model of the outside with `room` nodes; with 0, none at all."""
    blocks, width, groups = len(weights.dilations), weights.stem.shape[2], weights.counts.shape[1]
    fields, logits = 2 * blocks + room, len(weights.profile.bias) * (length - 2 * weights.trimming)
    if not room:
        blocks = length = fields = 0
    return Outside(
        fields=np.zeros(length * width * blocks * (blocks + 1 + room), dtype=np.float32),
        room=room,
        nodes=np.zeros((blocks + 1, room, 2 * blocks)),
        interpolation=np.zeros((blocks + 1, room, room)),
        first=np.zeros((blocks, length + 1, fields)),
        cross=np.zeros((blocks, length + 1, fields)),
        gram=np.zeros((blocks, length + 1, 2 * blocks, 2 * blocks)),
        logits=np.zeros((fields, padded(logits)), dtype=np.float32),
        counts=np.zeros((length + 1, fields, groups)),
    )


def _array(tensor: torch.Tensor) -> Doubles:
    array: Doubles = tensor.detach().double().cpu().numpy()
    return array


def _within(shape: tuple[int, ...], values: Doubles) -> Floats:
    """Values in the corner of a larger array of zeros."""
    array = np.zeros(shape, dtype=np.float32)
    array[tuple(slice(0, n) for n in values.shape)] = values
    return array

"""What the state far from an edit does: a model with two numbers a block, made once for each unedited sequence.

What lives here: shift fields, nodes, interpolation weights, and the sums over positions that an edit needs of them.
What must not: edits. See the package's docstring for the idea.

Notation. c is an edit's shift vector after i blocks: for each block the change of the mean, and the relative change of
the reciprocal standard deviation, of its convolved input; 2i numbers. Far from the edit the change of the state after i
blocks is approximated by a combination of fields,

    change(c) = sum_j c_j B_j  +  sum_k w_k(c) R_k.

B are the derivatives with respect to c at 0 ("order one"), propagated exactly. R_k is what B leaves at a node c_k: a
forward pass of the unedited sequence with the statistics of c_k imposed gives change(c_k) exactly. How the weights
interpolate between nodes is said in `kriging.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cherimoya_assets.analysis.mutagenesis.windowed import kriging
from cherimoya_assets.analysis.mutagenesis.windowed.general.arithmetic import activated_changes, convolve
from cherimoya_assets.analysis.mutagenesis.windowed.general.network import profile_convolution
from cherimoya_assets.analysis.mutagenesis.windowed.general.reference import BlockReference, Reference
from cherimoya_assets.analysis.mutagenesis.windowed.general.statistics import factors

if TYPE_CHECKING:
    import torch

    from cherimoya_assets.analysis.mutagenesis.windowed.general.network import BlockWeights, Network


@dataclass(frozen=True)
class Level:
    """The model after some number of blocks.

    Attributes:
        fields: (L, m, C); first the 2i order-one fields, then one residual field a node.
        metric: (2i, 2i), float64; c metric c' is the inner product of what two shift vectors do, to first order, to the
            normalised input of the next block, a mean over positions and channels.
        nodes: (K, 2i), float64, times the metric. weights: (K, K), float64, inverse of their kernel matrix.
    """

    fields: torch.Tensor
    metric: torch.Tensor
    nodes: torch.Tensor
    weights: torch.Tensor

    def coefficients(self, shifts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each field, for shift vectors (E, 2i) in float64: (E, m), in float64 and in the dtype of the fields."""
        import torch

        g = shifts @ self.nodes.T
        exact = torch.cat([shifts, g.square() * (1 + g) @ self.weights], dim=1)
        return exact, exact.to(self.fields.dtype)


@dataclass(frozen=True)
class Sums:
    """Cumulative sums over positions of the fields as the next block's convolution sees them (h of each field).

    Row p is the sum over positions below p: `first` (L + 1, m), float64, of h; `cross` (L + 1, m), float64, of what a
    field adds to the sum of squares: h times twice the centred reference, and for the residual field of a node all that
    the node's change does beyond first-order fields, so that the model is exact at the nodes here too; `gram`
    (L + 1, 2i, 2i), float64, of products of first-order fields.
    """

    first: torch.Tensor
    cross: torch.Tensor
    gram: torch.Tensor

    def add_outside_(
        self, totals: torch.Tensor, start: int, end: int, coefficients: torch.Tensor, shifts: torch.Tensor
    ) -> None:
        """Add what the model says of the positions not in [start, end) to the two sums of each edit.

        Args:
            totals: (2, E), float64, added to: sums of h and of h (2 centred + h).
            coefficients: (E, m) and shifts: (E, 2i), float64.
        """
        first, cross, gram = (part[-1] - part[end] + part[start] for part in (self.first, self.cross, self.gram))
        totals[0] += coefficients @ first
        totals[1] += coefficients @ cross + ((shifts @ gram) * shifts).sum(dim=1)


@dataclass(frozen=True)
class OutsideModel:
    """`levels[i]` after block i (i >= 1; `levels[0]` is the stem, which no shift moves), `sums[i]` into block i >= 1.

    shifted_logits: (m, n_outputs, output length), of each field of the last level.
    shifted_counts: (L + 1, m, n_groups), float64, likewise of the counts head, summed over the positions below.
    """

    levels: tuple[Level, ...]
    sums: tuple[Sums | None, ...]
    shifted_logits: torch.Tensor
    shifted_counts: torch.Tensor


def first_order(network: Network, reference: Reference) -> OutsideModel:
    """The model of one sequence without nodes: shift fields alone."""
    import torch

    given = reference.blocks[0].centred
    fields = given.new_zeros((given.shape[0], 0, given.shape[1]))
    none = torch.zeros((0, 0), dtype=torch.float64, device=given.device)
    levels = [Level(fields, none, none, none)]
    for i, (weights, block) in enumerate(zip(network.blocks, reference.blocks, strict=True)):
        fields = _propagated(weights, block, fields)
        levels.append(Level(fields, _metric(network, reference, i + 1, fields), none.new_zeros((0, 2 * i + 2)), none))
    return _with_sums(network, reference, levels, none.new_zeros((0, 2 * len(levels) - 2)))


def with_nodes(network: Network, reference: Reference, linear: OutsideModel, nodes: torch.Tensor) -> OutsideModel:
    """A first-order model made exact at the nodes, shift vectors (K, 2 blocks) in float64; of none, as it is."""
    import torch

    if not len(nodes):
        return linear
    change = linear.levels[0].fields.new_zeros((reference.length, len(nodes), network.n_filters))
    levels = [linear.levels[0]]
    for i, (weights, block) in enumerate(zip(network.blocks, reference.blocks, strict=True)):
        change = _imposed(weights, block, change, nodes[:, 2 * i : 2 * i + 2])
        level, known = linear.levels[i + 1], nodes[:, : 2 * i + 2]
        residual = torch.baddbmm(
            change, known.to(change.dtype).expand(reference.length, -1, -1), level.fields, alpha=-1
        )
        moved, weights_of_nodes = kriging.interpolation(known.cpu().numpy(), level.metric.cpu().numpy())
        between = (torch.from_numpy(array).to(known.device) for array in (moved, weights_of_nodes))
        levels.append(Level(torch.cat([level.fields, residual], dim=1), level.metric, *between))
    return _with_sums(network, reference, levels, nodes)


def _propagated(weights: BlockWeights, block: BlockReference, fields: torch.Tensor) -> torch.Tensor:
    """Order-one fields through a block, and its own two behind them: (L, m, C) to (L, m + 2, C)."""
    import torch

    slope = block.hidden.derivative()[:, None]
    through = convolve(fields, weights.taps, weights.dilation) @ weights.expand * block.rstd
    own = torch.stack([(-block.rstd * weights.expand_sum).expand_as(block.hidden.before), block.hidden.before], dim=1)
    moved = torch.cat([through, own], dim=1).mul_(slope) @ weights.contract
    moved[:, : fields.shape[1]] += fields
    return moved


def _imposed(weights: BlockWeights, block: BlockReference, change: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """The exact change (L, K, C) after a block whose statistics are imposed: the unedited sequence's, shifted."""
    h = convolve(change, weights.taps, weights.dilation)
    after = change.clone()
    imposed = factors(shifts, block.rstd).to(h.dtype)
    tiles = activated_changes(h, 0, block.hidden, imposed, weights.expand, weights.expand_sum)
    for tile, changes in tiles:
        after[tile].view(-1, change.shape[2]).addmm_(changes.view(-1, changes.shape[2]), weights.contract)
    return after


def _metric(network: Network, reference: Reference, level: int, fields: torch.Tensor) -> torch.Tensor:
    """See `Level`; of the last level, which has no next block, for the state itself."""
    seen, rstd = fields, 1.0
    if level < len(network.blocks):
        weights = network.blocks[level]
        seen, rstd = convolve(fields, weights.taps, weights.dilation), reference.blocks[level].rstd
    flat = seen.transpose(0, 1).flatten(1)
    metric: torch.Tensor = (flat @ flat.T).double() * (rstd**2 / flat.shape[1])
    return metric


def _with_sums(network: Network, reference: Reference, levels: list[Level], nodes: torch.Tensor) -> OutsideModel:
    """The levels with what windows need of their fields; `nodes` are the shift vectors of the residual ones."""
    sums: list[Sums | None] = [None]
    for i in range(1, len(network.blocks)):
        sums.append(_sums(levels[i], network.blocks[i], reference.blocks[i].centred, nodes[:, : 2 * i]))
    return OutsideModel(tuple(levels), tuple(sums), *_read_out(network, levels[-1].fields))


def _sums(level: Level, weights: BlockWeights, centred: torch.Tensor, nodes: torch.Tensor) -> Sums:
    import torch

    h = convolve(level.fields, weights.taps, weights.dilation)
    crossed = 2 * torch.bmm(h, centred[:, :, None])[:, :, 0]
    linear, residual = h[:, : len(level.metric)], h[:, len(level.metric) :]
    twice = torch.matmul(2 * nodes.to(h.dtype), linear)
    crossed[:, len(level.metric) :] += (residual * (twice + residual)).sum(dim=2)
    gram = torch.bmm(linear, linear.transpose(1, 2))
    return Sums(_cumulative(h.sum(dim=2)), _cumulative(crossed), _cumulative(gram))


def _cumulative(values: torch.Tensor) -> torch.Tensor:
    import torch

    zero = torch.zeros_like(values[:1], dtype=torch.float64)
    return torch.cat([zero, values.cumsum(dim=0, dtype=torch.float64)])


def _read_out(network: Network, fields: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What each field of the last level does to the logits (m, n_outputs, length), and the counts head cumulated."""
    start, end = network.trimming, len(fields) - network.trimming
    logits = fields.new_zeros((fields.shape[1], network.profile.shape[0], end - start))
    profile_convolution(network, fields, -start, logits)
    return logits, _cumulative(fields @ network.counts.T)

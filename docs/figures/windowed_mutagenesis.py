"""Draw the two figures of docs/windowed-mutagenesis.md: one edit through the demo's model, and the errors of a locus.

    .venv/bin/python docs/figures/windowed_mutagenesis.py

Everything is computed, nothing sketched. The truth in both is a dense float64 forward pass, written out below and
independent of the engine. It takes less than a minute.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LogNorm

from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.models import SequenceModel, load_model
from cherimoya_assets.analysis.mutagenesis.windowed.engine import NEGLIGIBLE_NODE, NODES, PILOT_EVERY
from cherimoya_assets.analysis.mutagenesis.windowed.network import Network, read_network
from cherimoya_assets.analysis.mutagenesis.windowed.outside import OutsideModel, choose_nodes, first_order, with_nodes
from cherimoya_assets.analysis.mutagenesis.windowed.reference import Reference, reference_pass
from cherimoya_assets.analysis.mutagenesis.windowed.sweep import Edits, Swept, sweep
from cherimoya_assets.analysis.one_hot import encode
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.experiment import read_experiment

CHROM, START, LENGTH = "chrVI", 74496, 718
"""A peak of the demo with a strong motif: the window of chrVI:74710-75000."""

ATTRIBUTED = (159, 559)
BASES = np.eye(4)
HERE = Path(__file__).parent
GREY, BLUE, ORANGE, GREEN, PURPLE = "#888888", "#0072B2", "#D55E00", "#009E73", "#CC79A7"


def main() -> None:
    experiment = read_experiment(DEMO_EXPERIMENT)
    model = load_model(next(iter(experiment.model.values())))
    with tempfile.TemporaryDirectory() as cache:
        X = encode(open_genome(experiment.sequences, Path(cache)).fetch(CHROM, START, START + LENGTH)).astype(float)
    edits = [(p, b) for p in range(*ATTRIBUTED) for b in range(4) if not X[b, p]]
    truth = effects(model, X, edits, torch.float64)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    draw_states(model, X, edits[int(np.abs(truth).argmax())])
    draw_errors(model, X, edits, truth)


def draw_states(model: SequenceModel, X: np.ndarray, edit: tuple[int, int]) -> None:
    """How far each position's state moves, after the stem and after each block."""
    network = read_network(model.module, torch.float64, "cpu")
    before, after = (forward(network, torch.from_numpy(x)[None])[0] for x in (X, edited(X, [edit])[0]))
    moved = np.array([(b - a)[0].abs().amax(dim=0) for a, b in zip(before, after, strict=True)])
    size = max(float(state.abs().max()) for state in before)
    moved /= size
    half = network.stem.shape[2] // 2
    reach = np.cumsum([half, *(block.dilation for block in network.blocks)])
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 5.6), height_ratios=(1.15, 1), layout="constrained")
    image = above.imshow(
        np.maximum(moved, 1e-12),
        aspect="auto",
        norm=LogNorm(1e-6, 1),
        cmap="magma",
        interpolation="none",
        extent=(0, LENGTH, len(moved) - 0.5, -0.5),
    )
    for level, wide in enumerate(reach):
        for side in (edit[0] - wide, edit[0] + wide + 1):
            above.plot([side, side], [level - 0.5, level + 0.5], color="white", lw=1.4)
    names = ["stem", *(f"block {i}" for i in range(1, len(moved)))]
    above.set_yticks(range(len(moved)), names)
    above.set_title("Change of the state after one edit (white: the exact window)", loc="left", fontsize=10)
    figure.colorbar(image, ax=above, label="largest change of a channel\n/ largest activation", extend="min")
    for level, colour in ((1, GREY), (3, GREEN), (len(moved) - 1, BLUE)):
        below.semilogy(np.arange(LENGTH), moved[level], color=colour, lw=1, label=f"after block {level}")
        low, high = edit[0] - reach[level], edit[0] + reach[level] + 1
        top = 1.6 * 4.0 ** (1 if level == 1 else 2 if level == 3 else 3)
        below.plot([low, high], [top, top], color=colour, lw=3, solid_capstyle="butt")
    below.text(edit[0] + reach[-1] + 8, 1.6 * 4.0**2, "exact windows", va="center", color="#333333")
    below.set(xlim=(0, LENGTH), ylim=(1e-6, 1e3), xlabel="position in the input (bp)", ylabel="change (relative)")
    below.set_yticks([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1])
    below.legend(frameon=False, loc="lower right", ncols=3)
    below.set_title("Outside its window a position moves with the two statistics alone", loc="left", fontsize=10)
    figure.savefig(HERE / "windowed_state.png", dpi=130)


def draw_errors(model: SequenceModel, X: np.ndarray, edits: list[tuple[int, int]], truth: np.ndarray) -> None:
    """The largest error among the three edits of each position, by three ways to compute it."""
    network = read_network(model.module, torch.float32, "cpu")
    with torch.no_grad():
        reference = reference_pass(network, torch.from_numpy(X).float())
        linear = first_order(network, reference)
        pilot = [edit for edit in edits if (edit[0] - ATTRIBUTED[0]) % PILOT_EVERY == PILOT_EVERY // 2]
        shifts = swept(network, reference, linear, X, pilot).shifts
        outsides = {"order one": (linear, ORANGE)}
        for most, colour in zip(NODES, (BLUE, PURPLE), strict=True):
            nodes = choose_nodes(shifts, linear.levels[-1].metric, most, NEGLIGIBLE_NODE)
            outsides[f"{len(nodes)} nodes"] = (with_nodes(network, reference, linear, nodes), colour)
        computed = {
            name: (swept(network, reference, outside, X, edits).log_counts[:, 0].numpy(), colour)
            for name, (outside, colour) in outsides.items()
        }
    computed["dense forward passes in float32"] = (effects(model, X, edits, torch.float32), GREEN)
    positions = np.arange(*ATTRIBUTED)
    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    axes.semilogy(positions, by_position(truth), color=GREY, lw=0.9, label="the effect itself")
    for name, (values, colour) in computed.items():
        error = np.linalg.norm(values - truth) / np.linalg.norm(truth)
        print(f"{name}: relative L2 error {error:.2g}")
        label = f"error, {name}: {error:.1e} (relative L2)"
        axes.semilogy(positions, by_position(values - truth), color=colour, lw=0.9, label=label)
    axes.set(xlim=ATTRIBUTED, xlabel="edited position in the input (bp)", ylabel="change of log counts")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 40)
    axes.legend(frameon=False, ncols=2, loc="upper left", fontsize=8)
    axes.set_title("1,200 edits of one locus: the largest of the three at each position", loc="left", fontsize=10)
    figure.savefig(HERE / "windowed_error.png", dpi=130)


def by_position(values: np.ndarray) -> np.ndarray:
    """The largest of each position's three edits, absolute."""
    return np.abs(values).reshape(-1, 3).max(axis=1)


def edited(X: np.ndarray, edits: list[tuple[int, int]]) -> np.ndarray:
    sequences = np.repeat(X[None], len(edits), axis=0)
    for sequence, (position, base) in zip(sequences, edits, strict=True):
        sequence[:, position] = BASES[base]
    return sequences


def effects(model: SequenceModel, X: np.ndarray, edits: list[tuple[int, int]], dtype: torch.dtype) -> np.ndarray:
    """Changes of the log counts by whole forward passes, float64 (E,)."""
    network = read_network(model.module, dtype, "cpu")
    batches = [edited(X, edits[k : k + 30]) for k in range(0, len(edits), 30)]
    after = torch.cat([forward(network, torch.from_numpy(batch).to(dtype))[1] for batch in batches])
    before = forward(network, torch.from_numpy(X[None]).to(dtype))[1]
    return (after.double() - before.double())[:, 0].numpy()


def forward(network: Network, X: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """A Cherimoya as it is defined: the states (n, C, L) after the stem and after each block, and the log counts."""
    from torch.nn.functional import conv1d, gelu

    x = gelu(conv1d(X, network.stem, network.stem_bias, padding="same"), approximate="tanh")
    states = [x]
    for block in network.blocks:
        h = conv1d(x, block.taps.T[:, None], padding="same", dilation=block.dilation, groups=x.shape[1])
        h = (h - h.mean(dim=(1, 2), keepdim=True)) / (h.var(dim=(1, 2), keepdim=True, correction=0) + 1e-3).sqrt()
        x = x + (gelu(h.mT @ block.expand, approximate="tanh") @ block.contract).mT
        states.append(x)
    inner = x[:, :, network.trimming : X.shape[2] - network.trimming]
    return states, inner.mean(dim=2) @ network.counts.T + network.counts_bias


def swept(
    network: Network, reference: Reference, outside: OutsideModel, X: np.ndarray, edits: list[tuple[int, int]]
) -> Swept:
    """All edits with the windowed engine, 36 at a time, their shift vectors and changes of log counts."""
    parts = []
    for k in range(0, len(edits), 36):
        batch = edits[k : k + 36]
        start, end = batch[0][0], batch[-1][0] + 1
        change = (edited(X, batch) - X[None])[:, :, start:end]
        parts.append(
            sweep(network, reference, outside, Edits(start, torch.from_numpy(change).float()), heads=("counts",))
        )
    return Swept(torch.cat([part.shifts for part in parts]), torch.cat([part.log_counts for part in parts]))


if __name__ == "__main__":
    main()

"""Draw the figures of docs/windowed-mutagenesis.md: one edit through the demo's model, and the errors of two loci.

    .venv/bin/python docs/figures/windowed_mutagenesis.py

Everything is computed, nothing sketched. The truth is a dense float64 forward pass, independent of the engine. It takes a
minute or two.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LogNorm

from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.sequence_model import SequenceModel
from cherimoya_assets.analysis.mutagenesis import TOLERANCE
from cherimoya_assets.analysis.mutagenesis.edit_table import edit_table
from cherimoya_assets.analysis.mutagenesis.edits import Substitutions
from cherimoya_assets.analysis.mutagenesis.windowed import kriging
from cherimoya_assets.analysis.mutagenesis.windowed.cpu.kernels import CpuKernels
from cherimoya_assets.analysis.mutagenesis.windowed.engine import _Plan
from cherimoya_assets.analysis.mutagenesis.windowed.general.network import Network, read_network
from cherimoya_assets.analysis.one_hot import encode
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.experiment import read_experiment

CHROM, START, LENGTH = "chrVI", 74496, 718
"""A peak of the demo with a strong motif: the window of chrVI:74710-75000."""

WIDTH = 400
STRONG_WINDOW, STRONGEST = 554, 3.5
"""Of the strong model; and the change of log counts by one base from which on a locus is taken."""

BASES = np.eye(4)
HERE = Path(__file__).parent
BENCHMARKS = HERE.parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # the truth, and the strong model's world
GREY, BLUE, ORANGE, GREEN, PURPLE = "#888888", "#0072B2", "#D55E00", "#009E73", "#CC79A7"


def main() -> None:
    experiment = read_experiment(DEMO_EXPERIMENT)
    model = load_model(next(iter(experiment.model.values())))
    with tempfile.TemporaryDirectory() as cache:
        X = encode(open_genome(experiment.sequences, Path(cache)).fetch(CHROM, START, START + LENGTH))
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    demo = attributed(model, X)
    draw_states(model, X.astype(float), demo.edits[int(np.abs(demo.truth).argmax())])
    draw_errors(demo)
    strong = load_model(
        SimpleNamespace(path=BENCHMARKS / "models" / "activator.torch", kind="cherimoya", trusted=False, sha256=None)
    )
    draw_strong(attributed(strong, strong_window(strong)))


@dataclass
class Locus:
    """Changes of log counts by all edits of a locus, (E,), from the truth and from what the engine does in turn.

    Attributes:
        span: positions that are mutated. edits: position and base.
        truth: in float64. float32: of forward passes. order_one, nodes, returned: of the engine.
        dense: bool, the edits that it computed densely. predicted: the standard deviation of each edit's error before.
    """

    span: tuple[int, int]
    edits: list[tuple[int, int]]
    truth: np.ndarray
    float32: np.ndarray
    order_one: np.ndarray
    nodes: np.ndarray
    returned: np.ndarray
    dense: np.ndarray
    predicted: np.ndarray


def attributed(model: SequenceModel, X: np.ndarray) -> Locus:
    span = (X.shape[1] // 2 - WIDTH // 2, X.shape[1] // 2 + WIDTH // 2)
    substitutions = Substitutions(X, *span)
    edits = [(edit.start, int(edit.bases[:, 0].argmax())) for edit in substitutions.edits]
    table, kernels = edit_table(X, substitutions.edits), CpuKernels(model.module)
    order_one = kernels.begin(X, 0).sweep(table, np.arange(len(edits)), ("counts",)).scores["counts"]
    plan = _Plan(
        kernels.begin(X, 0),
        table,
        ("counts",),
        TOLERANCE,
        lambda values: float(np.linalg.norm(substitutions.hypothetical(values))),
        False,
    )
    windowed = plan._windowed()
    variances = kriging.Process(windowed.shifts, plan.sequence.nodes, plan.sequence.metric).variances
    settled = plan._settled("counts", windowed)
    return Locus(
        span,
        edits,
        effects(model, X, edits),
        effects_in_float32(model, X, edits),
        order_one,
        windowed.rows["counts"],
        settled.values("counts", plan.dense),
        settled.dense,
        windowed.scales["counts"] * np.sqrt(variances),
    )


def strong_window(model: SequenceModel) -> np.ndarray:
    """A window of the model's simulated world that it was not trained on, with a strong effect."""
    from strong_worlds import Windows

    windows = Windows("activator", seed=1_000)
    for X in windows.sequences(50, STRONG_WINDOW, STRONG_WINDOW - 2 * model.trimming):
        edits = Substitutions(X, STRONG_WINDOW // 2 - WIDTH // 2, STRONG_WINDOW // 2 + WIDTH // 2).edits
        changes = CpuKernels(model.module).begin(X, 0).sweep(edit_table(X, edits), np.arange(len(edits)), ("counts",))
        if np.abs(changes.scores["counts"]).max() >= STRONGEST:
            return X
    raise ValueError("no window of the world is as strong")


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


def draw_errors(locus: Locus) -> None:
    """The largest error among the three edits of each position, by the ways to compute it."""
    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    draw_by_position(
        axes,
        locus,
        {
            "order one": (locus.order_one, ORANGE),
            "nodes": (locus.nodes, BLUE),
            f"returned, {locus.dense.sum()} edits dense": (locus.returned, PURPLE),
            "dense forward passes in float32": (locus.float32, GREEN),
        },
    )
    axes.set_title(
        "1,200 edits of one locus of the demo: the largest of the three at each position", loc="left", fontsize=10
    )
    figure.savefig(HERE / "windowed_error.png", dpi=130)


def draw_strong(locus: Locus) -> None:
    """The same of a strong locus, and each edit's error beside the one that was predicted for it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), width_ratios=(1.75, 1), layout="constrained")
    draw_by_position(left, locus, {"nodes alone": (locus.nodes, ORANGE), "returned": (locus.returned, BLUE)})
    places = sorted({position for (position, _), dense in zip(locus.edits, locus.dense, strict=True) if dense})
    low, high = left.get_ylim()
    left.set_ylim(low / 30, high)
    left.plot(places, np.full(len(places), low / 3), "|", color="black", ms=7)
    left.text(locus.span[0] + 4, low / 15, f"bars: the {locus.dense.sum()} edits that were computed densely", fontsize=8)
    left.set_title("Effects and errors of a strong locus by position", loc="left", fontsize=10)
    error = np.maximum(np.abs(locus.nodes - locus.truth), 1e-9)
    for chosen, colour, name in ((~locus.dense, GREY, "other edits"), (locus.dense, ORANGE, "dense and checked edits")):
        right.loglog(np.maximum(locus.predicted[chosen], 1e-9), error[chosen], ".", ms=3.5, color=colour, label=name)
    low, high = 1e-9, max(right.get_ylim()[1], right.get_xlim()[1])
    right.plot([low, high], [low, high], color="black", lw=0.8)
    right.set(
        xlim=(1e-7, high), ylim=(low, high), xlabel="predicted standard deviation", ylabel="true error with nodes alone"
    )
    right.legend(frameon=False, loc="upper left", fontsize=8, markerscale=2)
    right.set_title("Predicted and true errors", loc="left", fontsize=10)
    figure.savefig(HERE / "windowed_strong.png", dpi=130)


def draw_by_position(axes: plt.Axes, locus: Locus, ways: dict[str, tuple[np.ndarray, str]]) -> None:
    positions = np.arange(*locus.span)
    axes.semilogy(positions, by_position(locus.truth), color=GREY, lw=0.9, label="the effect itself")
    print(f"largest effect {np.abs(locus.truth).max():.2f}, {int(locus.dense.sum())} of {len(locus.edits)} edits dense")
    for name, (values, colour) in ways.items():
        error = np.linalg.norm(values - locus.truth) / np.linalg.norm(locus.truth)
        print(f"  {name}: relative L2 error {error:.2g}")
        label = f"error, {name}: {error:.1e} (relative L2)"
        axes.semilogy(positions, by_position(values - locus.truth), color=colour, lw=0.9, label=label)
    axes.set(xlim=locus.span, xlabel="edited position in the input (bp)", ylabel="change of log counts")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 1e-9), high * 60)
    axes.legend(frameon=False, ncols=2, loc="upper left", fontsize=8)


def by_position(values: np.ndarray) -> np.ndarray:
    """The largest of each position's three edits, absolute."""
    return np.abs(values).reshape(-1, 3).max(axis=1)


def edited(X: np.ndarray, edits: list[tuple[int, int]]) -> np.ndarray:
    sequences = np.repeat(X[None], len(edits), axis=0)
    for sequence, (position, base) in zip(sequences, edits, strict=True):
        sequence[:, position] = BASES[base]
    return sequences


def effects(model: SequenceModel, X: np.ndarray, edits: list[tuple[int, int]]) -> np.ndarray:
    """Changes of the log counts by whole forward passes in float64, (E,)."""
    from dense_float64 import predict

    log_counts = predict(model.module, np.concatenate([X[None], edited(X, edits)]), group=0)["counts"]
    return log_counts[1:] - log_counts[0]


def effects_in_float32(model: SequenceModel, X: np.ndarray, edits: list[tuple[int, int]]) -> np.ndarray:
    """The same as cherimoya computes them."""
    log_counts = model.predict(np.concatenate([X[None], edited(X, edits)]))[1][:, 0].double().numpy()
    return log_counts[1:] - log_counts[0]


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


if __name__ == "__main__":
    main()

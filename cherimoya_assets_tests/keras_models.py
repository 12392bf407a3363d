"""Files as Keras saves the models of kundajelab/chrombpnet, ChromBPNet-lite and basepairmodels, with random weights.

Groups, layers and names of datasets are those of `model.save(...h5)` in TensorFlow 2:
`model_weights/LAYER/LAYER/kernel:0`, and of a model within a model `model_weights/MODEL/LAYER/kernel:0`. Kernels are
(width, in, out).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

Weights = Mapping[str, tuple[np.ndarray, np.ndarray]]


def chrombpnet_weights(*, filters: int = 6, layers: int = 3, prefix: str = "", seed: int = 0) -> Weights:
    """Layers of one model of `chrombpnet_with_bias_model.py` (prefix `wo_bias_`) or `bpnet_model.py` (the bias)."""
    random = np.random.default_rng(seed)

    def layer(*shape: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        kernel = random.normal(0, scale / np.sqrt(np.prod(shape[:-1])), shape)
        return kernel.astype(np.float32), random.normal(0, 0.1, shape[-1]).astype(np.float32)

    inner = f"{prefix}bpnet_" if prefix else ""
    return {
        f"{prefix}bpnet_1st_conv": layer(21, 4, filters, scale=2),
        **{f"{prefix}bpnet_{k}conv": layer(3, filters, filters) for k in range(1, layers + 1)},
        f"{inner}prof_out_precrop": layer(75, filters, 1),
        f"{inner}logcount_predictions": layer(filters, 1),
    }


def keras_forward(weights: Weights, X: np.ndarray, out: int) -> tuple[np.ndarray, np.ndarray]:
    """Keras's definition in float64: valid convolutions, crops before each sum, average over what is left.

    Args:
        X: (n, 4, length). out: bp of the profile, cropped symmetrically.

    Returns:
        Profile logits (n, out) and log counts (n,).
    """
    named = {name.removeprefix("wo_bias_").removeprefix("bpnet_"): value for name, value in weights.items()}
    x = np.maximum(_valid(X.transpose(0, 2, 1).astype(np.float64), *named["1st_conv"]), 0)
    for k in range(1, sum(name.endswith("conv") for name in named)):
        y = np.maximum(_valid(x, *named[f"{k}conv"], dilation=2**k), 0)
        crop = (x.shape[1] - y.shape[1]) // 2
        x = x[:, crop : x.shape[1] - crop] + y
    profile = _valid(x, *named["prof_out_precrop"])[:, :, 0]
    crop = (profile.shape[1] - out) // 2
    kernel, bias = named["logcount_predictions"]
    return profile[:, crop : profile.shape[1] - crop], (x.mean(axis=1) @ kernel.astype(float) + bias)[:, 0]


def _valid(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, dilation: int = 1) -> np.ndarray:
    width = (len(kernel) - 1) * dilation
    rows = x.shape[1] - width
    return sum(x[:, k * dilation : k * dilation + rows] @ kernel[k].astype(float) for k in range(len(kernel))) + bias


def save(path: Path, weights: Weights) -> Path:
    """A model alone: `chrombpnet_nobias.h5`, `bias.h5`."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.8.0", "tensorflow"
        _put(file.create_group("model_weights"), weights, nested=False)
    return path


def save_whole(path: Path, bias: Weights, accessibility: Weights) -> Path:
    """`chrombpnet.h5`: both, as models within a model."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.8.0", "tensorflow"
        group = file.create_group("model_weights")
        group.create_group("sequence")
        _put(group.create_group("model"), bias, nested=True)
        _put(group.create_group("model_wo_bias"), accessibility, nested=True)
    return path


def _put(group: h5py.Group, weights: Weights, *, nested: bool) -> None:
    for name, (kernel, bias) in weights.items():
        place = name if nested else f"{name}/{name}"
        group[f"{place}/kernel:0"], group[f"{place}/bias:0"] = kernel, bias


def basepairmodels_weights(*, filters: int = 6, layers: int = 3, seed: int = 0) -> Weights:
    """Layers of BPNet of basepairmodels, with two strands and two control tracks."""
    random = np.random.default_rng(seed)

    def layer(*shape: int) -> tuple[np.ndarray, np.ndarray]:
        kernel = random.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape)
        return kernel.astype(np.float32), random.normal(0, 0.1, shape[-1]).astype(np.float32)

    return {
        "main_conv_0": layer(21, 4, filters),
        **{f"main_dil_conv_{k}": layer(3, filters, filters) for k in range(1, layers + 1)},
        "main_profile_head": layer(75, filters, 2),
        "main_counts_head": layer(filters, 1),
        "profile_predictions": layer(1, 4, 2),
        "logcounts_predictions": layer(2, 1),
    }

"""Published models in Keras's HDF5 files: ChromBPNet, ChromBPNet-lite and BPNet (basepairmodels), without TensorFlow.

What lives here: whether a file is one, which model it holds, and its weights as a module of bpnet-lite. What must not:
what is done with a model (`bpnet_model.py`). Nothing of a file is executed: only names and arrays of numbers are read.

The weights are mapped by bpnet-lite's own loaders (`BPNet.from_chrombpnet`, `from_chrombpnet_lite`,
`BasePairNet.from_bpnet`). A whole ChromBPNet, which has both of its models nested in one file, is taken apart for them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cherimoya_assets.analysis.sequence_model import first_line
from cherimoya_assets.errors import ModelError

if TYPE_CHECKING:
    import torch

SIGNATURE = b"\x89HDF\r\n\x1a\n"

LARGEST = 1 << 28
"""Numbers in all of a file's arrays: some hundred times a ChromBPNet."""

BIAS, WITHOUT_BIAS = "bpnet_1st_conv", "wo_bias_bpnet_1st_conv"
"""First layers of ChromBPNet's two models (`chrombpnet/training/models` of kundajelab/chrombpnet)."""


def is_keras(start: bytes) -> bool:
    """Whether a file that begins with these bytes is HDF5."""
    return start.startswith(SIGNATURE)


def kind_of(path: Path, file: Any) -> str:
    """The family of the model in an open file, as an experiment calls it in `kind`.

    Raises:
        ModelError: it holds none that is known.
    """
    layers = _weights(path, file)
    if _nested(layers):
        return "chrombpnet"
    if BIAS in layers or WITHOUT_BIAS in layers or "conv1d_1" in layers or "model_1" in layers:
        return "bpnet"
    if "main_conv_0" in layers:
        return "basepairnet"
    named = ", ".join(sorted(layers)[:4]) or "none"
    raise ModelError(
        f"{path.name}: is HDF5, but no ChromBPNet or BPNet that Keras saved (its layers: {named}). Name the model's "
        "own file, as in model.chrombpnet_nobias.fold_0.encid.h5."
    )


def opened(path: Path, content: bytes) -> tuple[str, torch.nn.Module]:
    """The family of the model in a file's bytes, and the model as bpnet-lite has it, in float32.

    Raises:
        ModelError: damaged, or no model that is known.
    """
    import h5py

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            kind = kind_of(path, file)
            return kind, _module(kind, file, content)
    except (OSError, KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"{path.name}: cannot be read as a model that Keras saved ({first_line(error)}): it is damaged, or its "
            "layers have other names. Download it again."
        ) from error


def _module(kind: str, file: Any, content: bytes) -> torch.nn.Module:
    from bpnetlite.bpnet import BasePairNet, BPNet
    from bpnetlite.chrombpnet import ChromBPNet

    layers = file.get("model_weights", file)
    found: torch.nn.Module
    if nested := _nested(layers):
        bias, accessibility = (BPNet.from_chrombpnet(_flat(one)) for one in nested)
        found = ChromBPNet(bias, accessibility, name="ChromBPNet")
    elif kind == "basepairnet":
        found = BasePairNet.from_bpnet(io.BytesIO(content))
    elif BIAS in layers or WITHOUT_BIAS in layers:
        found = BPNet.from_chrombpnet(io.BytesIO(content))
    else:
        found = BPNet.from_chrombpnet_lite(io.BytesIO(content))
    return found


def _weights(path: Path, file: Any) -> Any:
    """The group of the layers, once it is known that all numbers are in this file and fit into memory.

    Raises:
        ModelError: the file names others, or is not of this size.
    """
    import h5py

    size = 0

    def look(group: Any) -> None:
        nonlocal size
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ModelError(f"{path.name}: {name} lies in another place or file. Name a file that Keras saved.")
            item = group[name]
            if isinstance(item, h5py.Group):
                look(item)
            elif item.external or item.is_virtual:
                raise ModelError(f"{path.name}: {name} lies in another file. Name a file that Keras saved.")
            else:
                size += item.size

    look(file)
    if size > LARGEST:
        raise ModelError(f"{path.name}: holds {size:,} numbers, which is no ChromBPNet or BPNet.")
    return file.get("model_weights", file)


def _nested(layers: Any) -> tuple[Any, Any] | None:
    """The bias and the accessibility model of a whole ChromBPNet; None where it is not one."""
    groups = [layers[name] for name in layers if hasattr(layers[name], "keys")]
    bias = [group for group in groups if BIAS in group]
    accessibility = [group for group in groups if WITHOUT_BIAS in group]
    return (bias[0], accessibility[0]) if bias and accessibility else None


def _flat(nested: Any) -> io.BytesIO:
    """A file of one model alone, as Keras would have saved it."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for layer in nested:
            for name in nested[layer]:
                file[f"model_weights/{layer}/{layer}/{name}"] = nested[layer][name][()]
    content.seek(0)
    return content

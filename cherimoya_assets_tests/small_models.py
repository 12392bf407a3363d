"""Small models of every kind, saved as their own libraries save them. Random, but no head of them is flat."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from bpnetlite.bpnet import BasePairNet, BPNet
from bpnetlite.chrombpnet import ChromBPNet
from cherimoya import Cherimoya

IN_WINDOW = 150
"""Wide enough for each of them: Cherimoya trims 49 bp on each side, the two others 53."""


@dataclass(frozen=True)
class NamedFile:
    """What an experiment says about a model file."""

    path: Path
    kind: str = "cherimoya"
    trusted: bool = False
    sha256: str | None = None

    @classmethod
    def trusting(cls, path: Path, kind: str) -> NamedFile:
        return cls(path, kind, True, hashlib.sha256(path.read_bytes()).hexdigest())


def cherimoya_file(folder: Path, *, signal_groups: Sequence[int] = (1,), controls: int = 0, seed: int = 0) -> NamedFile:
    model = Cherimoya(
        n_filters=8,
        n_layers=2,
        signal_groups=list(signal_groups),
        n_control_tracks=controls,
        compile=False,
        random_state=seed,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # Fresh output layers are zero, and so would every attribution be.
        for layer in (model.fconv, model.linear):
            layer.weight.normal_(0, 0.5, generator=generator)
    path = folder / f"cherimoya_{'_'.join(map(str, signal_groups))}_{controls}_{seed}.torch"
    model.save(str(path))
    return NamedFile(path)


def bpnet_file(folder: Path, *, outputs: int = 2, controls: int = 2, seed: int = 0, trimming: int = 53) -> NamedFile:
    path = folder / f"bpnet_{seed}.torch"
    model = _bpnet(outputs, controls, seed)
    model.trimming = trimming
    torch.save(model, path)
    return NamedFile.trusting(path, "bpnet")


def chrombpnet_file(folder: Path, *, seed: int = 0) -> NamedFile:
    path = folder / f"chrombpnet_{seed}.torch"
    torch.save(ChromBPNet(_bpnet(1, 0, seed + 1), _bpnet(1, 0, seed)), path)
    return NamedFile.trusting(path, "chrombpnet")


def basepairnet_file(folder: Path, *, outputs: int = 2, controls: int = 2, seed: int = 0) -> NamedFile:
    path = folder / f"basepairnet_{seed}.torch"
    torch.save(_bpnet(outputs, controls, seed, BasePairNet), path)
    return NamedFile.trusting(path, "basepairnet")


def _bpnet(outputs: int, controls: int, seed: int, kind: type[BPNet | BasePairNet] = BPNet) -> BPNet | BasePairNet:
    model = kind(n_filters=8, n_layers=2, n_outputs=outputs, n_control_tracks=controls, trimming=53, verbose=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            # Twice as wide as torch's own initial weights, so that the activations do not stay in their linear part.
            parameter.uniform_(-1, 1, generator=generator).mul_(2 / max(parameter[0].numel(), 4) ** 0.5)
    return model.eval()

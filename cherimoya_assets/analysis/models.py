"""Trained models: which families there are, and opening a file of one safely.

A pickled file is opened only when the experiment calls it trusted and names its sha256, and then from the very bytes
that were hashed. To add a family: a class under `SequenceModel`, in a module of its own, and a row here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from cherimoya_assets.analysis.bpnet_model import BasePairNetModel, BPNetModel, ChromBPNetModel
from cherimoya_assets.analysis.cherimoya_model import CherimoyaModel
from cherimoya_assets.analysis.keras_file import SIGNATURE, is_keras, kind_of, opened
from cherimoya_assets.analysis.sequence_model import SequenceModel, threads_at_first
from cherimoya_assets.errors import ModelError

FAMILIES: dict[str, type[SequenceModel]] = {
    family.kind: family for family in (CherimoyaModel, BPNetModel, BasePairNetModel, ChromBPNetModel)
}
"""By what an experiment calls them in `kind`."""


DEFAULT = CherimoyaModel.kind
"""Of a file of which an experiment says nothing."""


class ModelFileLike(Protocol):
    """What an experiment says about a model file."""

    @property
    def path(self) -> Path: ...
    @property
    def kind(self) -> str: ...
    @property
    def trusted(self) -> bool: ...
    @property
    def sha256(self) -> str | None: ...


def load_model(file: ModelFileLike, device: str = "cpu") -> SequenceModel:
    """Open a model file without executing anything that is not trusted.

    Raises:
        ModelError: missing, damaged, of another kind, or pickled and not trusted; says what to do.
    """
    threads_at_first()
    if file.path.exists() and not (file.path.is_file() or file.path.is_dir()):
        # A pipe or /dev/zero would be read for ever.
        raise ModelError(f"{file.path}: cannot be read (not a regular file). Name the checkpoint itself.")
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{file.path}: cannot be read ({error.strerror}). Restore it or correct `model` in the experiment file."
        ) from error
    fingerprint = hashlib.sha256(content).hexdigest()
    if file.sha256 is not None and file.sha256 != fingerprint:
        raise ModelError(
            f"{file.path.name}: its sha256 is {fingerprint}, but the experiment file says {file.sha256}. "
            "This is not the intended file; restore it, or correct the sha256 if you trust it."
        )
    if is_keras(content):
        return _published(file, content, fingerprint, device)
    family = FAMILIES[file.kind]
    if family.pickled and not (file.trusted and file.sha256 is not None):
        raise ModelError(
            f"{file.path.name}: {file.kind} files are pickled Python and can execute code when opened. If you trust "
            f"where it came from, write `trusted: true` and `sha256: {fingerprint}` beside its path."
        )
    return family.opened(file.path, content, fingerprint, device)


def family_of(file: ModelFileLike) -> type[SequenceModel]:
    """The family of a file, found by itself where Keras saved it; of one that cannot be read, what `kind` says."""
    import h5py

    try:
        with file.path.open("rb") as handle:
            if is_keras(handle.read(len(SIGNATURE))):
                with h5py.File(handle, "r") as held:
                    return FAMILIES[kind_of(file.path, held)]
    except (OSError, RuntimeError, KeyError, ModelError):
        # Opening it says why.
        pass
    return FAMILIES[file.kind]


def _published(file: ModelFileLike, content: bytes, fingerprint: str, device: str) -> SequenceModel:
    """A model that Keras saved: its family is found in it, and nothing of it is executed."""
    kind, module = opened(file.path, content)
    if file.kind not in (DEFAULT, kind):
        raise ModelError(
            f"{file.path.name}: holds a {kind}, but `kind` says {file.kind}. Correct `kind` or leave it out."
        )
    family = FAMILIES[kind]
    assert issubclass(family, BPNetModel)
    return family.holding(file.path, module, fingerprint, device)

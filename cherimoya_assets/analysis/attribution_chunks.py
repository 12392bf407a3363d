"""Scores that are kept while the rest is computed, so that a crash costs a chunk and not the partition.

What lives here: what a chunk is, the fingerprint that it is kept under, and filling the scores of one model from chunks
that are there and from loci as they are done. What must not: where chunks are kept (`resources/chunks.py` for a store;
anything with `get` and `put` will do, a dict in a notebook too).

A chunk is named by a hash of everything that decides its numbers, its sequences among it. What was kept for other
sequences, another model or another release of a library has another name and is never looked at.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.analysis.hashing import combined_sha256
from cherimoya_assets.analysis.locus_by_locus import LocusByLocus, pace

if TYPE_CHECKING:
    from cherimoya_assets.analysis.sequence_model import SequenceModel

CHUNK = 64
"""Consecutive loci of a chunk. A number of its own, so that where chunks end depends on no clock, memory or device.

What a crash costs, against what keeping costs. A default Cherimoya takes 3 s a locus on two cores, and 40 s where
everything is dense: a chunk is 3 minutes, or 45. The demo's takes 0.2 s: 13 s. On a GPU, at hundreds of loci a second,
it is a fraction of a second, and keeping it (half a megabyte a head at 500 bp; hashed and synced) about 10 ms."""

PACKAGES = ("cherimoya", "tangermeme", "bpnet-lite", "torch", "numba", "numpy")
"""Whose releases decide numbers. What this package's own code decides has the engine's version, and where chunks are
stored the step's: its commits do not count."""


@dataclass(frozen=True)
class AttributionChunk:
    """What one model says of some consecutive loci.

    Attributes:
        fingerprint: what it is kept under.
        scores: head to float32 (n, 4, width), hypothetical.
        checks: for each locus how it was verified; empty where the method verifies nothing.
        facts: what the computation said of itself before it began.
    """

    fingerprint: str
    scores: Mapping[str, NDArray[np.float32]]
    checks: tuple[Mapping[str, Any], ...]
    facts: Mapping[str, Any]

    def fits(self, fingerprint: str, outputs: Sequence[str], shape: tuple[int, int, int]) -> bool:
        """Whether it is what was asked for."""
        return self.fingerprint == fingerprint and {head: a.shape for head, a in self.scores.items()} == dict.fromkeys(
            outputs, shape
        )

    def write(self, folder: Path) -> None:
        # Not compressed: it lives for minutes, and compressing would take longer than all the rest.
        for head, scores in self.scores.items():
            np.save(folder / f"{head}.npy", scores, allow_pickle=False)
        about = {
            "fingerprint": self.fingerprint,
            "heads": list(self.scores),
            "checks": self.checks,
            "facts": self.facts,
        }
        (folder / "about.json").write_text(json.dumps(about))

    @classmethod
    def read(cls, folder: Path) -> Self:
        about = json.loads((folder / "about.json").read_text())
        scores = {head: np.load(folder / f"{head}.npy", allow_pickle=False) for head in about["heads"]}
        return cls(about["fingerprint"], scores, tuple(about["checks"]), about["facts"])


class Chunks(Protocol):
    """Where chunks are kept."""

    def get(self, fingerprint: str) -> AttributionChunk | None:
        """The chunk that was kept under a fingerprint, whole and undamaged, or None."""
        ...

    def put(self, chunk: AttributionChunk) -> None:
        """Keep a chunk, whole or not at all."""
        ...


@dataclass(frozen=True)
class Resumed:
    """How much of a computation was there already: chunks, and loci in them, over all folds."""

    chunks: int
    of_chunks: int
    loci: int
    of_loci: int


def chunk_rows(n: int) -> list[range]:
    """The rows of each chunk of `n` loci."""
    return [range(first, min(first + CHUNK, n)) for first in range(0, n, CHUNK)]


def fingerprints(one_hot: NDArray[np.int8], decisive: Mapping[str, Any]) -> list[str]:
    """What each chunk of these sequences is kept under.

    Args:
        one_hot: int8 (n, 4, L).
        decisive: everything else that decides a number, for JSON.
    """
    everything = json.dumps({**decisive, "packages": {name: version(name) for name in PACKAGES}}, sort_keys=True)
    chunks = (one_hot[rows.start : rows.stop] for rows in chunk_rows(len(one_hot)))
    return [
        combined_sha256(everything, repr(chunk.shape), hashlib.sha256(np.ascontiguousarray(chunk).data).hexdigest())
        for chunk in chunks
    ]


def computed_on(model: SequenceModel, device: str, *, shared_sums: bool) -> str:
    """What of a machine decides the last bits: the kind of GPU; on a CPU its vector instructions.

    Args:
        model, device: what is computed where.
        shared_sums: whether a sum on a CPU is shared by threads, so that their number counts. Windowed mutagenesis
            sums in one.
    """
    import torch

    if device.startswith("cuda"):
        return f"cuda {torch.cuda.get_device_name(device)}"
    with model.numerics():
        shared = f" {torch.get_num_threads()} threads" if shared_sums else ""
    return f"{device} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}{shared}"


@dataclass
class ModelScores:
    """The scores of all loci by one model, filled from chunks that were kept and from loci as they are done.

    Attributes:
        names: fingerprints of the chunks. outputs: heads. shape: (n, 4, width).
        chunks: where they are kept, None for nowhere.
        scores: head to float32 of that shape. checks: by row. facts: of the first chunk.
        missing: rows that have to be computed. resumed: how many chunks were there.
    """

    names: Sequence[str]
    outputs: Sequence[str]
    shape: tuple[int, int, int]
    chunks: Chunks | None
    scores: dict[str, NDArray[np.float32]] = field(init=False)
    checks: dict[int, Mapping[str, Any]] = field(init=False, default_factory=dict)
    facts: Mapping[str, Any] | None = field(init=False, default=None)
    missing: list[int] = field(init=False, default_factory=list)
    resumed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.scores = {head: np.zeros(self.shape, dtype=np.float32) for head in self.outputs}
        for number, rows in enumerate(chunk_rows(self.shape[0])):
            chunk = None if self.chunks is None else self.chunks.get(self.names[number])
            if chunk is None or not chunk.fits(self.names[number], self.outputs, (len(rows), *self.shape[1:])):
                self.missing += rows
                continue
            self.resumed += 1
            for head, scores in chunk.scores.items():
                self.scores[head][rows.start : rows.stop] = scores
            self.checks |= dict(zip(rows, chunk.checks, strict=False))
            if not number:
                self.facts = chunk.facts

    def fill(self, work: LocusByLocus) -> Iterator[int]:
        """Take what is missing from a computation of the missing sequences, keep each chunk when it is whole.

        Yields:
            The rows that are done, one by one.
        """
        left = [len(rows) for rows in chunk_rows(self.shape[0])]
        if self.facts is None:
            self.facts = work.facts
        with closing(work.loci) as loci:
            for locus in loci:
                row = self.missing[locus.row]
                for head in self.outputs:
                    self.scores[head][row] = locus.scores[head]
                if locus.check is not None:
                    self.checks[row] = locus.check
                left[row // CHUNK] -= 1
                if not left[row // CHUNK]:
                    self._keep(row // CHUNK, work.facts)
                yield row

    def report(self, work: LocusByLocus, seconds: float) -> dict[str, Any]:
        """What is to be said of it: the same as if nothing had been there already, but for the time that it took."""
        return {**(self.facts or {}), **pace(len(self.missing), seconds), **work.summary(self.checks)}

    def _keep(self, number: int, facts: Mapping[str, Any]) -> None:
        rows = chunk_rows(self.shape[0])[number]
        scores = {head: self.scores[head][rows.start : rows.stop] for head in self.outputs}
        # A chunk with NaN is for the check that refuses it, and not for the next run.
        if self.chunks is None or not all(np.isfinite(values).all() for values in scores.values()):
            return
        checks = tuple(self.checks[row] for row in rows if row in self.checks)
        self.chunks.put(AttributionChunk(self.names[number], scores, checks, facts))

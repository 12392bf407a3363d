"""What the asset factories of one experiment share: its keys, its partitions, its version of everything.

What belongs here: names, partitions, code versions and the stamp that every materialization carries. What does not:
anything that computes biology.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import PreviewWarning
from pydantic import BaseModel

from cherimoya_assets.analysis.genome import Genome, default_chroms, open_genome
from cherimoya_assets.analysis.hashing import combined_sha256, file_sha256, file_state
from cherimoya_assets.errors import InputError
from cherimoya_assets.experiment import Experiment
from cherimoya_assets.experiment.model import not_a_partition
from cherimoya_assets.home import Home
from cherimoya_assets.resources.storage import AssetStore

STEP_VERSIONS: Mapping[str, int] = {
    "one_hot_sequences": 1,
    "attributions": 3,
    "seqlet_null": 1,
    "seqlets": 1,
    "annotated_seqlets": 1,
    "modisco_patterns": 1,
    "modisco_report": 1,
    "marginalization_backgrounds": 1,
    "marginalization_effects": 3,
    "marginalization_report": 1,
    "attribution_tracks": 1,
    "experiment_report": 1,
}
"""Raise a step's number when its code gives other results for the same inputs."""

PACKAGES = ("cherimoya", "tangermeme", "bpnet-lite", "modisco-lite", "memelite", "torch", "numba", "numpy", "pandas")
"""What a stamp names besides this package and Python."""


@dataclass(frozen=True)
class ExperimentLineage:
    """One experiment as Dagster sees it."""

    experiment: Experiment
    home: Home

    @property
    def name(self) -> str:
        return self.experiment.name

    @property
    def heads(self) -> tuple[str, ...]:
        return self.experiment.output

    def key(self, *parts: str) -> dg.AssetKey:
        """`[experiment, asset]`, or `[experiment, head, asset]`."""
        return dg.AssetKey([self.name, *parts])

    @property
    def genome_key(self) -> dg.AssetKey:
        return input_key("genome", self.experiment.sequences)

    @property
    def motifs_key(self) -> dg.AssetKey:
        if self.motif_file is None:
            raise ValueError("this experiment has no motif database")
        return input_key("motif_database", self.motif_file)

    @property
    def marginalize_motifs_key(self) -> dg.AssetKey:
        if self.marginalize_motif_file is None:
            raise ValueError("this experiment has no motif database")
        return input_key("motif_database", self.marginalize_motif_file)

    @property
    def motif_file(self) -> Path | None:
        return self.experiment.motifs

    @property
    def marginalizes(self) -> bool:
        """Whether there are motifs to insert and loci to insert them into."""
        return self.marginalize_motif_file is not None and bool(self.background_files)

    @property
    def marginalize_motif_file(self) -> Path | None:
        return self.experiment.marginalize.motifs or self.experiment.motifs

    @property
    def background_files(self) -> tuple[Path, ...]:
        return self.experiment.marginalize.loci or self.experiment.negatives

    @property
    def genome(self) -> Genome:
        """The genome as it is now: a process can live long, and the file be replaced meanwhile."""
        state = file_state(self.experiment.sequences)
        if self._opened_genome.get("state") != state:
            self._opened_genome.update(state=state, genome=open_genome(self.experiment.sequences, self.home.cache))
        genome: Genome = self._opened_genome["genome"]
        return genome

    @cached_property
    def _opened_genome(self) -> dict[str, Any]:
        return {}

    @cached_property
    def chroms(self) -> tuple[str, ...]:
        """Selected chromosomes, largest first: a long one started last would be waited for."""
        sizes = self.genome.chrom_sizes
        chosen = self.experiment.chroms or default_chroms(sizes)
        for chrom in chosen:
            if refusal := not_a_partition(chrom):
                raise InputError(f"{self.experiment.sequences.name}: {refusal}. Name the ones to use in `chroms`.")
        return tuple(sorted(chosen, key=lambda chrom: (-sizes.get(chrom, 0), chrom)))

    @cached_property
    def partitions(self) -> dg.StaticPartitionsDefinition:
        return dg.StaticPartitionsDefinition(list(self.chroms))

    @property
    def store(self) -> AssetStore:
        return AssetStore(self.home.store)

    def code_version(self, step: str, *parameters: object, packages: tuple[str, ...] = ()) -> str:
        """The step's own number, the part of the experiment that it reads, the libraries that decide its numbers."""
        parts = [step, str(STEP_VERSIONS[step]), *(f"{name}={package_version(name)}" for name in packages)]
        parts += [_plain(parameter) for parameter in parameters]
        return f"{STEP_VERSIONS[step]}.{combined_sha256(*parts)[:12]}"

    def spec(self, step: str, *, partitioned: bool, code_version: str, kinds: set[str], **extra: Any) -> dict[str, Any]:
        """The arguments that every asset of the experiment has in common."""
        arguments: dict[str, Any] = {
            "group_name": self.name,
            "code_version": code_version,
            "kinds": kinds,
            "tags": {"experiment": self.name, "step": step},
            "io_manager_key": "store",
            **extra,
        }
        if partitioned:
            arguments["partitions_def"] = self.partitions
        return arguments

    def checks(
        self, key: dg.AssetKey, *names: str, partitioned: bool, blocking: bool = True
    ) -> list[dg.AssetCheckSpec]:
        """Check specs of an asset, a result for each chromosome where the asset has them."""
        with warnings.catch_warnings():
            # Partitioned checks are a preview in Dagster 1.13; without them one chromosome's pass
            # would hide another's failure. Accepted here, and only here.
            warnings.simplefilter("ignore", PreviewWarning)
            return [
                dg.AssetCheckSpec(
                    name, asset=key, blocking=blocking, partitions_def=self.partitions if partitioned else None
                )
                for name in names
            ]

    def input_version(self, *paths: Path) -> str:
        """The content version of one input that is made of these files."""
        return combined_sha256(*(file_sha256(path, self.home.cache) for path in paths))

    def stamp(self, step: str, inputs: Mapping[str, str], parameters: Mapping[str, Any], device: str) -> dict[str, Any]:
        """Where a materialization comes from: enough to make it again."""
        from cherimoya_assets import __version__

        return {
            "experiment": self.name,
            "experiment_file": str(self.experiment.source),
            "home": str(self.home.root),
            "step": step,
            "step_version": STEP_VERSIONS[step],
            "inputs": dict(inputs),
            "parameters": {name: _jsonable(value) for name, value in parameters.items()},
            "device": device,
            "packages": {
                "cherimoya_assets": __version__,
                "python": platform.python_version(),
                **{name: package_version(name) for name in PACKAGES},
            },
            "platform": platform.platform(),
        }


def input_key(kind: str, path: Path) -> dg.AssetKey:
    """The key of an input that experiments share: the same file is the same node of the lineage.

    The file's name makes it readable, six digits of its path's hash keep two `genome.fa` apart.
    """
    stem = "".join(c if c.isalnum() else "_" for c in path.name)
    return dg.AssetKey([kind, f"{stem}_{combined_sha256(str(path.resolve()))[:6]}"])


@cache
def package_version(name: str) -> str:
    """The installed version of a package."""
    return version(name)


def _plain(parameter: object) -> str:
    if isinstance(parameter, BaseModel):
        return parameter.model_dump_json()
    return repr(parameter)


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return value

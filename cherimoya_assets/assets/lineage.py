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
from importlib import metadata
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import PreviewWarning

from cherimoya_assets.analysis.genome import Genome, open_genome
from cherimoya_assets.analysis.hashing import combined_sha256, file_sha256, file_state
from cherimoya_assets.analysis.main_chromosomes import main_chromosomes
from cherimoya_assets.errors import InputError
from cherimoya_assets.experiment import Experiment
from cherimoya_assets.experiment.model import not_a_partition
from cherimoya_assets.home import Home
from cherimoya_assets.resources.stamp import FORMAT, Stamp
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets.steps import (
    Input,
    Step,
    background_files,
    inputs_of,
    marginalize_motifs,
    marginalizes,
    steps_of,
)
from cherimoya_assets.version import version

THIS_CODE = version()
"""Asked for when the code is imported: a checkout can move on while this process computes for hours."""

PACKAGES = ("cherimoya", "tangermeme", "bpnet-lite", "modisco-lite", "memelite", "torch", "numba", "numpy", "pandas")
"""What every stamp names besides this package, Python and the packages of its own step."""


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

    @cached_property
    def steps(self) -> dict[str, Step]:
        """The steps that the experiment has, by name, in the order of the table."""
        return {row.name: row for row in steps_of(self.experiment)}

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """The inputs that the experiment has, by name."""
        return {row.name: row for row in inputs_of(self.experiment)}

    def step_of(self, key: dg.AssetKey) -> Step:
        """The row of an asset.

        Raises:
            ValueError: the experiment has no such asset, or it is an input.
        """
        if key.path[0] == self.name and (row := self.steps.get(key.path[-1])) is not None:
            return row
        raise ValueError(f"{key.to_user_string()} is not made by a step of {self.name}")

    def keys_of(self, step: Step) -> list[dg.AssetKey]:
        """The assets of a step, one a head where it has them."""
        return [self.key(head, step.name) for head in self.heads] if step.per_head else [self.key(step.name)]

    @cached_property
    def asset_keys(self) -> list[dg.AssetKey]:
        """Everything that is made, in the order of the table."""
        return [key for row in self.steps.values() for key in self.keys_of(row)]

    def partitions_of(self, key: dg.AssetKey) -> tuple[str | None, ...]:
        """The chromosomes of an asset, (None,) of a pooled one."""
        return self.chroms if self.step_of(key).by_chromosome else (None,)

    def input_key(self, name: str) -> dg.AssetKey:
        """The key of an input.

        Raises:
            KeyError: the experiment has no such input.
        """
        row = self.inputs[name]
        return input_key(row.shared, row.files(self.experiment)[0]) if row.shared else self.key(name)

    @cached_property
    def inputs_by_key(self) -> dict[dg.AssetKey, Input]:
        """The inputs of the experiment by their keys; a file that is read for two purposes is one."""
        return {self.input_key(name): row for name, row in self.inputs.items()}

    def files_of(self, key: dg.AssetKey) -> tuple[Path, ...]:
        """The files of an input."""
        return self.inputs_by_key[key].files(self.experiment)

    @property
    def motif_file(self) -> Path | None:
        return self.experiment.motifs

    @property
    def marginalizes(self) -> bool:
        """Whether there are motifs to insert and loci to insert them into."""
        return marginalizes(self.experiment)

    @property
    def motif_database(self) -> Path:
        """The motif file of an experiment that has one."""
        assert self.experiment.motifs is not None
        return self.experiment.motifs

    @property
    def marginalize_motif_file(self) -> Path:
        """The motifs of an experiment that marginalizes."""
        motifs = marginalize_motifs(self.experiment)
        assert motifs is not None
        return motifs

    @property
    def background_files(self) -> tuple[Path, ...]:
        return background_files(self.experiment)

    @property
    def genome(self) -> Genome:
        """The genome as it is now: a process can live long, and the file be replaced meanwhile."""
        state = file_state(self.experiment.sequences)
        if "genome" not in self._opened_genome or self._opened_genome["state"] != state:
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
        chosen = self.experiment.chroms
        if chosen is None:
            main = main_chromosomes(sizes)
            if not main.chosen:
                raise InputError(f"{self.experiment.sequences.name}: {main.why_none}.")
            chosen = main.chosen
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

    def code_version(self, step: Step) -> str:
        """The step's own number, the part of the experiment that it reads, the libraries that decide its numbers."""
        parts = [step.name, str(step.version), *(f"{name}={package_version(name)}" for name in step.packages)]
        parts += [text for group in step.parameters for text in group.texts(self.experiment)]
        if step.pools_chroms:
            parts.append(repr(self.chroms))
        return f"{step.version}.{combined_sha256(*parts)[:12]}"

    def check_specs(self, step: Step, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
        """Check specs of an asset, a result for each chromosome where the asset has them."""
        partitions = self.partitions if step.by_chromosome else None
        names = step.checks(self.experiment) if callable(step.checks) else step.checks
        with warnings.catch_warnings():
            # Partitioned checks are a preview in Dagster 1.13; without them one chromosome's pass
            # would hide another's failure. Accepted here, and only here.
            warnings.simplefilter("ignore", PreviewWarning)
            return [
                dg.AssetCheckSpec(name, asset=key, blocking=name in names, partitions_def=partitions)
                for name in (*names, *step.warnings)
            ]

    def input_version(self, *paths: Path) -> str:
        """The content version of one input that is made of these files."""
        return combined_sha256(*(file_sha256(path, self.home.cache) for path in paths))

    def stamp(self, step: Step, inputs: Mapping[str, str], more: Mapping[str, Any], device: str = "cpu") -> Stamp:
        """Where a materialization comes from: enough to make it again. `more` is said beside the parameters."""
        parameters = {**step.parameter_values(self.experiment), **more}
        return Stamp(
            format=FORMAT,
            experiment=self.name,
            experiment_file=str(self.experiment.source),
            home=str(self.home.root),
            step=step.name,
            step_version=step.version,
            inputs=dict(inputs),
            parameters={name: jsonable(value) for name, value in parameters.items()},
            device=device,
            packages={
                "cherimoya_assets": THIS_CODE,
                "python": platform.python_version(),
                **{name: package_version(name) for name in (*PACKAGES, *step.packages)},
            },
            platform=platform.platform(),
        )


def input_key(kind: str, path: Path) -> dg.AssetKey:
    """The key of an input that experiments share: the same file is the same node of the lineage.

    The file's name makes it readable, six digits of its path's hash keep two `genome.fa` apart.
    """
    stem = "".join(c if c.isalnum() else "_" for c in path.name)
    return dg.AssetKey([kind, f"{stem}_{combined_sha256(str(path.resolve()))[:6]}"])


@cache
def package_version(name: str) -> str:
    """The installed version of a package."""
    return metadata.version(name)


def jsonable(value: Any) -> Any:
    """As a stamp records it."""
    return list(value) if isinstance(value, tuple) else value

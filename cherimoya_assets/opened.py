"""An experiment as a notebook sees it: everything that is stored of it, by name, as arrays and data frames.

What belongs here: finding what is stored, and putting chromosomes together. What does not: making anything, and whether
what is stored is up to date (`cherimoya-assets drift`). What is read is whole and verified, and nothing is written but
the store's note of a damaged file, so that a notebook can look while a run is going on.
"""

from __future__ import annotations

import difflib
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from cherimoya_assets.analysis.annotation import AnnotatedSeqlets
from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.analysis.marginalization import EffectTable, pool_effects
from cherimoya_assets.analysis.modisco import pool_blocks
from cherimoya_assets.analysis.one_hot import SequenceBlock
from cherimoya_assets.analysis.seqlets import SeqletTable
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.errors import InputError, StorageError
from cherimoya_assets.experiment import Experiment, read_experiment
from cherimoya_assets.home import Home, default_home


def open_experiment(path: str | Path, home: str | Path | None = None) -> OpenedExperiment:
    """Open what is stored of an experiment.

    Args:
        path: the experiment file.
        home: the folder that `--home` names; None for the one beside the experiment file.

    Raises:
        Problems, ExperimentError: the experiment file is not valid.
        InputError: the genome cannot be read, which says which chromosomes there are.
        StorageError: there is no such home.
    """
    experiment = read_experiment(Path(path).expanduser())
    place = default_home(experiment.source) if home is None else Home(Path(home).expanduser().resolve())
    if not place.root.is_dir():
        raise StorageError(f"{place.root}: there is no such home. Name the folder of a run, or run {path} first.")
    return OpenedExperiment(ExperimentLineage(experiment, place))


class OpenedExperiment:
    """What is stored of an experiment. `opened[name]` is all of an asset, `opened[name, chrom]` that of one chromosome.

    What comes back is described in docs/notebook.md, and each time it is what is stored now.
    """

    def __init__(self, lineage: ExperimentLineage) -> None:
        self._lineage = lineage
        self._keys = {"/".join(key.path[1:]): key for key in lineage.asset_keys}

    @property
    def experiment(self) -> Experiment:
        """The experiment file."""
        return self._lineage.experiment

    @property
    def home(self) -> Home:
        """Where it is stored."""
        return self._lineage.home

    @property
    def chroms(self) -> tuple[str, ...]:
        """The chromosomes, in the order in which they are put together: largest first."""
        return self._lineage.chroms

    def names(self) -> list[str]:
        """The assets that the experiment has, stored or not: `seqlets` of the head counts are `counts/seqlets`."""
        return list(self._keys)

    def state(self, name: str) -> str:
        """Of an asset: `stored`, `16 of 16 chromosomes`, `not stored yet`, or what is damaged.

        Raises:
            InputError: the experiment has no such asset.
        """
        key = self._key(name)
        partitions = self._lineage.partitions_of(key)
        held = [self._lineage.store.look(tuple(key.path), partition) for partition in partitions]
        damage = "".join(f"; damaged: {one.damage}" for one in held if one.damage)
        stored = sum(one.manifest is not None for one in held)
        if partitions != (None,):
            return f"{stored} of {len(partitions)} chromosomes" + damage
        return ("stored" if stored else "not stored yet") + damage

    def __getitem__(self, asked: str | tuple[str, str]) -> Any:
        """The value of an asset, every file verified against the hash that it was stored with.

        Args:
            asked: the name of an asset, or the name and a chromosome.

        Returns:
            The stored value. For an asset by chromosome without a chromosome, all of them: the same type with `chrom`
            empty and the rows of one chromosome after the other, in the order of `chroms` (effects: of the motifs);
            attributions are PooledAttributions; what cannot be put together is a dict by chromosome.

        Raises:
            InputError: the experiment has no such asset, or the asset no such chromosome.
            StorageError: it is not stored yet, or is damaged.
        """
        name, chrom = (asked, None) if isinstance(asked, str) else asked
        key = self._key(name)
        partitions = self._lineage.partitions_of(key)
        if chrom is None:
            values = self._load(name, key, partitions)
            return values[0] if partitions == (None,) else _together(self.chroms, values)
        if chrom not in partitions:
            has = (
                "is one for all chromosomes"
                if partitions == (None,)
                else f"has the chromosomes {', '.join(self.chroms)}"
            )
            raise InputError(f"{name} {has}; there is no {chrom}.")
        return self._load(name, key, (chrom,))[0]

    def __repr__(self) -> str:
        width = max(map(len, self._keys))
        lines = [f"{self._lineage.name} in {self.home.root}"]
        return "\n".join([*lines, *(f"  {name:{width}}  {self.state(name)}" for name in self._keys)])

    def _ipython_key_completions_(self) -> list[str]:
        return self.names()

    def _key(self, name: str) -> dg.AssetKey:
        if name in self._keys:
            return self._keys[name]
        near = difflib.get_close_matches(name, self._keys, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(self._keys)}."
        raise InputError(f"{self._lineage.name} has no asset {name!r}. {hint}")

    def _load(self, name: str, key: dg.AssetKey, partitions: Sequence[str | None]) -> list[Any]:
        store, path = self._lineage.store, tuple(key.path)
        held = {partition: store.look(path, partition) for partition in partitions}
        if absent := [part for part, found in held.items() if found.manifest is None and not found.damage]:
            of = "" if absent == [None] else f" for {', '.join(map(str, absent))}"
            there = ", ".join(chrom for chrom in store.partitions(path) if chrom is not None)
            command = shlex.join(["run", str(self.experiment.source), "--home", str(self.home.root)])
            raise StorageError(
                f"{name} is not stored yet{of}{there and f' (it is for {there})'}. Make it: cherimoya-assets {command}"
            )
        if len({one.manifest.stamp.code_version for one in held.values() if one.manifest is not None}) > 1:
            warnings.warn(
                f"{name}: not all chromosomes were made with the same parameters, libraries and code; "
                f"`cherimoya-assets drift {self.experiment.source}` says which are out of date.",
                stacklevel=3,
            )
        return [store.load(path, partition) for partition in partitions]


def _together(chroms: Sequence[str], values: Sequence[Any]) -> Any:
    """The values of all chromosomes as one."""
    match values[0]:
        case AttributionBlock():
            return pool_blocks(values, [str(locus) for block in values for locus in block.locus_id])
        case EffectTable():
            return pool_effects(values)
        case SequenceBlock():
            one_hot = np.concatenate([block.one_hot for block in values])
            return SequenceBlock("", one_hot, pd.concat([block.loci for block in values], ignore_index=True))
        case SeqletTable() | AnnotatedSeqlets():
            table = pd.concat([value.table for value in values], ignore_index=True)
            return replace(values[0], chrom="", table=table)
    return dict(zip(chroms, values, strict=True))

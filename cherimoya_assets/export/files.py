"""Which files an export writes, and what is in them.

What belongs here: file names, the order of rows, which asset a file is made of. What does not: science; the texts of
BED files come from `analysis/`, the marginalization folder from `reports/`.

Names, keys and orders follow `cherimoya pipeline` 0.3.1, so that every step can be left here and entered there:
`cherimoya seqlets`, `ttl`, `modisco motifs`, `modisco report` and Fi-NeMo read what is written. Rows are in
cherimoya's order (interleaved loci files, filtered by chromosome), joined by locus id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from cherimoya_assets.analysis.annotation import ttl_text
from cherimoya_assets.analysis.loci import interleave, read_loci
from cherimoya_assets.analysis.modisco import ModiscoPatterns, PooledAttributions, pool_blocks
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.seqlets import cherimoya_seqlets_bed
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.marginalization import pooled_effects
from cherimoya_assets.errors import ExperimentError, StorageError
from cherimoya_assets.export.parameters import cherimoya_parameters
from cherimoya_assets.export.placing import place
from cherimoya_assets.reports.folder import copy_report
from cherimoya_assets.reports.marginalization import write_bpnetlite_layout
from cherimoya_assets.resources.storage import Manifest
from cherimoya_assets.version import version


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and what it could not write, a sentence each."""

    paths: tuple[Path, ...]
    left_out: tuple[str, ...]


def export_experiment(lineage: ExperimentLineage, folder: Path, heads: Sequence[str]) -> Exported:
    """Write the files of these heads into `folder`, one head directly, several each into a folder of its own.

    Raises:
        StorageError: no attributions are stored for a head, or what is stored is damaged.
        ExperimentError: a file is in the way that no export wrote.
    """
    paths: list[Path] = []
    left_out: list[str] = []
    for head in heads:
        if len(heads) > 1 and (folder / head).is_symlink():
            raise ExperimentError(
                f"{folder / head}: is a link to somewhere else. Remove the link, or name another folder with --to."
            )
        written, missing = _export_head(lineage, head, folder if len(heads) == 1 else folder / head)
        paths += written
        left_out += missing
    return Exported(tuple(paths), tuple(left_out))


def _export_head(lineage: ExperimentLineage, head: str, folder: Path) -> tuple[list[Path], list[str]]:
    source = _Head(lineage, head)
    attributions = lineage.key(head, "attributions")
    if absent := source.absent(attributions):
        raise StorageError(
            f"{attributions.to_user_string()} is not stored for {', '.join(absent)} in {lineage.home.root}. "
            f"Run the experiment first: cherimoya-assets run {lineage.experiment.source} --home {lineage.home.root}"
        )
    items = list(source.items())
    stored = [item for item in items if not any(source.absent(key) for key in item.assets)]
    left_out = [
        f"{item.name}: {key.to_user_string()} has not been made for {', '.join(source.absent(key))}"
        for item in items
        if item not in stored
        for key in item.assets
    ]
    paths = place(
        folder,
        {item.name: item.write for item in stored},
        f"{lineage.name}.export.json",
        lambda hashes: source.description(stored, hashes),
    )
    return paths, left_out


@dataclass(frozen=True)
class _Item:
    """One file or folder to write, and the assets that it is made of."""

    name: str
    assets: tuple[dg.AssetKey, ...]
    write: Callable[[Path], None]


class _Head:
    """The stored assets of one head, read when they are needed, in cherimoya's order."""

    def __init__(self, lineage: ExperimentLineage, head: str) -> None:
        self.lineage, self.head = lineage, head

    def items(self) -> Iterator[_Item]:
        """Everything that the pipeline would have written, in the order of its steps."""
        lineage, name = self.lineage, self.lineage.name
        attributions, seqlets = lineage.key(self.head, "attributions"), lineage.key(self.head, "seqlets")
        annotated = lineage.key(self.head, "annotated_seqlets")
        patterns, report = lineage.key(self.head, "modisco_patterns"), lineage.key(self.head, "modisco_report")
        yield _Item(f"{name}.attributions.ohe.npz", (attributions,), self._write_one_hot)
        yield _Item(f"{name}.attributions.attr.npz", (attributions,), self._write_scores)
        yield _Item(f"{name}.attributions.idxs.npy", (attributions,), self._write_mask)
        yield _Item(f"{name}.peaks.narrowPeak", (attributions,), self._write_windows)
        yield _Item(f"{name}.seqlets.bed", (seqlets,), self._write_seqlets)
        if lineage.motif_file is not None:
            yield _Item(f"{name}.seqlets_annotated.bed", (annotated,), self._write_annotated)
            yield _Item(f"{name}.motif_seqlet_count.tsv", (annotated,), self._write_motif_counts)
        yield _Item(f"{name}_modisco_results.h5", (patterns,), self._write_patterns)
        yield _Item(f"{name}_modisco", (report,), self._write_report)
        if lineage.marginalizes:
            yield _Item(f"{name}_marginalize", (lineage.key("marginalization_effects"),), self._write_effects)
        for step, parameters in cherimoya_parameters(lineage, self.head, self.device).items():
            text = json.dumps(parameters, sort_keys=True, indent=4)
            yield _Item(f"{name}.{step}.json", (), partial(_write_text, text=text))

    def absent(self, key: dg.AssetKey) -> list[str]:
        """The chromosomes (or "all chromosomes") that are not stored of an asset."""
        partitions = self.lineage.partitions_of(key)
        return [partition or "all chromosomes" for partition in partitions if self._manifest(key, partition) is None]

    def description(self, items: Sequence[_Item], hashes: Mapping[str, str]) -> dict[str, Any]:
        """What the record says about each file: its hash, the data versions that it is made of, and their stamps.

        With the stamps, a folder that was copied elsewhere still says where its files come from.
        """
        keys = dict.fromkeys(key for item in items for key in item.assets)
        found = {
            key.to_user_string(): {
                partition or "all": manifest
                for partition in (None, *self.lineage.chroms)
                if (manifest := self._manifest(key, partition)) is not None
            }
            for key in keys
        }
        names = {item.name: [key.to_user_string() for key in item.assets] for item in items}
        return {
            "experiment": self.lineage.name,
            "experiment_file": str(self.lineage.experiment.source),
            "home": str(self.lineage.home.root),
            "head": self.head,
            "cherimoya_assets": version(),
            "sha256": dict(hashes),
            "assets": {
                name: {asset: {part: manifest.version for part, manifest in found[asset].items()} for asset in assets}
                for name, assets in names.items()
            },
            "stamps": {
                asset: {partition: manifest.stamp.recorded for partition, manifest in partitions.items()}
                for asset, partitions in found.items()
            },
        }

    @cached_property
    def order(self) -> list[str]:
        """The ids of all loci on the experiment's chromosomes, in cherimoya's order."""
        loci = interleave(read_loci(self.lineage.experiment.loci), self.lineage.chroms)
        return list(loci["locus_id"])

    @cached_property
    def pooled(self) -> PooledAttributions:
        return pool_blocks(self._load_all(self.lineage.key(self.head, "attributions")), self.order)

    @cached_property
    def device(self) -> str:
        """Where the attributions were computed: what `auto` took."""
        manifest = self._manifest(self.lineage.key(self.head, "attributions"), self.lineage.chroms[0])
        return "cpu" if manifest is None else manifest.stamp.device or "cpu"

    def _write_one_hot(self, path: Path) -> None:
        with path.open("wb") as handle:
            np.savez_compressed(handle, self.pooled.one_hot)

    def _write_scores(self, path: Path) -> None:
        with path.open("wb") as handle:
            np.savez_compressed(handle, self.pooled.scores)

    def _write_mask(self, path: Path) -> None:
        kept = set(self.pooled.locus_id)
        with path.open("wb") as handle:
            np.save(handle, np.array([locus in kept for locus in self.order], dtype=bool))

    def _write_windows(self, path: Path) -> None:
        """A row of narrowPeak for each row of the arrays: the locus, with the window's centre as its summit.

        Fi-NeMo 0.41 takes start + summit for the middle of a row (`data_io.load_peaks`).
        """
        pooled = self.pooled
        loci = read_loci(self.lineage.experiment.loci).set_index("locus_id").loc[list(pooled.locus_id)]
        start, end = loci["start"].to_numpy(), loci["end"].to_numpy()
        summit = pooled.window_start + pooled.scores.shape[-1] // 2 - start
        rows = zip(pooled.chrom, start, end, pooled.locus_id, summit, strict=True)
        _write_text(path, "".join(f"{c}\t{s}\t{e}\t{name}\t0\t.\t0\t-1\t-1\t{at}\n" for c, s, e, name, at in rows))

    def _write_seqlets(self, path: Path) -> None:
        tables = self._load_all(self.lineage.key(self.head, "seqlets"))
        _write_text(path, cherimoya_seqlets_bed(tables, self.order))

    def _write_annotated(self, path: Path) -> None:
        _write_text(path, self._annotated)

    def _write_motif_counts(self, path: Path) -> None:
        """As the pipeline counts motifs: on the text of the annotated seqlets, names padded as `ttl` pads them."""
        motifs = [line.split("\t")[3] for line in self._annotated.splitlines()]
        pd.DataFrame({"motifs": motifs}).value_counts().to_csv(path, sep="\t")

    @cached_property
    def _annotated(self) -> str:
        tables = self._load_all(self.lineage.key(self.head, "annotated_seqlets"))
        motifs = read_motifs(self.lineage.motif_database)
        return ttl_text(tables, self.order, list(self.lineage.genome.chrom_sizes), list(motifs))

    def _write_patterns(self, path: Path) -> None:
        # The rows of the exported attributions are those of the loci files as they are now, perhaps sorted since.
        patterns: ModiscoPatterns = self._load(self.lineage.key(self.head, "modisco_patterns"))
        path.write_bytes(patterns.naming_rows_of(list(self.pooled.locus_id)).h5)

    def _write_report(self, path: Path) -> None:
        copy_report(self._load(self.lineage.key(self.head, "modisco_report")), path)

    def _write_effects(self, path: Path) -> None:
        tables = self._load_all(self.lineage.key("marginalization_effects"))
        effects = pooled_effects(self.lineage, dict(zip(self.lineage.chroms, tables, strict=True)))
        path.mkdir()
        write_bpnetlite_layout(effects, path, minimal=self.lineage.experiment.marginalize.minimal)

    def _manifest(self, key: dg.AssetKey, partition: str | None) -> Manifest | None:
        return self.lineage.store.manifest(tuple(key.path), partition)

    def _load(self, key: dg.AssetKey) -> Any:
        return self.lineage.store.load(tuple(key.path), None)

    def _load_all(self, key: dg.AssetKey) -> list[Any]:
        return [self.lineage.store.load(tuple(key.path), chrom) for chrom in self.lineage.chroms]


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")

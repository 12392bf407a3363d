"""An experiment under automation without its computations: what is requested is stored as if it had been made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import dagster as dg
import yaml

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import current_inputs
from cherimoya_assets.build import stages
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.reports.folder import Report
from cherimoya_assets.resources.stamp import Stamp
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

Cell = tuple[str, str | None]
"""An asset's key without the experiment (`counts/seqlets`), and its chromosome."""

Content = Callable[[str, Stamp], str]
"""What a step of this name with this stamp computes."""


def of_everything(name: str, stamp: Stamp) -> str:
    """Another content whenever inputs or code are: as if every step passed every change on."""
    return json.dumps([name, stamp.recorded])


def always_the_same(name: str, stamp: Stamp) -> str:
    return name


class Automated:
    """The tiny experiment in a folder, with an instance and the cursor of its automation."""

    def __init__(self, file: Path, instance: dg.DagsterInstance) -> None:
        self.file, self.folder, self.instance = file, file.parent, instance
        self.cursor = None
        self.reload()

    @classmethod
    def new(cls, folder: Path, instance: dg.DagsterInstance, changes: Mapping[str, object] | None = None) -> Self:
        """With nothing made."""
        return cls(tiny_experiment(folder, {"automation": "eager", **(changes or {})}), instance)

    def reload(self, **changes: object) -> None:
        """Change the experiment file and load the code location anew."""
        raw = yaml.safe_load(self.file.read_text())
        self.file.write_text(yaml.safe_dump({**raw, **changes}, sort_keys=False))
        self.lineage = ExperimentLineage(read_experiment(self.file), Home(self.folder / "home"))
        self.defs = build_defs([self.lineage.experiment], self.lineage.home.root)

    @property
    def cells(self) -> set[Cell]:
        return {
            (self.name(key), chrom)
            for stage in stages(self.lineage)
            for key in stage.keys
            for chrom in (self.lineage.chroms if stage.partitioned else (None,))
        }

    def name(self, key: dg.AssetKey) -> str:
        return "/".join(key.path[1:])

    def key(self, name: str) -> dg.AssetKey:
        return self.lineage.key(*name.split("/"))

    def evaluate(self, at: datetime | None = None) -> set[Cell]:
        """One look of the sensor: the cells that it requests."""
        result = dg.evaluate_automation_conditions(
            self.defs,
            self.instance,
            asset_selection=dg.AssetSelection.groups(self.lineage.name).materializable(),
            evaluation_time=at or datetime.now(UTC),
            cursor=self.cursor,
        )
        self.cursor = result.cursor
        keys = {self.key(name) for name, _ in self.cells}
        return {(self.name(key), chrom) for key in keys for chrom in result.get_requested_partitions(key)}

    def make(self, cells: Iterable[Cell], content: Content = of_everything) -> None:
        """Store these cells, made from what there is now, and tell Dagster."""
        graph = self.defs.resolve_asset_graph()
        for name, chrom in cells:
            key = self.key(name)
            inputs = current_inputs(self.lineage, key, chrom)
            stamp = Stamp(inputs=inputs, code_version=graph.get(key).code_version)
            staged = self.lineage.store.stage(Report({"content": content(name, stamp).encode()}, "content"), stamp)
            self.lineage.store.commit(staged, tuple(key.path), chrom)
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(key, partition=chrom, tags={"dagster/data_version": staged.manifest.version})
            )

    def settle(self, content: Content = of_everything, at: datetime | None = None) -> list[set[Cell]]:
        """Look and make until nothing is requested any more; what each look requested."""
        waves = []
        while wave := self.evaluate(at):
            waves.append(wave)
            self.make(wave, content)
            assert len(waves) < 30, "automation does not come to rest"
        return waves

    def add_peak(self, chrom: str, start: int) -> None:
        with (self.folder / "peaks.bed").open("a") as peaks:
            peaks.write(f"{chrom}\t{start}\t{start + 40}\n")

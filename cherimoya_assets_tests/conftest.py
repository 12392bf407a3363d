"""What several test modules stand on: one materialized, narrow demo for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation

    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets_tests.cli.command import Said


@dataclass(frozen=True)
class Narrow:
    """The narrow demo with everything made: real genome, peaks and model, few loci. Not to be written to."""

    file: Path
    home: Path

    @property
    def lineage(self) -> ExperimentLineage:
        from cherimoya_assets.assets.lineage import ExperimentLineage
        from cherimoya_assets.experiment import read_experiment
        from cherimoya_assets.home import Home

        return ExperimentLineage(read_experiment(self.file), Home(self.home))


@dataclass(frozen=True)
class NarrowRun(Narrow):
    """Made by `cherimoya-assets run`, and what it said."""

    said: Said


@dataclass(frozen=True)
class NarrowMaterialized(Narrow):
    """Made by Dagster's own jobs, and what every check found."""

    evaluations: list[AssetCheckEvaluation]


@pytest.fixture(scope="session")
def narrow_run(tmp_path_factory) -> NarrowRun:
    # Imported here, so that tests of a module without Dagster do not wait for it.
    from cherimoya_assets_tests.cli.command import command
    from cherimoya_assets_tests.narrow_demo import narrow_experiment

    folder = tmp_path_factory.mktemp("narrow_run")
    file = narrow_experiment(folder)
    return NarrowRun(file, folder / "home", command("run", file, "--home", folder / "home"))


@pytest.fixture(scope="session")
def narrow_materialized(tmp_path_factory) -> NarrowMaterialized:
    from cherimoya_assets_tests.narrow_demo import materialize_everything, narrow_experiment

    folder = tmp_path_factory.mktemp("narrow_materialized")
    file = narrow_experiment(folder)
    return NarrowMaterialized(file, folder / "home", materialize_everything(file, folder / "home"))

"""The narrow demo's graph through Dagster: real genome, peaks and model, every chromosome, then what pools them."""

from __future__ import annotations

import platform
from importlib.metadata import version

import dagster as dg
import pytest

from cherimoya_assets import __version__
from cherimoya_assets.assets.lineage import PACKAGES
from cherimoya_assets.build import stages
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.instance import open_instance

Cell = tuple[dg.AssetKey, str | None]


class Materialized:
    """What the instance and the store hold of the narrow demo."""

    def __init__(self, narrow, instance: dg.DagsterInstance) -> None:
        self.lineage, self.instance = narrow.lineage, instance
        self.graph = build_defs([self.lineage.experiment], narrow.home).resolve_asset_graph()
        self.cells: list[Cell] = [
            (key, cell)
            for stage in stages(self.lineage)
            for key in stage.keys
            for cell in (self.lineage.chroms if stage.partitioned else (None,))
        ]

    def materialization(self, key: dg.AssetKey, cell: str | None) -> dg.AssetMaterialization:
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=None if cell is None else [cell])
        (record,) = self.instance.fetch_materializations(wanted, limit=2).records
        return record.asset_materialization

    def stored_version(self, key: dg.AssetKey, cell: str | None) -> str:
        return self.lineage.store.manifest(tuple(key.path), cell).version

    def parent_versions(self, key: dg.AssetKey, cell: str | None) -> set[str]:
        """The data versions of everything upstream of a cell, one step up: observed inputs and stored cells."""
        found = set()
        for parent in self.graph.get(key).parent_keys:
            node = self.graph.get(parent)
            chroms: tuple[str | None, ...] = (None,)
            if node.is_partitioned:
                chroms = self.lineage.chroms if cell is None else (cell,)
            for chrom in chroms:
                if node.is_observable:
                    record = self.instance.get_latest_data_version_record(parent, partition_key=chrom)
                    found.add(record.event_log_entry.asset_observation.data_version)
                else:
                    found.add(self.stored_version(parent, chrom))
        return found


@pytest.fixture(scope="module")
def made(narrow_materialized):
    with open_instance(narrow_materialized.lineage.home) as instance:
        yield Materialized(narrow_materialized, instance)


def test_every_chromosome_and_every_pooled_asset_is_materialized_once(made):
    for key, cell in made.cells:
        if cell is not None:
            assert made.instance.get_materialized_partitions(key) == set(made.lineage.chroms), key
        assert made.materialization(key, cell).partition == cell


def test_every_check_of_every_chromosome_passed(made, narrow_materialized):
    evaluated = {(check.asset_key, check.check_name) for check in narrow_materialized.evaluations}
    assert evaluated == {(key.asset_key, key.name) for key in made.graph.asset_check_keys}
    assert [check for check in narrow_materialized.evaluations if not check.passed] == []
    per_chromosome = [check for check in narrow_materialized.evaluations if check.check_name == "matches_genome"]
    # one_hot_sequences, and the seqlets of both heads.
    assert len(per_chromosome) == 3 * len(made.lineage.chroms)


def test_every_materialization_has_its_numbers(made):
    for key, cell in made.cells:
        metadata = made.materialization(key, cell).metadata
        assert 0 < metadata["seconds"].value < 600, key
        assert 50 < metadata["peak_memory_mb"].value < 100_000, key
        assert metadata["device"].value == "cpu", key
        manifest = made.lineage.store.manifest(tuple(key.path), cell)
        assert metadata["dagster/size_bytes"].value == manifest.size > 0, key
        folder = made.lineage.store.folder(tuple(key.path), cell) / "latest"
        assert metadata["path"].value == str(folder), key
        assert folder.is_dir()


def test_every_materialization_has_a_table_preview(made):
    for key, cell in made.cells:
        preview = made.materialization(key, cell).metadata["preview"]
        assert isinstance(preview, dg.TableMetadataValue), key
        assert len(preview.records) <= 10
        assert preview.schema.columns
        kept = key.path[-1] in ("one_hot_sequences", "attributions", "marginalization_effects")
        assert preview.records or not kept


def test_every_materialization_says_where_it_comes_from(made):
    here = {"cherimoya_assets": __version__, "python": platform.python_version()}
    for key, cell in made.cells:
        stamp = made.materialization(key, cell).metadata["provenance"].value
        step = made.lineage.step_of(key)
        assert stamp["packages"] == here | {name: version(name) for name in (*PACKAGES, *step.packages)}, key
        assert stamp["experiment"] == "narrow"
        assert stamp["experiment_file"] == str(made.lineage.experiment.source)
        assert stamp["device"] == "cpu"
        assert (stamp["step"], stamp["step_version"]) == (key.path[-1], step.version)
        assert isinstance(stamp["parameters"], dict)
        # What lies in the store says the same without Dagster.
        assert made.lineage.store.manifest(tuple(key.path), cell).stamp.recorded == stamp


def test_the_inputs_of_every_materialization_are_the_versions_of_all_its_parents(made):
    """What Dagster observed and what was stored: nothing upstream is missing from the provenance."""
    for key, cell in made.cells:
        stamp = made.materialization(key, cell).metadata["provenance"].value
        missing = made.parent_versions(key, cell) - set(stamp["inputs"].values())
        assert not missing, (key, cell, stamp["inputs"])


def test_parameters_are_those_of_the_experiment_file(made):
    def parameters(*parts: str, cell: str | None) -> dict:
        return made.materialization(made.lineage.key(*parts), cell).metadata["provenance"].value["parameters"]

    chrom = made.lineage.chroms[0]
    assert parameters("one_hot_sequences", cell=chrom)["in_window"] == 718
    attributed = parameters("profile", "attributions", cell=chrom)
    assert (attributed["attr_window"], attributed["head"], attributed["algorithm"]) == (
        60,
        "profile",
        "saturation_mutagenesis",
    )
    assert parameters("counts", "seqlets", cell=chrom)["threshold"] == 0.05
    assert parameters("counts", "modisco_patterns", cell=None)["window"] == 60
    assert parameters("marginalization_backgrounds", cell=None)["n_loci"] == 6


def test_data_versions_are_hashes_of_the_content(made):
    for key, cell in made.cells:
        assert made.materialization(key, cell).tags["dagster/data_version"] == made.stored_version(key, cell)


def test_row_counts_agree_along_the_chain(made):
    lineage = made.lineage
    for chrom in lineage.chroms:

        def rows(*parts: str, chrom: str = chrom) -> int:
            return made.materialization(lineage.key(*parts), chrom).metadata["dagster/partition_row_count"].value

        kept = rows("one_hot_sequences")
        assert kept > 0
        for head in lineage.heads:
            assert rows(head, "attributions") == kept
            assert rows(head, "annotated_seqlets") == rows(head, "seqlets")
            metadata = made.materialization(lineage.key(head, "attributions"), chrom).metadata
            assert metadata["loci_per_second"].value > 0
    patterns = made.materialization(lineage.key("counts", "modisco_patterns"), None).metadata
    assert patterns["loci"].value == sum(
        made.materialization(lineage.key("one_hot_sequences"), chrom).metadata["dagster/partition_row_count"].value
        for chrom in lineage.chroms
    )


def test_the_command_line_makes_the_same_values(made, narrow_run):
    """By content hash, cell for cell; the page that names runs, paths and times apart."""
    theirs = narrow_run.lineage
    assert narrow_run.said.code == 0
    differ = [
        (key, cell)
        for key, cell in made.cells
        if theirs.store.manifest(tuple(key.path), cell).version != made.stored_version(key, cell)
    ]
    assert differ == [(made.lineage.key("experiment_report"), None)]

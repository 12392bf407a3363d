"""Observed inputs: a data version is the content of the files, for each chromosome, and nothing else about them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import dagster as dg
import pytest

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import current_inputs
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

pytestmark = pytest.mark.slow


@pytest.fixture
def instance():
    # In memory: nothing here asks what a disk keeps.
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def lineage_of(folder: Path, changes=None) -> ExperimentLineage:
    return ExperimentLineage(read_experiment(tiny_experiment(folder, changes)), Home(folder / "home"))


def observe(lineage: ExperimentLineage, instance, *keys: dg.AssetKey, raise_on_error: bool = True):
    """Observe these inputs (all) as the UI's button does; returns the run's result."""
    defs = build_defs([lineage.experiment], lineage.home.root)
    graph = defs.resolve_asset_graph()
    inputs = [node.key for node in graph.asset_nodes if node.is_observable]
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=list(keys or inputs), raise_on_error=raise_on_error
    )


def versions(lineage: ExperimentLineage, instance, *keys: dg.AssetKey) -> dict[str, str | dict[str, str]]:
    """Data versions by the key's last part (of a shared input, its first), by chromosome where there are several."""
    found: dict = {}
    for event in observe(lineage, instance, *keys).get_asset_observation_events():
        key, chrom = event.asset_key, event.partition
        record = instance.get_latest_data_version_record(key, partition_key=chrom)
        version = record.event_log_entry.asset_observation.data_version
        name = key.path[0] if key.path[0] != lineage.name else key.path[-1]
        if chrom is None:
            found[name] = version
        else:
            found.setdefault(name, {})[chrom] = version
    return found


def cells(found) -> dict[tuple[str, str | None], str]:
    """The same by name and chromosome (None: of a whole)."""
    flat = {}
    for name, version in found.items():
        flat |= {(name, c): v for c, v in version.items()} if isinstance(version, dict) else {(name, None): version}
    return flat


def test_every_input_gets_a_version(tmp_path, instance):
    found = versions(lineage_of(tmp_path), instance)
    assert found.keys() == {"genome", "motif_database", "peaks", "negatives", "model"}
    by_chromosome = {name for name, version in found.items() if isinstance(version, dict)}
    assert by_chromosome == {"genome", "peaks", "negatives"}
    for name in by_chromosome:
        assert tuple(found[name]) == lineage_of(tmp_path).chroms
    whole = [version for version in found.values() if isinstance(version, str)]
    by_chromosome = [
        version for versions in found.values() if isinstance(versions, dict) for version in versions.values()
    ]
    # Negatives are the same rows on every chromosome.
    assert len({*whole, *by_chromosome}) == len(whole) + 3 + 3 + 1


def test_what_is_observed_is_what_a_stamp_says(tmp_path, instance):
    lineage = lineage_of(tmp_path, {"exclusion_lists": ["peaks.bed"]})
    found = versions(lineage, instance)
    for chrom in lineage.chroms:
        stamped = current_inputs(lineage, lineage.key("one_hot_sequences"), chrom)
        assert stamped == {f"{name}[{chrom}]": found[name][chrom] for name in ("genome", "peaks", "exclusion_lists")}
    assert current_inputs(lineage, lineage.key("counts", "attributions"), "chrA")["model"] == found["model"]
    assert (
        current_inputs(lineage, lineage.key("counts", "modisco_report"), None)["motif_database"]
        == (found["motif_database"])
    )


def test_what_was_observed_is_the_sha256_of_the_bytes(tmp_path, instance):
    lineage = lineage_of(tmp_path)
    event, *others = observe(lineage, instance, lineage.key("peaks")).get_asset_observation_events()
    assert [event.partition, *(other.partition for other in others)] == list(lineage.chroms)
    metadata = event.asset_observation_data.asset_observation.metadata
    peaks = tmp_path / "peaks.bed"
    assert metadata["sha256"].value == {str(peaks): hashlib.sha256(peaks.read_bytes()).hexdigest()}
    assert metadata["size_bytes"].value == peaks.stat().st_size
    assert metadata["files"].value == 1


def test_touching_copying_and_moving_change_no_version(tmp_path, instance):
    lineage = lineage_of(tmp_path / "a")
    before = versions(lineage, instance)
    for name in ("genome.fa", "peaks.bed", "model.torch"):
        os.utime(tmp_path / "a" / name, (1, 1))
    assert versions(lineage, instance) == before
    # The same bytes elsewhere are the same peaks; an older file and a newer folder say nothing.
    moved = versions(lineage_of(tmp_path / "b"), instance)
    assert moved == before


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("genome.fa", ("genome", "chrC")),
        ("peaks.bed", ("peaks", "chrB")),
        ("negatives.bed", ("negatives", "chrC")),
        ("motifs.meme", ("motif_database", None)),
        ("model.torch", ("model", None)),
    ],
)
def test_one_changed_byte_changes_the_version_of_that_input_and_chromosome_alone(tmp_path, instance, file, changed):
    lineage = lineage_of(tmp_path)
    before = versions(lineage, instance)
    content = bytearray((tmp_path / file).read_bytes())
    content[-2] ^= 1
    (tmp_path / file).write_bytes(content)
    before, after = cells(before), cells(versions(lineage, instance))
    assert {cell for cell in before if before[cell] != after[cell]} == {changed}


def test_the_same_size_and_a_new_time_are_read_again(tmp_path, instance):
    """Content decides although path, size and time are what the cache of hashes looks at."""
    lineage = lineage_of(tmp_path)
    peaks = tmp_path / "peaks.bed"
    before = versions(lineage, instance, lineage.key("peaks"))
    peaks.write_text(peaks.read_text().replace("300", "301", 1))
    assert versions(lineage, instance, lineage.key("peaks")) != before


def test_the_order_and_number_of_files_belong_to_the_version(tmp_path, instance):
    def of(*files: str) -> str:
        lineage = lineage_of(tmp_path, {"loci": list(files)})
        return tuple(versions(lineage, instance, lineage.key("peaks"))["peaks"].items())

    # Loci are taken from the files in turn, so their order is a part of what comes out.
    found = [("peaks.bed",), ("peaks.bed", "negatives.bed"), ("negatives.bed", "peaks.bed"), ("peaks.bed", "peaks.bed")]
    assert len({of(*files) for files in found}) == len(found)


def test_a_fold_more_is_another_model(tmp_path, instance):
    def of(model: object) -> str:
        lineage = lineage_of(tmp_path, {"model": model})
        return versions(lineage, instance, lineage.key("model"))["model"]

    assert of("model.torch") != of({"a": "model.torch", "b": "model.torch"})


def test_inputs_can_be_observed_one_at_a_time(tmp_path, instance):
    lineage = lineage_of(tmp_path)
    assert versions(lineage, instance, lineage.input_key("genome")).keys() == {"genome"}
    assert versions(lineage, instance, lineage.key("peaks"), lineage.key("model")).keys() == {"peaks", "model"}


def test_a_file_that_vanished_is_one_sentence(tmp_path, instance):
    lineage = lineage_of(tmp_path)
    (tmp_path / "model.torch").unlink()
    result = observe(lineage, instance, lineage.key("model"), raise_on_error=False)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    said = failure.step_failure_data.user_failure_data.description
    assert said == (
        f"InputError: {tmp_path / 'model.torch'}: cannot be read (No such file or directory). "
        "Restore it or correct the experiment file."
    )


def test_a_new_version_makes_stale_what_reads_it(tmp_path, instance):
    """As Dagster itself judges, from the observation alone."""
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    lineage = lineage_of(tmp_path)
    defs = build_defs([lineage.experiment], lineage.home.root)
    observe(lineage, instance)
    job = defs.resolve_job_def(f"{lineage.name}__1_attribution")
    assert job.execute_in_process(instance=instance, partition_key="chrA").success

    def status(*parts: str) -> StaleStatus:
        resolver = CachingStaleStatusResolver(instance, defs.resolve_asset_graph(), LoadingContextForTest(instance))
        return resolver.get_status(lineage.key(*parts), "chrA")

    fresh = (status("one_hot_sequences"), status("counts", "attributions"))
    with (tmp_path / "model.torch").open("ab") as file:
        file.write(b"another")
    observe(lineage, instance)
    stale = (status("one_hot_sequences"), status("counts", "attributions"))
    assert fresh == (StaleStatus.FRESH, StaleStatus.FRESH)
    assert stale == (StaleStatus.FRESH, StaleStatus.STALE)

"""Taking over what a renamed experiment has stored: refused where it would lose or mix something, safe under a kill."""

from __future__ import annotations

import shutil
from itertools import count

import dagster as dg
import pytest
from upath import UPath

from cherimoya_assets.assets.drift import Drift
from cherimoya_assets.errors import ExperimentError, StorageError
from cherimoya_assets.home import STORAGE_FILE, Home
from cherimoya_assets.instance import open_instance
from cherimoya_assets.renaming import kept_under_another_name, take_over
from cherimoya_assets.resources.chunks import FOLDER
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets.runs.run_process import process_tag
from cherimoya_assets_tests.automated import Automated
from cherimoya_assets_tests.killed import die, in_child
from cherimoya_assets_tests.servers.s3 import s3_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The tiny experiment in a home, everything stored by hand."""
    folder = tmp_path_factory.mktemp("made") / "experiment"
    with open_instance(Home(folder / "home")) as instance:
        Automated.new(folder, instance).settle()
    return folder


@pytest.fixture
def renamed(made, tmp_path):
    """A copy of it whose file has another name in it."""
    shutil.copytree(made, tmp_path / "experiment", symlinks=True)
    with dg.DagsterInstance.ephemeral() as memory:
        experiment = Automated(tmp_path / "experiment" / "tiny.yaml", memory)
        experiment.reload(name="renamed")
        yield experiment


def everything(experiment: Automated) -> dict:
    """What is stored, by asset and partition."""
    store = experiment.lineage.store
    return {(key[1:], partition): store.manifest(key, partition) for key, partition in store.contents()}


def fresh(experiment: Automated) -> bool:
    return all(one.fresh for one in Drift(experiment.lineage).of_assets(experiment.lineage.asset_keys))


def recorded(experiment: Automated) -> dict:
    """The data version that Dagster has of each partition."""
    lineage, found = experiment.lineage, {}
    with open_instance(lineage.home) as instance:
        for key in lineage.asset_keys:
            for partition in lineage.partitions_of(key):
                chosen = dg.AssetRecordsFilter(key, asset_partitions=None if partition is None else [partition])
                for record in instance.fetch_materializations(chosen, limit=1).records:
                    found[tuple(key.path[1:]), partition] = record.asset_materialization.tags["dagster/data_version"]
    return found


def test_values_and_events_come_along(renamed):
    before = everything(renamed)
    assert f"{renamed.lineage.store.root}/tiny holds the same: 22 partitions" in kept_under_another_name(
        renamed.lineage
    )
    take_over(renamed.lineage, "tiny")
    assert everything(renamed) == before
    assert fresh(renamed)
    assert recorded(renamed) == {place: manifest.version for place, manifest in before.items()}
    assert kept_under_another_name(renamed.lineage) == ""


def test_what_was_recorded_of_a_value_comes_along_with_the_paths_that_it_has_now(renamed):
    lineage, report = renamed.lineage, "experiment_report/_pooled/latest/experiment.html"
    elsewhere = dg.MetadataValue.path(f"{lineage.store.root}/tiny_2/{report}")
    here = dg.MetadataValue.path(f"{lineage.store.root}/tiny/{report}")
    metadata = {"seconds": 1.5, "report": here, "another": elsewhere}
    tags = {"dagster/data_version": lineage.store.manifest(("tiny", "experiment_report"), None).version}
    with open_instance(lineage.home) as instance:
        event = dg.AssetMaterialization(["tiny", "experiment_report"], metadata=metadata, tags=tags)
        instance.report_runless_asset_event(event)
    take_over(lineage, "tiny")
    with open_instance(lineage.home) as instance:
        (record,) = instance.fetch_materializations(lineage.key("experiment_report"), limit=1).records
    found = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    assert found == {
        "seconds": 1.5,
        "report": f"{lineage.store.root}/renamed/{report}",
        "another": elsewhere.path,
    }
    assert (lineage.store.root / "renamed" / report).parent.exists()


def test_values_and_events_come_along_in_a_bucket(renamed):
    with s3_server() as bucket:
        home = renamed.lineage.home
        upload = UPath(f"{bucket}/here")
        upload.fs.put(f"{home.store}/tiny", f"{upload.path}/tiny", recursive=True)
        (home.root / STORAGE_FILE).write_text(f"url: {upload}\n")
        before = everything(renamed)
        assert f"{upload}/tiny holds the same: 22 partitions" in kept_under_another_name(renamed.lineage)
        take_over(renamed.lineage, "tiny")
        assert everything(renamed) == before
        assert {key[0] for key, _ in renamed.lineage.store.contents()} == {"renamed"}
        assert fresh(renamed)
        assert recorded(renamed) == {place: manifest.version for place, manifest in before.items()}


def test_a_name_that_was_renamed_twice_is_taken_over(renamed):
    take_over(renamed.lineage, "tiny")
    renamed.reload(name="once_more")
    take_over(renamed.lineage, "renamed")
    assert fresh(renamed)


def test_what_is_not_whole_is_taken_over_as_it_is(renamed):
    renamed.lineage.store.remove(("tiny", "counts", "attributions"), "chrB")
    take_over(renamed.lineage, "tiny")
    stale = [one.name for one in Drift(renamed.lineage).of_assets(renamed.lineage.asset_keys) if one.own]
    assert stale == ["counts/attributions[chrB]"]


def test_kept_chunks_come_along(renamed):
    chunks = renamed.lineage.store.root / FOLDER
    (chunks / "tiny" / "counts" / "chrA").mkdir(parents=True)
    take_over(renamed.lineage, "tiny")
    assert [path.name for path in chunks.iterdir()] == ["renamed"]


def refused(experiment: Automated, old: str = "tiny", error: type[Exception] = StorageError) -> str:
    """The sentence with which it is refused; nothing may have changed."""
    before = set(experiment.lineage.store.root.rglob("*"))
    with pytest.raises(error) as caught:
        take_over(experiment.lineage, old)
    assert set(experiment.lineage.store.root.rglob("*")) == before
    return str(caught.value)


def test_a_name_that_nothing_is_stored_under_is_refused(renamed):
    said = refused(renamed, "tyni")
    assert said == (
        f"{renamed.lineage.store.root}/tyni: nothing is stored here. Give the name that renamed had before."
    )


def test_the_name_that_it_has_is_refused(renamed):
    assert "the experiment is named renamed in this file" in refused(renamed, "renamed", ExperimentError)


def test_a_new_name_with_values_of_its_own_is_refused(renamed):
    renamed.make([("one_hot_sequences", "chrA")])
    assert "renamed already holds values of its own, which would be lost" in refused(renamed)


def test_a_copy_in_the_way_is_refused(renamed):
    root = renamed.lineage.store.root
    shutil.copytree(root / "tiny", root / "renamed", symlinks=True)
    assert refused(renamed).startswith(f"{root}/renamed: is in the way.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"annotation": {"n_score_bins": 50}}, "counts/annotated_seqlets[chrA] is out of date"),
        ({"chroms": ["chrA", "chrB"]}, "chrC is no longer in the experiment"),
    ],
)
def test_values_of_another_experiment_are_refused(renamed, changes, words):
    renamed.reload(**changes)
    said = refused(renamed)
    assert said.startswith(f"{renamed.lineage.store.root}/tiny: these are not the values of renamed: counts/")
    assert words in said
    assert kept_under_another_name(renamed.lineage) == ""


@pytest.mark.parametrize("name", ["tiny", "renamed"])
@pytest.mark.parametrize("how", ["tag", "asset", "between runs"])
def test_a_home_in_which_it_is_at_work_is_refused(renamed, name, how):
    lineage = renamed.lineage
    run = dg.DagsterRun(
        "work",
        status=dg.DagsterRunStatus.SUCCESS if how == "between runs" else dg.DagsterRunStatus.STARTED,
        tags={} if how == "asset" else {"experiment": name, **process_tag(1 if how == "between runs" else None)},
        asset_selection=frozenset({dg.AssetKey([name, "one_hot_sequences"])}) if how == "asset" else None,
    )
    with open_instance(lineage.home) as instance:
        instance.add_run(run)
    assert f"tiny or renamed is at work here (run {run.run_id})" in refused(renamed)
    with open_instance(lineage.home) as instance:
        instance.delete_run(run.run_id)
    take_over(lineage, "tiny")


EVENTS = 33
"""What is recorded of the tiny experiment: 22 partitions, and the versions of its inputs."""

RECORDING = (dg.DagsterInstance, "report_runless_asset_event")
MOVING = (AssetStore, "rename")
"""First what is kept of partitions that are not whole, then the values."""


@pytest.mark.parametrize(
    ("what", "call", "after"),
    [(RECORDING, 1, False), (RECORDING, 20, False), (RECORDING, EVENTS, True)]
    + [(MOVING, call, after) for call in (1, 2) for after in (False, True)],
)
def test_after_a_kill_the_old_or_the_new_is_whole_and_the_same_call_finishes(renamed, what, call, after):
    before, lineage = everything(renamed), renamed.lineage
    (lineage.store.root / FOLDER / "tiny").mkdir(parents=True)
    assert in_child(lambda _: (dies_at(*what, call, after), take_over(lineage, "tiny")), lineage.home.root).killed
    moved = what is MOVING and call == 2 and after
    assert {key[0] for key, _ in lineage.store.contents()} == ({"renamed"} if moved else {"tiny"})
    assert everything(renamed) == before
    if not moved:
        take_over(lineage, "tiny")
    assert fresh(renamed)
    assert everything(renamed) == before
    assert recorded(renamed) == {place: manifest.version for place, manifest in before.items()}
    assert [path.name for path in (lineage.store.root / FOLDER).iterdir()] == ["renamed"]


def dies_at(owner: type, name: str, number: int, after: bool) -> None:
    """This process kills itself at the n-th call of a method, before or after it."""
    method, calls = getattr(owner, name), count(1)

    def counted(*arguments, **named):
        call = next(calls)
        if call == number and not after:
            die()
        answer = method(*arguments, **named)
        if call == number:
            die()
        return answer

    setattr(owner, name, counted)

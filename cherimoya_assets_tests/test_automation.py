"""Automation requests what is out of date, when everything above it is not, once. A test for each trap of Dagster's."""

from __future__ import annotations

import gzip
import shutil
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from cherimoya_assets.analysis import genome
from cherimoya_assets.assets import one_hot_sequences
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import Versions, sources
from cherimoya_assets.automation import OBSERVE_SENSOR
from cherimoya_assets.build import stages
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets_tests.automated import Automated, Cell, always_the_same
from cherimoya_assets_tests.tiny_experiment import CHROMS, tiny_experiment

pytestmark = pytest.mark.slow

SUNDAY = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)

POOLED_AFTER_ATTRIBUTIONS = {
    ("counts/seqlet_null", None),
    *(("counts/seqlets", chrom) for chrom in CHROMS),
    *(("counts/annotated_seqlets", chrom) for chrom in CHROMS),
    ("counts/modisco_patterns", None),
    ("counts/modisco_report", None),
    ("counts/attribution_tracks", None),
    ("experiment_report", None),
}


@pytest.fixture
def instance():
    # In memory: nothing here asks what a disk keeps.
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def everything_made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("everything_made")
    with dg.DagsterInstance.ephemeral() as instance:
        Automated.new(folder, instance).settle()
    return folder


@pytest.fixture
def settled(everything_made, tmp_path, instance):
    """Everything is made, and automation has looked and found it so."""
    folder = tmp_path / "experiment"
    shutil.copytree(everything_made, folder, symlinks=True)
    automated = Automated(folder / "tiny.yaml", instance)
    assert automated.evaluate() == set()
    return automated


def all_of(waves) -> set[Cell]:
    return set().union(*waves)


def test_everything_is_made_from_nothing_parents_first_and_once(tmp_path, instance):
    automated = Automated.new(tmp_path, instance)
    waves = automated.settle()
    assert all_of(waves) == automated.cells
    assert sum(map(len, waves)) == len(automated.cells)
    assert waves[0] == {
        *(("one_hot_sequences", chrom) for chrom in CHROMS),
        ("marginalization_backgrounds", None),
    }


def test_what_is_fresh_when_automation_begins_is_left_alone(settled):
    settled.cursor = None
    assert settled.evaluate() == set()


def test_what_is_out_of_date_when_automation_begins_is_made(settled):
    """Dagster's first evaluation requests nothing of what is there already."""
    settled.add_peak("chrB", 800)
    settled.cursor = None
    assert settled.evaluate() == {("one_hot_sequences", "chrB")}


def test_one_peak_more_recomputes_its_chromosome_then_what_pools_it_and_no_marginalization(settled):
    settled.add_peak("chrB", 800)
    waves = settled.settle()
    assert waves[:2] == [{("one_hot_sequences", "chrB")}, {("counts/attributions", "chrB")}]
    assert all_of(waves[2:]) == POOLED_AFTER_ATTRIBUTIONS
    assert sum(map(len, waves)) == 2 + len(POOLED_AFTER_ATTRIBUTIONS)


def test_an_output_that_is_the_same_again_stops_there(settled):
    """A null that did not change: the seqlets of other chromosomes do not move."""
    settled.add_peak("chrB", 800)
    settled.make(settled.evaluate())
    settled.make(settled.evaluate())
    wave = settled.evaluate()
    assert wave == {("counts/seqlet_null", None), ("counts/modisco_patterns", None)}
    before = settled.lineage.store.manifest(("tiny", "counts", "seqlet_null"), None)
    stale = settled.lineage.store.load(("tiny", "counts", "seqlet_null"), None).files["content"].decode()
    settled.make(wave, lambda name, stamp: stale if name == "counts/seqlet_null" else name)
    assert settled.lineage.store.manifest(("tiny", "counts", "seqlet_null"), None).version == before.version
    following = {cell for cell in settled.evaluate() if cell[0] == "counts/seqlets"}
    assert following == {("counts/seqlets", "chrB")}


def test_an_identical_recomputation_wakes_nothing(settled):
    """Dagster's `eager()` requests the child of a parent that was made again as it was."""
    settled.make([("counts/attributions", "chrA"), ("one_hot_sequences", "chrB"), ("counts/seqlet_null", None)])
    assert settled.evaluate() == set()


def test_observing_wakes_nothing(settled):
    """In Dagster a first observation is an update of everything downstream."""
    inputs = [node.key for node in settled.defs.resolve_asset_graph().asset_nodes if node.is_observable]
    job = settled.defs.resolve_implicit_global_asset_job_def()
    for _ in range(2):
        assert job.execute_in_process(instance=settled.instance, asset_selection=inputs).success
        assert settled.evaluate() == set()


def test_a_file_that_is_saved_in_another_way_wakes_nothing(settled):
    peaks = settled.folder / "peaks.bed"
    rows = peaks.read_text().splitlines()
    peaks.write_text("\r\n".join(["# sorted by chromosome", *(f"{row}\tname\t1" for row in rows)]) + "\r\n")
    fasta = settled.folder / "genome.fa"
    header = [line if line[0] == ">" else line.lower() for line in fasta.read_text().splitlines()]
    fasta.write_text("\n".join(header) + "\n")
    model = settled.folder / "model.torch"
    model.write_bytes(model.read_bytes())
    assert settled.evaluate() == set()


def test_another_compression_wakes_nothing(settled):
    peaks = settled.folder / "peaks.bed"
    (settled.folder / "peaks.bed.gz").write_bytes(gzip.compress(peaks.read_bytes()))
    peaks.unlink()
    settled.reload(loci="peaks.bed.gz")
    assert settled.evaluate() == set()


def test_rows_in_another_order_wake_nothing(settled):
    for name in ("peaks.bed", "negatives.bed"):
        file = settled.folder / name
        rows = file.read_text().splitlines(keepends=True)
        assert rows[::-1] != rows
        file.write_text("".join(rows[::-1]))
        assert settled.evaluate() == set()


def test_the_order_of_negatives_counts_where_the_first_of_them_are_taken(settled):
    settled.reload(marginalize={"shuffle": False})
    settled.settle()
    negatives = settled.folder / "negatives.bed"
    negatives.write_text("".join(negatives.read_text().splitlines(keepends=True)[::-1]))
    assert settled.evaluate() == {("marginalization_backgrounds", None)}


@pytest.mark.parametrize("n", [2, 101])
def test_a_pooled_asset_follows_however_many_chromosomes_it_has(tmp_path, instance, n):
    """Dagster's staleness is off at a hundred upstream partitions."""
    automated = Automated.new(tmp_path, instance, {"negatives": None, "motifs": None})
    fasta = "".join(f">chr{i}\n{'ACGT' * (100 + n - i)}\n" for i in range(1, n + 1))
    (tmp_path / "genome.fa").write_text(fasta)
    (tmp_path / "peaks.bed").write_text("".join(f"chr{i}\t100\t140\n" for i in range(1, n + 1)))
    automated.reload()
    assert len(automated.lineage.chroms) == n
    automated.settle()
    automated.add_peak("chr1", 150)
    waves = automated.settle()
    assert waves[:2] == [{("one_hot_sequences", "chr1")}, {("counts/attributions", "chr1")}]
    assert ("counts/seqlet_null", None) in waves[2]


def test_nothing_is_pooled_while_a_chromosome_is_not_there_yet(settled):
    """Two chromosomes change, one is made: pooled now, old and new would be mixed. Dagster's `eager()` does so."""
    settled.add_peak("chrB", 800)
    settled.add_peak("chrC", 800)
    assert settled.evaluate() == {("one_hot_sequences", "chrB"), ("one_hot_sequences", "chrC")}
    settled.make([("one_hot_sequences", "chrB")])
    assert settled.evaluate() == {("counts/attributions", "chrB")}
    settled.make([("counts/attributions", "chrB")])
    assert settled.evaluate() == set()
    settled.make([("one_hot_sequences", "chrC")])
    assert settled.evaluate() == {("counts/attributions", "chrC")}
    settled.make([("counts/attributions", "chrC")])
    assert settled.evaluate() == {("counts/seqlet_null", None), ("counts/modisco_patterns", None)}


def test_a_chromosome_that_failed_holds_back_what_pools_it_and_is_tried_again_when_its_cause_is_mended(
    settled, monkeypatch
):
    settled.add_peak("chrB", 800)
    settled.add_peak("chrC", 800)
    settled.make(settled.evaluate() - {("one_hot_sequences", "chrC")})
    with monkeypatch.context() as broken:
        broken.setattr(one_hot_sequences, "placed_loci", lambda _: 1 / 0)
        job = settled.defs.resolve_job_def("tiny__1_attribution")
        failed = job.execute_in_process(
            instance=settled.instance,
            partition_key="chrC",
            asset_selection=[settled.lineage.key("one_hot_sequences")],
            raise_on_error=False,
        )
        assert not failed.success
    settled.make(settled.evaluate())
    for _ in range(3):
        assert settled.evaluate() == set()
    settled.add_peak("chrC", 1200)
    assert settled.evaluate() == {("one_hot_sequences", "chrC")}
    assert ("experiment_report", None) in all_of(
        [settled.make({("one_hot_sequences", "chrC")}) or set(), *settled.settle()]
    )


def test_a_failed_chromosome_that_is_made_by_hand_lets_the_rest_follow(settled):
    settled.add_peak("chrC", 800)
    assert settled.evaluate() == {("one_hot_sequences", "chrC")}
    assert settled.evaluate() == set()
    settled.make([("one_hot_sequences", "chrC")])
    assert all_of(settled.settle()) == {("counts/attributions", "chrC"), *POOLED_AFTER_ATTRIBUTIONS}


@pytest.mark.parametrize("running", [("one_hot_sequences", "chrB"), ("counts/attributions", "chrB")])
def test_what_runs_or_has_a_parent_that_runs_is_not_requested(settled, running):
    """A run that was launched by hand, say."""
    settled.add_peak("chrB", 800)
    settled.make([("one_hot_sequences", "chrB")])
    name, chrom = running
    job = settled.defs.resolve_job_def("tiny__1_attribution")
    run = settled.instance.create_run_for_job(
        job.get_subset(asset_selection={settled.key(name)}),
        tags={"dagster/partition": chrom},
        asset_selection=frozenset({settled.key(name)}),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert settled.evaluate() == set()
    settled.instance.report_run_canceled(run)
    assert settled.evaluate() == {("counts/attributions", "chrB")}


def test_a_change_during_a_run_is_followed_after_it(settled):
    """What was made from the first change is out of date when a second came meanwhile."""
    settled.add_peak("chrB", 800)
    assert settled.evaluate() == {("one_hot_sequences", "chrB")}
    made_from = Versions(settled.lineage).inputs(settled.key("one_hot_sequences"), "chrB")
    settled.add_peak("chrB", 900)
    settled.make([("one_hot_sequences", "chrB")])
    manifest = settled.lineage.store.manifest(("tiny", "one_hot_sequences"), "chrB")
    staged = settled.lineage.store.stage(
        settled.lineage.store.load(("tiny", "one_hot_sequences"), "chrB"),
        manifest.stamp.model_copy(update={"inputs": made_from}),
    )
    settled.lineage.store.commit(staged, ("tiny", "one_hot_sequences"), "chrB")
    assert settled.evaluate() == {("one_hot_sequences", "chrB")}


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"batch_size": 3, "device": "auto"}, set()),
        ({"annotation": {"n_jobs": 1}}, set()),
        ({"seqlets": {"threshold": 0.02}}, {("counts/seqlets", chrom) for chrom in CHROMS}),
        ({"attr_window": 22}, {("counts/attributions", chrom) for chrom in CHROMS}),
        ({"marginalize": {"n_loci": 3}}, {("marginalization_backgrounds", None)}),
    ],
)
def test_a_parameter_recomputes_what_reads_it_and_below(settled, changes, first):
    """Dagster's `eager()` ignores code versions."""
    settled.reload(**changes)
    waves = settled.settle()
    assert waves[:1] == ([first] if first else [])
    below = descendants(settled, {name for name, _ in first})
    assert {name for name, _ in all_of(waves)} == below


def test_a_code_version_that_makes_the_same_again_stops_at_once(settled):
    settled.settle(always_the_same)
    for name, chrom in sorted(settled.cells, key=lambda cell: order(settled, cell[0])):
        settled.make([(name, chrom)], always_the_same)
    assert settled.evaluate() == set()
    settled.reload(seqlets={"threshold": 0.02})
    assert settled.settle(always_the_same) == [{("counts/seqlets", chrom) for chrom in CHROMS}]


def test_a_new_chromosome_makes_itself_and_then_what_pools_it(tmp_path, instance):
    automated = Automated.new(tmp_path, instance, {"chroms": ["chrA", "chrB"]})
    automated.settle()
    automated.reload(chroms=["chrA", "chrB", "chrC"])
    waves = automated.settle()
    assert waves[0] == {("one_hot_sequences", "chrC"), ("marginalization_backgrounds", None)}
    assert {cell for cell in all_of(waves) if cell[0] in ("one_hot_sequences", "counts/attributions")} == {
        ("one_hot_sequences", "chrC"),
        ("counts/attributions", "chrC"),
    }
    assert ("experiment_report", None) in all_of(waves)


def test_an_input_that_cannot_be_read_makes_what_reads_it_wait_and_nothing_else(settled):
    peaks = settled.folder / "peaks.bed"
    whole = peaks.read_text()
    peaks.write_text(whole + "chrB\t900\t800\n")
    (settled.folder / "motifs.meme").write_text((settled.folder / "motifs.meme").read_text() + "\n")
    # The motif database is read by what stands on the peaks, too.
    assert settled.evaluate() == {("marginalization_effects", chrom) for chrom in CHROMS}
    peaks.write_text(whole + "chrB\t900\t940\n")
    assert ("one_hot_sequences", "chrB") in settled.evaluate()


def test_manual_is_the_default_and_has_no_condition(tmp_path):
    experiment = read_experiment(tiny_experiment(tmp_path))
    defs = build_defs([experiment], tmp_path / "home")
    assert all(node.automation_condition is None for node in defs.resolve_asset_graph().asset_nodes)
    assert [sensor.name for sensor in defs.sensors] == [OBSERVE_SENSOR]


def test_sensors_are_stopped_until_somebody_starts_them(tmp_path):
    experiment = read_experiment(tiny_experiment(tmp_path, {"automation": "eager"}))
    for automation, status in ((False, dg.DefaultSensorStatus.STOPPED), (True, dg.DefaultSensorStatus.RUNNING)):
        sensors = build_defs([experiment], tmp_path / "home", automation=automation).sensors
        assert {sensor.name: sensor.default_status for sensor in sensors} == {
            "tiny__automation": status,
            OBSERVE_SENSOR: status,
        }


def test_a_cron_schedule_waits_for_its_tick_and_then_goes_through_to_the_report(tmp_path, instance):
    automated = Automated.new(tmp_path, instance, {"automation": {"cron": "0 3 * * 0"}, "timezone": "UTC"})
    before = SUNDAY - timedelta(minutes=1)
    assert automated.evaluate(before - timedelta(minutes=1)) == set()
    assert automated.evaluate(before) == set()
    waves = automated.settle(at=SUNDAY + timedelta(minutes=1))
    assert all_of(waves) == automated.cells
    automated.add_peak("chrB", 800)
    assert automated.evaluate(SUNDAY + timedelta(days=3)) == set()
    waves = automated.settle(at=SUNDAY + timedelta(days=7, minutes=1))
    assert waves[0] == {("one_hot_sequences", "chrB")}
    assert ("experiment_report", None) in all_of(waves)


@pytest.mark.parametrize(
    ("day", "requests"),
    [
        (datetime(2026, 3, 28, tzinfo=UTC), ["28 01:30", "29 01:00", "30 00:30"]),  # 2:30 is not on the 29th
        (datetime(2026, 10, 24, tzinfo=UTC), ["24 00:30", "25 01:30", "26 01:30"]),  # 2:30 is twice on the 25th
    ],
    ids=["into summer", "into winter"],
)
def test_a_schedule_ticks_in_its_time_zone_once_a_day_also_when_clocks_are_changed(tmp_path, instance, day, requests):
    """Europe/Berlin is an hour before UTC in winter and two in summer."""
    forced = {"automation": {"cron": "30 2 * * *", "force": True}, "timezone": "Europe/Berlin"}
    automated = Automated.new(tmp_path, instance, forced)
    automated.evaluate(day - timedelta(hours=1))
    looks = [day + timedelta(days=k, minutes=minute) for k in range(3) for minute in (0, 30, 60, 90, 120)]
    ticked = [look for look in looks if ("one_hot_sequences", "chrA") in automated.evaluate(look)]
    assert [look.strftime("%d %H:%M") for look in ticked] == requests


def test_a_forced_schedule_makes_everything_at_every_tick_parents_first_once(tmp_path, instance):
    forced = {"automation": {"cron": "0 3 * * 0", "force": True}, "timezone": "UTC"}
    automated = Automated.new(tmp_path, instance, forced)
    for name, chrom in sorted(automated.cells, key=lambda cell: order(automated, cell[0])):
        automated.make([(name, chrom)])
    automated.evaluate(SUNDAY - timedelta(minutes=1))
    assert automated.evaluate(SUNDAY - timedelta(seconds=30)) == set()
    for week in (0, 7):
        waves = automated.settle(at=SUNDAY + timedelta(days=week, minutes=1))
        assert all_of(waves) == automated.cells
        assert sum(map(len, waves)) == len(automated.cells)
        place = {cell: number for number, wave in enumerate(waves) for cell in wave}
        for name, chrom in automated.cells:
            for source in sources(automated.lineage, automated.key(name), chrom):
                if not source.observed:
                    assert place[automated.name(source.key), source.partition] < place[name, chrom]


def test_inputs_are_observed_when_a_file_changes_and_only_that_one(settled):
    (sensor,) = [sensor for sensor in settled.defs.sensors if sensor.name == OBSERVE_SENSOR]
    repository = settled.defs.get_repository_def()

    def look(cursor: str | None):
        context = dg.build_sensor_context(settled.instance, cursor, repository_def=repository)
        found = sensor.evaluate_tick(context)
        return {key.path[-1] for run in found.run_requests for key in run.asset_selection}, found.cursor

    everything, cursor = look(None)
    assert {"peaks", "negatives", "model"} < everything
    assert len(everything) == 5
    assert look(cursor)[0] == set()
    settled.add_peak("chrB", 800)
    changed, cursor = look(cursor)
    assert changed == {"peaks"}
    (settled.folder / "model.torch").unlink()
    assert look(cursor)[0] == {"model"}


def test_looking_reads_no_file_again(settled, monkeypatch):
    from cherimoya_assets.analysis import hashing, input_versions

    monkeypatch.setattr(hashing, "_digest", lambda path: pytest.fail(f"{path} was read again"))
    for name in ("_bases", "read_loci"):
        monkeypatch.setattr(input_versions, name, lambda *_: pytest.fail("an input was read again"))
    monkeypatch.setattr(genome, "_make_index", lambda *_: pytest.fail("the genome was indexed again"))
    assert settled.evaluate() == set()


def test_experiments_come_and_go_without_touching_the_history_of_others(tmp_path, instance):
    """A second experiment on the same files is made; the first does not move when it comes, nor when it goes."""
    first = Automated.new(tmp_path, instance)
    first.settle()
    second_file = tmp_path / "second.yaml"
    second_file.write_text(first.file.read_text().replace("name: tiny", "name: second"))
    both = [first.lineage.experiment, read_experiment(second_file)]
    materialized = {cell: first.instance.get_latest_materialization_event(first.key(cell[0])) for cell in first.cells}
    first.defs = build_defs(both, first.lineage.home.root)
    assert first.evaluate() == set()
    selection = dg.AssetSelection.groups("second").materializable()
    found = dg.evaluate_automation_conditions(first.defs, instance, asset_selection=selection)
    assert found.get_requested_partitions(dg.AssetKey(["second", "one_hot_sequences"])) == set(CHROMS)
    first.defs = build_defs(both[:1], first.lineage.home.root)
    assert first.evaluate() == set()
    assert materialized == {
        cell: first.instance.get_latest_materialization_event(first.key(cell[0])) for cell in first.cells
    }


def test_what_a_step_reads_is_what_dagster_draws(tmp_path):
    """The list of sources and the dependencies of the assets are of the same keys."""
    for number, changes in enumerate(({}, {"motifs": None}, {"negatives": None, "exclusion_lists": ["peaks.bed"]})):
        folder = tmp_path / str(number)
        experiment = read_experiment(tiny_experiment(folder, {"output": ["counts", "profile"], **changes}))
        lineage = ExperimentLineage(experiment, Home(folder / "home"))
        graph = build_defs([experiment], folder / "home").resolve_asset_graph()
        for stage in stages(lineage):
            for key in stage.keys:
                chrom = lineage.chroms[0] if stage.partitioned else None
                assert {source.key for source in sources(lineage, key, chrom)} == graph.get(key).parent_keys, key


def descendants(automated: Automated, names: set[str]) -> set[str]:
    """These assets and everything below them, as Dagster draws it."""
    graph, found = automated.defs.resolve_asset_graph(), set(names)
    waiting = [automated.key(name) for name in names]
    while waiting:
        for child in graph.get(waiting.pop()).child_keys:
            if automated.name(child) not in found:
                found.add(automated.name(child))
                waiting.append(child)
    return found


def order(automated: Automated, name: str) -> int:
    """Where an asset stands, parents first."""
    keys = automated.defs.resolve_asset_graph().toposorted_asset_keys
    return list(keys).index(automated.key(name))

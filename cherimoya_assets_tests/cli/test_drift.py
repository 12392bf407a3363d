"""`cherimoya-assets drift`, and `run`, which makes what drift names: what a change touches, nothing else, and why."""

from __future__ import annotations

import json
import os
import re
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
import yaml

import cherimoya_assets.assets.drift as drift_module
import cherimoya_assets.assets.lineage as lineage_module
from cherimoya_assets import steps
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import Experiment, read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.instance import open_instance
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets_tests.changed_step import change_step
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.cli.test_run import remade, stored
from cherimoya_assets_tests.tiny_experiment import CHROMS

DEPENDS_ON_SEQLETS = {
    ("counts/seqlets", "chrA"),
    ("counts/seqlets", "chrB"),
    ("counts/seqlets", "chrC"),
    ("counts/annotated_seqlets", "chrA"),
    ("counts/annotated_seqlets", "chrB"),
    ("counts/annotated_seqlets", "chrC"),
    ("counts/attribution_tracks", None),
    ("experiment_report", None),
}

NOTHING = "Everything is up to date: nothing was made. To make it anyway: --force\n"


def drift(file: Path, *arguments: object) -> dict[tuple[str, str | None], str]:
    """The reason of every partition that is not fresh."""
    said = command("drift", file, "--json", *arguments)
    assert (said.code, said.err) == (0, "")
    return {(one["asset"], one["partition"]): one["reason"] for one in json.loads(said.out) if not one["fresh"]}


def change(file: Path, **changes: object) -> None:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}, sort_keys=False))


def add_peaks(file: Path, *rows: tuple[str, int]) -> None:
    with (file.parent / "peaks.bed").open("a") as peaks:
        peaks.writelines(f"{chrom}\t{start}\t{start + 40}\n" for chrom, start in rows)


def written(file: Path) -> str:
    """The day on which the peaks were last written."""
    return date.fromtimestamp((file.parent / "peaks.bed").stat().st_mtime).isoformat()


def run(file: Path, *arguments: object) -> set[tuple[str, str | None]]:
    """The partitions that a run stored anew."""
    home = file.parent / "cherimoya_home"
    before = stored(home)
    said = command("run", file, *arguments)
    assert said.code == 0, said
    return remade(before, stored(home))


def materialize_as_in_the_ui(file: Path, home: Path, key: dg.AssetKey) -> None:
    """Make one asset whatever it stands on, as a click on Materialize does."""
    job = build_defs([read_experiment(file)], home).resolve_implicit_global_asset_job_def()
    with open_instance(Home(home)) as instance:
        assert job.execute_in_process(instance=instance, asset_selection=[key]).success


def test_after_a_complete_run_everything_is_fresh_and_nothing_is_made_again(tiny_copy):
    file, _ = tiny_copy
    found = json.loads(command("drift", file, "--json").out)
    assert {tuple(one) for one in found} == {("asset", "partition", "fresh", "reason")}
    assert all(one["fresh"] and one["reason"] == "" for one in found)
    assert {one["partition"] for one in found if one["asset"] == "counts/seqlets"} == set(CHROMS)
    assert [one["partition"] for one in found if one["asset"] == "experiment_report"] == [None]
    assert command("drift", file).out == f"Everything is up to date: {len(found)} partitions.\n"
    said = command("run", file)
    assert (said.code, said.out.endswith(NOTHING)) == (0, True)
    assert run(file) == set()


def test_a_missing_partition_is_not_fresh(tiny_run, tmp_path):
    found = json.loads(command("drift", tiny_run[0], "--home", tmp_path / "empty", "--json").out)
    assert {(one["fresh"], one["reason"]) for one in found} == {(False, "has not been made")}
    said = command("drift", tiny_run[0], "--home", tmp_path / "empty")
    assert "counts/attributions[chrA] has not been made\n" in said.out


def test_added_peaks_are_named_with_date_and_rows_through_every_hop(tiny_copy):
    file, _ = tiny_copy
    command("drift", file)
    add_peaks(file, ("chrB", 700), ("chrB", 800), ("chrB", 900))
    reasons = drift(file)
    root = rf"peaks\[chrB\] changed on {written(file)} \(3 rows added\)"
    assert all(re.match(root, reason) for reason in reasons.values())
    assert re.fullmatch(root, reasons["one_hot_sequences", "chrB"])
    hop = r"; it stands on one_hot_sequences\[chrB\], which is out of date"
    assert re.fullmatch(root + hop, reasons["counts/attributions", "chrB"])
    hop = r"; it stands on counts/attributions\[chrB\], counts/seqlet_null, which are out of date"
    assert re.fullmatch(root + hop, reasons["counts/seqlets", "chrB"])
    text = command("drift", file).out
    assert re.search(rf"^counts/attributions\[chrB\] is out of date: {root}", text, re.MULTILINE)
    for fresh in (("one_hot_sequences", "chrA"), ("counts/attributions", "chrC"), ("marginalization_effects", "chrB")):
        assert fresh not in reasons


def test_a_run_makes_what_depends_on_the_added_peaks_and_nothing_else(tiny_copy):
    file, _ = tiny_copy
    add_peaks(file, ("chrB", 700))
    named = set(drift(file))
    made = run(file)
    assert made <= named
    assert {place for place in made if place[1] and place[0] in ("one_hot_sequences", "counts/attributions")} == {
        ("one_hot_sequences", "chrB"),
        ("counts/attributions", "chrB"),
    }
    assert not {asset for asset, _ in made if asset.startswith("marginalization")}
    assert ("experiment_report", None) in made
    assert drift(file) == {}


def test_a_seqlet_threshold_is_named_and_recomputes_seqlets_and_below_only(tiny_copy):
    file, _ = tiny_copy
    change(file, seqlets={"threshold": 0.05})
    reasons = drift(file)
    assert set(reasons) == DEPENDS_ON_SEQLETS
    assert reasons["counts/seqlets", "chrB"] == "seqlets.threshold is 0.05, was 0.01"
    assert reasons["counts/annotated_seqlets", "chrB"] == (
        "seqlets.threshold is 0.05, was 0.01; it stands on counts/seqlets[chrB], which is out of date"
    )
    made = run(file)
    assert {("counts/seqlets", chrom) for chrom in CHROMS} <= made <= DEPENDS_ON_SEQLETS
    assert drift(file) == {}


def test_what_came_out_the_same_wakes_nothing(tiny_copy):
    """A threshold that lets through what the other one let through: seqlets are called again, and nothing else is."""
    file, _ = tiny_copy
    change(file, seqlets={"threshold": 0.0100000001})
    assert len(drift(file)) == len(DEPENDS_ON_SEQLETS)
    assert run(file) == {("counts/seqlets", chrom) for chrom in CHROMS}
    assert drift(file) == {}


@pytest.mark.parametrize(
    "setting", [{"batch_size": 7}, {"device": "auto"}, {"marginalize": {"n_loci": 4, "batch_size": 3}}]
)
def test_batch_size_and_device_make_nothing_out_of_date(tiny_copy, setting):
    file, _ = tiny_copy
    change(file, **setting)
    assert drift(file) == {}
    assert run(file) == set()


def test_sorting_a_file_makes_nothing_out_of_date(tiny_copy):
    file, _ = tiny_copy
    for name in ("peaks.bed", "negatives.bed"):
        rows = (file.parent / name).read_text().splitlines(keepends=True)
        assert rows[::-1] != rows
        (file.parent / name).write_text("".join(rows[::-1]))
    assert drift(file) == {}
    assert run(file) == set()


def test_touching_files_makes_nothing_out_of_date(tiny_copy):
    file, _ = tiny_copy
    for path in file.parent.iterdir():
        if path.is_file():
            os.utime(path)
    assert drift(file) == {}
    assert run(file) == set()


def test_an_input_that_is_changed_back_is_fresh_again(tiny_copy):
    file, _ = tiny_copy
    peaks = (file.parent / "peaks.bed").read_text()
    add_peaks(file, ("chrA", 700))
    assert ("one_hot_sequences", "chrA") in drift(file)
    (file.parent / "peaks.bed").write_text("# the same\n" + peaks)
    assert drift(file) == {}
    assert run(file) == set()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda rows: rows[1:], r"1 row removed"),
        (lambda rows: [rows[0].replace("300\t340", "310\t350"), *rows[1:]], r"1 row added, 1 removed"),
    ],
)
def test_rows_are_counted(tiny_copy, edit, words):
    file, _ = tiny_copy
    peaks = file.parent / "peaks.bed"
    peaks.write_text("".join(edit(peaks.read_text().splitlines(keepends=True))))
    assert re.fullmatch(rf"peaks\[chrA\] changed on [\d-]+ \({words}\)", drift(file)["one_hot_sequences", "chrA"])


def test_a_file_that_is_older_than_what_was_made_of_another_has_no_day(tiny_copy):
    file, _ = tiny_copy
    add_peaks(file, ("chrB", 700))
    os.utime(file.parent / "peaks.bed", (1, 1))
    assert drift(file)["one_hot_sequences", "chrB"] == "peaks[chrB] changed (1 row added)"


def test_a_changed_contig_and_a_changed_model_are_named(tiny_copy):
    file, _ = tiny_copy
    genome = file.parent / "genome.fa"
    first, *rest = genome.read_text().split(">chrC\n")
    genome.write_text(first + ">chrC\n" + "".join(rest).translate(str.maketrans("AC", "CA")))
    reasons = drift(file)
    assert reasons["one_hot_sequences", "chrC"].startswith("genome[chrC] changed")
    assert ("one_hot_sequences", "chrA") not in reasons
    model = file.parent / "model.torch"
    model.write_bytes(model.read_bytes() + b"\0")
    reasons = drift(file)
    assert reasons["counts/attributions", "chrA"].startswith("model changed")
    assert ("one_hot_sequences", "chrA") not in reasons


def own_reasons(file: Path) -> dict[str, set[str]]:
    """What `drift` says of each step, where nothing that it stands on is out of date."""
    found: dict[str, set[str]] = {}
    for (asset, _), reason in drift(file).items():
        if "; it stands on " not in reason:
            found.setdefault(asset.rpartition("/")[2], set()).add(reason)
    return found


@pytest.mark.parametrize("package", sorted({name for row in steps.STEPS for name in row.packages}))
def test_every_package_that_decides_a_number_is_named(tiny_copy, monkeypatch, package):
    version = lineage_module.package_version
    newer = lambda name: "99.0" if name == package else version(name)  # noqa: E731
    monkeypatch.setattr(lineage_module, "package_version", newer)
    monkeypatch.setattr(drift_module, "package_version", newer)
    found = own_reasons(tiny_copy[0])
    assert found and found.keys() <= {row.name for row in steps.STEPS if package in row.packages}
    assert set.union(*found.values()) == {f"{package} is 99.0, was {version(package)}"}


def test_a_package_that_an_older_stamp_does_not_have_is_named(tiny_copy, monkeypatch):
    file, home = tiny_copy
    manifest = home / "store" / "tiny" / "counts" / "attribution_tracks" / "_pooled" / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["stamp"]["packages"]["figwig"]
    manifest.write_text(json.dumps(content))
    assert drift(file) == {}
    version = lineage_module.package_version
    monkeypatch.setattr(lineage_module, "package_version", lambda name: "99.0" if name == "figwig" else version(name))
    assert own_reasons(file) == {"attribution_tracks": {f"figwig is {version('figwig')}, was not recorded"}}


def test_a_parameter_that_an_older_stamp_does_not_have_is_named(tiny_copy):
    file, home = tiny_copy
    manifest = home / "store" / "tiny" / "counts" / "attributions" / "chrA" / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["stamp"]["parameters"]["group"]
    content["stamp"]["code_version"] = "3.before"
    manifest.write_text(json.dumps(content))
    assert own_reasons(file) == {"attributions": {"group is 0, was not recorded"}}


@pytest.mark.parametrize("row", steps.STEPS, ids=lambda row: row.name)
def test_the_code_of_every_step_is_named(tiny_copy, monkeypatch, row):
    change_step(monkeypatch, row.name, version=99)
    reason = f"the code of {row.name} changed (version 99, was {row.version})"
    assert own_reasons(tiny_copy[0]) == {row.name: {reason}}


VALID = {"algorithm": "deep_lift_shap", "dtype": "float64", "modisco.window": 18}
"""What cannot be a little more than it is."""


def parameters() -> dict[str, object]:
    """Every parameter that decides a number, by its place in an experiment file, with what it has there by default."""
    some = Experiment.model_validate({"name": "x", "sequences": "x", "loci": "x", "model": "x"})
    groups = [group for row in steps.STEPS for group in row.parameters]
    found = [(group.section, *one) for group in groups for one in group.values(some).items()]
    return {f"{section}.{name}".lstrip("."): value for section, name, value in found}


@pytest.mark.parametrize("place", parameters())
def test_every_parameter_is_named_with_what_it_was(tiny_copy, place):
    file, _ = tiny_copy
    section, _, name = place.rpartition(".")
    content, default = yaml.safe_load(file.read_text()), parameters()[place]
    there = content.setdefault(section, {}) if section else content
    was = there.get(name, default)
    now = VALID.get(place, not was if isinstance(was, bool) else was + 1 if isinstance(was, int) else None)
    there[name] = was / 2 if now is None else now
    file.write_text(yaml.safe_dump(content))
    shown = [str(value).lower() if isinstance(value, bool) else str(value) for value in (there[name], was)]
    found = own_reasons(file)
    assert any(f"{place} is {shown[0]}, was {shown[1]}" in reason for said in found.values() for reason in said)
    assert "what decides" not in str(found)


def test_another_order_of_the_chromosomes_is_named_by_what_pools_them(tiny_copy):
    """They stand largest first, and so does what is pooled of them."""
    file, _ = tiny_copy
    with (file.parent / "genome.fa").open() as genome:
        head, _, rest = genome.read().partition(">chrC\n")
    (file.parent / "genome.fa").write_text(f"{head}>chrC\n" + ("ACGT" * 15 + "\n") * 20 + rest)
    reasons = drift(file)
    order = "the order of the chromosomes by size changed"
    assert reasons["marginalization_backgrounds", None].startswith(f"{order}; genome[chrC] changed")
    assert reasons["counts/seqlet_null", None].startswith(f"{order}; genome[chrC] changed")
    assert ("one_hot_sequences", "chrA") not in reasons


def test_a_dropped_chromosome_is_named_by_what_pools_it_and_by_nothing_else(tiny_copy):
    file, _ = tiny_copy
    change(file, chroms=["chrA", "chrB"])
    reasons = drift(file)
    dropped = "chrC is no longer in the experiment"
    assert reasons["counts/seqlet_null", None] == reasons["counts/modisco_patterns", None] == dropped
    assert reasons["counts/seqlets", "chrB"] == f"{dropped}; it stands on counts/seqlet_null, which is out of date"
    assert all(reason.partition(";")[0] == dropped for reason in reasons.values())
    assert not {asset for asset, _ in reasons} & {"one_hot_sequences", "counts/attributions"}


def test_an_added_chromosome_is_named_by_what_pools_it(tiny_copy):
    file, _ = tiny_copy
    with (file.parent / "genome.fa").open("a") as genome:
        genome.write(">chrD\n" + "ACGTTGCA" * 100 + "\n")
    reasons = drift(file)
    added = "chrD is new in the experiment"
    assert reasons["counts/attributions", "chrD"] == "has not been made"
    assert reasons["marginalization_backgrounds", None] == added
    assert reasons["counts/modisco_patterns", None].startswith(f"{added}; counts/attributions[chrD] has not been made")
    assert added in command("drift", file).out
    for fresh in (("one_hot_sequences", "chrA"), ("counts/attributions", "chrC")):
        assert fresh not in reasons


def test_the_name_of_a_fold_or_of_a_motif_file_makes_nothing_out_of_date(tiny_copy):
    file, _ = tiny_copy
    (file.parent / "motifs.meme").rename(file.parent / "jaspar.meme")
    change(file, model={"fold_7": "model.torch"}, motifs="jaspar.meme")
    said = command("drift", file)
    assert said.out.startswith("Everything is up to date")
    assert run(file) == set()


def test_force_makes_what_is_fresh(tiny_copy):
    file, _ = tiny_copy
    assert run(file, "--force", "--select", "one_hot_sequences") == {("one_hot_sequences", chrom) for chrom in CHROMS}


def test_nothing_is_made_from_old_and_new_chromosomes_together(tiny_copy):
    file, _ = tiny_copy
    add_peaks(file, ("chrA", 700), ("chrB", 700))
    before = stored(file.parent / "cherimoya_home")
    said = command("run", file, "--chroms", "chrA")
    made = remade(before, stored(file.parent / "cherimoya_home"))
    assert made == {("one_hot_sequences", "chrA"), ("counts/attributions", "chrA")}
    pooled = r"seqlet_null +skipped: it pools every chromosome, and counts/attributions is out of date for chrB"
    assert re.search(pooled, said.out)
    assert re.search(r"counts/seqlets +skipped: counts/seqlet_null is out of date", said.out)
    assert run(file) >= {("counts/attributions", "chrB"), ("counts/seqlets", "chrA"), ("counts/seqlets", "chrB")}
    assert drift(file) == {}


def test_the_check_and_the_page_of_the_report_say_what_is_out_of_date(tiny_copy):
    file, home = tiny_copy
    page = AssetStore(home / "store").folder(("tiny", "experiment_report"), None) / "latest" / "experiment.html"
    fresh = page.read_text(encoding="utf-8").partition('<section id="drift">')[2].partition("</section>")[0]
    assert "everything that it stands on was what its inputs" in fresh and "<li" not in fresh
    add_peaks(file, ("chrC", 700))
    sentence = f"one_hot_sequences[chrC] is out of date: peaks[chrC] changed on {written(file)} (1 row added)"
    refused = command("run", file, "--force", "--select", "experiment_report")
    assert refused.code == 1
    pooled = "skipped: it pools every chromosome, and counts/annotated_seqlets is out of date for chrA, chrB, chrC"
    assert re.search(rf"experiment_report +{pooled}", refused.out)
    report = dg.AssetKey(["tiny", "experiment_report"])
    materialize_as_in_the_ui(file, home, report)
    stale = page.read_text(encoding="utf-8").partition('<section id="drift">')[2].partition("</section>")[0]
    assert f'<li class="name">{sentence}</li>' in stale
    assert "experiment_report is out of date" not in stale
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        key = dg.AssetCheckKey(report, "up_to_date")
        (execution,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        evaluation = execution.event.dagster_event.asset_check_evaluation_data
    assert not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.WARN
    assert evaluation.description.startswith(sentence)


def test_an_input_that_is_gone_is_one_sentence(tiny_copy):
    file, _ = tiny_copy
    (file.parent / "model.torch").unlink()
    said = command("drift", file)
    assert said.code == 2
    assert "model.torch" in said.err and "Traceback" not in said.err

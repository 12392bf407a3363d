"""`cherimoya-assets lineage`: every file that the platform wrote says where it comes from, wherever it was copied."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path

import dagster as dg
import pytest

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import Versions
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.resources.stamped_page import read_page_stamp, stamp_page
from cherimoya_assets.resources.storage import SIDECAR, AssetStore
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.tiny_experiment import ATTR_WINDOW

ATTRIBUTIONS = ("tiny", "counts", "attributions")


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    assert command("export", tiny_run[0], "--to", folder).code == 0
    return folder


def answer(path: Path, *arguments: object, code: int = 0) -> dict:
    said = command("lineage", path, "--json", *arguments)
    assert (said.code, said.err) == (code, "")
    return json.loads(said.out)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def latest(home: Path, *key: str, chrom: str | None = None) -> Path:
    return AssetStore(home / "store").folder(key, chrom) / "latest"


def test_every_stored_file_names_its_asset_run_device_inputs_parameters_and_versions(tiny_run):
    _, home, _ = tiny_run
    store = AssetStore(home / "store")
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        runs = {run.run_id: run.tags.get("dagster/partition") for run in instance.get_runs()}
    asked = [path for link in sorted(store.root.rglob("latest")) for path in files(link)]
    assert len(asked) > 40
    for path in asked:
        found = answer(path)
        (origin,) = found["origins"]
        manifest = store.manifest(tuple(origin["asset"].split("/")), origin["partition"])
        assert path.resolve().is_relative_to(store.folder(tuple(origin["asset"].split("/")), origin["partition"]))
        assert origin["version"] == manifest.version
        assert origin["inputs"] == manifest.stamp.inputs != {}
        assert origin["parameters"] == manifest.stamp.parameters
        assert origin["packages"]["torch"] and origin["device"] == "cpu"
        assert runs[origin["run_id"]] == origin["partition"]
        assert found["sha256"] == (None if path.name == SIDECAR else hashlib.sha256(path.read_bytes()).hexdigest())
        assert found["unchanged"]


def test_a_pooled_file_names_the_input_files_through_every_step(tiny_run):
    """Against the versions of the files as they are: the bigWig itself is made from stored assets only."""
    file, home, _ = tiny_run
    versions = Versions(ExperimentLineage(read_experiment(file), Home(home)))
    key = versions.lineage.key
    wanted = {
        "model": versions.whole(key("model")),
        "motif_database": versions.whole(versions.lineage.input_key("motifs")),
    }
    for name, input_key in (("peaks", key("peaks")), ("genome", versions.lineage.input_key("genome"))):
        wanted |= {f"{name}[{chrom}]": version for chrom, version in versions.by_chromosome(input_key).items()}
    (origin,) = answer(latest(home, "tiny", "counts", "attribution_tracks") / "contributions.bw")["origins"]
    assert {name: version for name, version in origin["upstream"].items() if name != "genome contigs"} == wanted
    assert not wanted.keys() & origin["inputs"].keys() - {f"genome[{chrom}]" for chrom in ("chrA", "chrB", "chrC")}
    said = command("lineage", latest(home, "tiny", "counts", "attribution_tracks") / "contributions.bw")
    assert f"    model = {wanted['model']}\n" in said.out


def test_the_command_that_it_names_makes_the_same_content_again(tiny_copy):
    file, home = tiny_copy
    assert command("run", file, "--home", home, "--select", "seqlets", "--chroms", "chrA", "--force").code == 0
    seqlets = latest(home, "tiny", "counts", "seqlets", chrom="chrA")
    before = answer(seqlets)
    words = shlex.split(before["command"])
    assert words[0] == "cherimoya-assets"
    assert command(*words[1:]).code == 0
    after = answer(seqlets)
    assert before["origins"][0]["version"] == after["origins"][0]["version"]
    assert before["origins"][0]["run_id"] != after["origins"][0]["run_id"]


def test_a_stored_folder_copied_elsewhere_still_answers(tiny_run, tmp_path):
    source = latest(tiny_run[1], *ATTRIBUTIONS, chrom="chrA")
    shutil.copytree(source, tmp_path / "copy")
    for path in files(tmp_path / "copy"):
        assert answer(path)["origins"] == answer(source)["origins"]
    assert answer(tmp_path / "copy")["origins"][0]["parameters"]["attr_window"] == ATTR_WINDOW


def test_every_exported_file_says_what_it_is_made_of_also_in_a_copied_folder(exported, tiny_run, tmp_path):
    shutil.copytree(exported, tmp_path / "copy")
    store = AssetStore(tiny_run[1] / "store")
    made_of = {}
    for path in files(tmp_path / "copy"):
        found = answer(path)
        assert found["unchanged"]
        name = path.relative_to(tmp_path / "copy").as_posix()
        made_of[name] = {(origin["asset"], origin["partition"]) for origin in found["origins"]}
        for origin in found["origins"]:
            manifest = store.manifest(tuple(origin["asset"].split("/")), origin["partition"])
            assert (origin["version"], origin["run_id"]) == (manifest.version, manifest.stamp.run_id)
        words = shlex.split(found["command"])
        assert words[1:3] == ["export", str(tiny_run[0])] and words[-1] == "counts"
    chroms = ("chrA", "chrB", "chrC")
    assert made_of["tiny.attributions.attr.npz"] == {("tiny/counts/attributions", chrom) for chrom in chroms}
    assert made_of["tiny.seqlets.bed"] == {("tiny/counts/seqlets", chrom) for chrom in chroms}
    assert made_of["tiny_modisco_results.h5"] == {("tiny/counts/modisco_patterns", None)}
    assert made_of["tiny_modisco/report.html"] == {("tiny/counts/modisco_report", None)}
    report = answer(tmp_path / "copy" / "tiny_modisco")
    assert {origin["asset"] for origin in report["origins"]} == {"tiny/counts/modisco_report"}


def test_a_page_mailed_alone_still_answers(tiny_run, tmp_path):
    page = latest(tiny_run[1], "tiny", "experiment_report") / "experiment.html"
    mailed = tmp_path / "attachment.html"
    shutil.copy(page, mailed)
    assert answer(mailed)["origins"][0]["run_id"] == answer(page)["origins"][0]["run_id"]
    mailed.write_bytes(mailed.read_bytes().replace(b"<h1>tiny</h1>", b"<h1>other</h1>"))
    found = answer(mailed, code=1)
    assert found["changed"] == ["attachment.html"]


def test_the_stamp_of_a_page_cannot_end_its_element_and_does_not_change_the_version(tiny_copy):
    stamp = {"made": "</script><script>alert(1)</script> & <!-- \u2028"}
    page = stamp_page(b"<html><body>x</body></html>", stamp)
    assert page.count(b"<script") == page.count(b"</script") == 1
    assert b"<!--" not in page and page.endswith(b"</body></html>")
    assert read_page_stamp(page).stamp.recorded == stamp and read_page_stamp(page).unchanged
    assert stamp_page(page, stamp) == page
    file, home = tiny_copy
    report = latest(home, "tiny", "marginalization_report")
    before = answer(report)
    words = ("run", file, "--home", home, "--select", "marginalization_report", "--force")
    assert command(*words).code == 0
    after = answer(report)
    assert before["origins"][0]["run_id"] != after["origins"][0]["run_id"]
    assert before["origins"][0]["version"] == after["origins"][0]["version"]


def test_a_changed_file_is_said(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "copy")
    bed = tmp_path / "copy" / "tiny.seqlets.bed"
    bed.write_text(bed.read_text() + "chrA\t1\t2\t0\t0\n")
    said = command("lineage", bed)
    assert said.code == 1
    assert "CHANGED     since it was written: tiny.seqlets.bed (sha256 differs from the stamp)" in said.out
    assert answer(tmp_path / "copy", code=1)["changed"] == ["tiny.seqlets.bed"]


def test_a_file_without_its_sidecar_is_one_sentence_unless_a_home_has_its_bytes(tiny_run, exported, tmp_path):
    source = latest(tiny_run[1], *ATTRIBUTIONS, chrom="chrB")
    stored = next(path for path in files(source) if path.suffix == ".npz")
    alone = Path(shutil.copy(stored, tmp_path / "alone.npz"))
    said = command("lineage", alone)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"{alone}: neither the file nor anything beside it says where it comes from.")
    assert f"its sidecar, {SIDECAR} (stored files) or NAME.export.json (exported ones)" in said.err
    found = answer(alone, "--home", tiny_run[1])
    assert found["origins"][0]["asset"] == "tiny/counts/attributions"
    assert found["origins"][0]["partition"] == "chrB"
    bed = Path(shutil.copy(exported / "tiny.seqlets.bed", tmp_path))
    said = command("lineage", bed, "--home", tiny_run[1])
    assert said.code == 1
    assert f"nothing in {tiny_run[1]} has its sha256" in said.err


def test_a_file_that_is_not_there_or_a_damaged_record_is_one_sentence(tmp_path):
    said = command("lineage", tmp_path / "nothing.npz")
    assert (said.code, said.err) == (2, f"{tmp_path / 'nothing.npz'}: no such file or folder.\n")
    (tmp_path / "x.export.json").write_text('{"sha256": []}')
    (tmp_path / "x.bed").write_text("")
    said = command("lineage", tmp_path / "x.bed")
    assert said.code == 1
    assert "x.export.json: not an export record. Export again." in said.err


def test_the_text_has_every_part_of_the_answer(tiny_run):
    said = command("lineage", latest(tiny_run[1], *ATTRIBUTIONS, chrom="chrA"))
    assert said.code == 0
    parts = ("tiny/counts/attributions (chrA)", "  run  ", "  device    cpu", "one_hot_sequences", "attr_window = 20")
    for part in parts:
        assert part in said.out
    assert "To make it again:\n  cherimoya-assets run" in said.out

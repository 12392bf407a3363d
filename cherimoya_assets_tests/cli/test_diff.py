"""`cherimoya-assets diff`, and what an experiment's report says of the one before: patterns, attributions, causes."""

from __future__ import annotations

import html
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from cherimoya_assets.analysis.run_record_file import read_record, write_record
from cherimoya_assets.assets.run_record import PREVIOUS, RECORD
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets_tests.cli.command import command

REPORT = ("tiny", "experiment_report")


@pytest.fixture(scope="module")
def two(tiny_run, tmp_path_factory):
    """The tiny run before, and a copy with one peak more and another threshold: (file, home after, home before)."""
    folder = tmp_path_factory.mktemp("two") / "experiment"
    shutil.copytree(tiny_run[0].parent, folder, symlinks=True)
    file = folder / tiny_run[0].name
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "seqlets": {"threshold": 0.3}}))
    with (folder / "peaks.bed").open("a") as peaks:
        peaks.write("chrB\t700\t740\n")
    assert command("run", file).code == 0
    return file, folder / "cherimoya_home", tiny_run[1]


def seqlets(home: Path, chrom: str) -> set[tuple[int, int]]:
    table = AssetStore(home / "store").load(("tiny", "counts", "seqlets"), chrom).table
    return set(zip(table["start"], table["end"], strict=True))


def test_causes_correlations_and_seqlets_of_two_homes(two):
    file, home, before = two
    said = command("diff", file, "--against", before)
    assert (said.code, said.err) == (0, "")
    assert "Changed: 1 input, 1 parameter. Counts patterns: the same; counts seqlets: " in said.out
    assert "  seqlets.threshold: 0.01 -> 0.3\n" in said.out
    assert "  peaks[chrB]: " in said.out and "  peaks[chrA]: " not in said.out
    assert "attributions chrB: correlation 1.0000 over 2 loci in both, 0 only before, 1 only after" in said.out
    old, new = seqlets(before, "chrA"), seqlets(home, "chrA")
    gained = [(a, b) for a, b in new if not any(a < d and c < b for c, d in old)]
    lost = [(a, b) for a, b in old if not any(a < d and c < b for c, d in new)]
    assert gained
    line = f"seqlets chrA: {len(old)} -> {len(new)}, {len(gained)} gained, {len(lost)} lost"
    assert line in said.out


def test_a_run_compared_with_itself_has_no_difference(two):
    file, home, _ = two
    said = command("diff", file, "--against", home)
    assert said.out.startswith(
        "Inputs, parameters and software are the same. Counts patterns: the same; counts seqlets: 0 gained, 0 lost."
    )


def test_the_page_is_self_contained(two, tmp_path):
    file, home, before = two
    said = command("diff", file, "--against", before, "--html", tmp_path / "diff.html")
    assert said.code == 0
    page = (tmp_path / "diff.html").read_text(encoding="utf-8")
    assert "<h1>tiny: what changed</h1>" in page and "seqlets.threshold" in page
    assert str(before) in page and str(home) in page
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page and "src=" not in page
    said = command("diff", file, "--against", before, "--html", tmp_path / "nowhere" / "diff.html")
    assert said.code == 1 and "cannot be written" in said.err


def test_the_report_says_what_changed_since_the_one_before_in_a_page_and_in_the_ui(two):
    file, home, before = two
    store = AssetStore(home / "store")
    files = store.load(REPORT, None).files
    first = AssetStore(before / "store").load(REPORT, None).files
    assert "changes.html" not in first and PREVIOUS not in first
    assert files[PREVIOUS] == first[RECORD]
    assert 'href="changes.html"' in files["experiment.html"].decode()
    changes = files["changes.html"].decode()
    assert "seqlets.threshold" in changes and "1 input, 1 parameter" in changes
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(list(REPORT)))
    table = event.asset_materialization.metadata["changes"]
    assert isinstance(table, dg.MarkdownMetadataValue)
    assert "| Parameters: seqlets.threshold | 0.01 | 0.3 |" in html.unescape(table.value)
    version = store.manifest(REPORT, None).version
    assert command("run", file, "--force", "--select", "experiment_report").code == 0
    assert store.manifest(REPORT, None).version == version, "an identical recomputation changes nothing"


def test_a_record_that_was_kept_can_be_compared_with_a_later_run(two, tmp_path):
    file, _, before = two
    kept = tmp_path / "kept.npz"
    kept.write_bytes(AssetStore(before / "store").load(REPORT, None).files[RECORD])
    said = command("diff", file, "--against", kept)
    assert said.code == 0
    assert said.out == command("diff", file, "--against", before).out
    kept.write_bytes(b"PK nonsense")
    said = command("diff", file, "--against", kept)
    assert said.code == 1
    assert said.err == f"{kept}: not a run record. Make the experiment report again.\n"


def test_a_record_is_read_back_as_it_was_written(two):
    raw = AssetStore(two[1] / "store").load(REPORT, None).files[RECORD]
    record = read_record(raw, "here")
    assert write_record(record) == raw
    assert set(record.heads) == {"counts"}
    assert set(record.heads["counts"].attributions) == {"chrA", "chrB", "chrC"}


def test_nothing_to_compare_with_is_one_sentence(two, tmp_path):
    said = command("diff", two[0], "--against", tmp_path)
    assert said.code == 1
    assert said.err.startswith(f"--against {tmp_path}: neither a home in which attributions of tiny are stored nor")
    said = command("diff", two[0], "--home", tmp_path / "empty", "--against", two[2])
    assert said.code == 1
    assert "no attributions of tiny are stored. Run the experiment first: cherimoya-assets run" in said.err

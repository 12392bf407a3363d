"""The page of a stored experiment: its numbers are the store's, and its links open."""

from __future__ import annotations

import html
import re
import shlex
import shutil
from collections import Counter
from urllib.parse import unquote

import dagster as dg
import pytest

from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.assets.experiment_report import PAGE
from cherimoya_assets.assets.head_numbers import seconds_taken
from cherimoya_assets.build import build_experiment
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets_tests.assets.stored_experiment import materialize, put, stored_experiment
from cherimoya_assets_tests.reports.test_experiment_report import Page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lineage(tmp_path_factory):
    # A folder name that must be quoted in a shell and escaped in an address.
    lineage = stored_experiment(tmp_path_factory.mktemp("my lab & 100%") / "deep")
    heads = [lineage.key(head, "attribution_tracks") for head in lineage.heads]
    materialize(lineage, *heads, lineage.key("experiment_report"))
    return lineage


def folder(lineage):
    return lineage.store.folder(tuple(lineage.key("experiment_report").path), None) / "latest"


def page(lineage):
    return Page((folder(lineage) / PAGE).read_text(encoding="utf-8"))


def test_every_link_opens_from_the_stable_folder_and_from_the_real_one(lineage):
    links = [attributes["href"] for tag, attributes in page(lineage).tags if tag == "a"]
    assert len(links) == 5
    opened = set()
    for link in links:
        for place in (folder(lineage), folder(lineage).resolve()):
            target = place / unquote(link)
            assert target.is_file()
        opened.add(target.read_bytes().partition(b"\n")[0][:20])  # the stamp follows on its own line
    assert {b"modisco counts", b"modisco profile", b"marginalization"} <= opened


def test_every_stored_value_is_read_once(lineage, monkeypatch):
    read, load = Counter(), AssetStore.load

    def counting(store, key, partition):
        read.update([("/".join(key[1:]), partition)])
        return load(store, key, partition)

    monkeypatch.setattr(AssetStore, "load", counting)
    materialize(lineage, lineage.key("experiment_report"))
    per_chromosome = {"one_hot_sequences", "marginalization_effects"}
    per_chromosome |= {f"{h}/{s}" for h in lineage.heads for s in ("attributions", "seqlets", "annotated_seqlets")}
    pooled = {f"{head}/modisco_patterns" for head in lineage.heads} | {"experiment_report"}
    expected = {(name, chrom) for name in per_chromosome for chrom in lineage.chroms} | {
        (name, None) for name in pooled
    }
    assert read == dict.fromkeys(expected, 1)


@pytest.mark.parametrize("missing", ["counts/attributions/chrA", "profile/seqlets/chrB", "counts/modisco_patterns"])
def test_what_is_not_stored_is_named(tmp_path, missing):
    lineage = stored_experiment(tmp_path)
    shutil.rmtree(lineage.home.root / "store" / lineage.name / missing)
    name = "/".join((lineage.name, *missing.split("/")[:2]))
    with pytest.raises(dg.Failure, match=f"nothing is stored here yet. Materialize {name} first."):
        materialize(lineage, lineage.key("experiment_report"))


def test_ledger_and_contributions_are_those_of_the_store(lineage):
    found = page(lineage)
    assert found.row("loci", "chrA") == ["3", "0", "0", "0", "3"]
    assert found.row("loci", "chrB") == ["2", "1", "0", "0", "3"]
    assert found.row("loci", "chrC") == ["0", "0", "0", "0", "0"]
    assert "5 of 6 loci on 3 chromosomes" in found.plain("header")
    block: AttributionBlock = lineage.store.load(tuple(lineage.key("counts", "attributions").path), "chrB")
    mean = sum(abs(float((block.scores[r] * block.one_hot[r]).sum(0)[p])) for r in range(2) for p in range(20)) / 40
    assert found.row("chromosomes", "chrB")[:4] == ["2", f"{mean:.3f}", "4", "2.00"]


def test_motifs_patterns_and_effects_are_those_of_the_store(lineage):
    found = page(lineage)
    assert found.row("motifs", "one")[0] == "6"
    assert found.row("motifs", "two")[0] == "4"
    assert found.row("patterns", "pos_patterns.pattern_0")[1:3] == ["2", "one"]
    # Nine backgrounds: 0.00, 0.01 and 0.02 three times over.
    assert found.row("effects", "two") == ["−1.19", "−1.20 to −1.18", "", "×0.304", "9"]
    assert found.row("effects", "one")[0] == "+0.31"


def test_command_names_experiment_and_home_whatever_the_folder_is_called(lineage):
    text = (folder(lineage) / PAGE).read_text(encoding="utf-8")
    command = shlex.split(html.unescape(re.search(r"<pre>(.*?)</pre>", text, re.DOTALL).group(1)))
    assert command == [
        "cherimoya-assets",
        "run",
        str(lineage.experiment.source),
        "--home",
        str(lineage.home.root),
    ]


def test_provenance_has_inputs_stored_assets_and_devices(lineage):
    found = page(lineage)
    assert found.row("provenance", "genome") == ["genome.fa", lineage.input_version(lineage.experiment.sequences)[:12]]
    attributed = found.row("provenance", "counts/attributions")
    assert attributed[0] == "3"
    assert attributed[2:] == [
        "cuda:0",
        "algorithm saturation_mutagenesis, attr_window 20, group 0, dtype float32, mutagenesis_tolerance 0.0005",
    ]
    assert "computed on cuda:0" in found.plain("header")


def test_lineage_picture_has_every_asset_and_input_of_the_experiment(lineage):
    titles = set(
        re.findall(r"<title>([^:<]*):", (folder(lineage) / PAGE).read_text(encoding="utf-8").split("<svg", 2)[2])
    )
    drawn = {title.replace(" ", "_") for title in titles}
    steps = {key.path[-1] for asset in build_experiment(lineage) for key in asset.keys}
    assert drawn == steps | {"genome", "motif_database"}


def test_an_identical_recomputation_has_the_same_data_version(lineage):
    key = lineage.key("experiment_report")
    before = lineage.store.manifest(tuple(key.path), None).version
    materialize(lineage, key)
    assert lineage.store.manifest(tuple(key.path), None).version == before


def test_seconds_are_those_of_the_last_materialization_of_the_chromosome():
    key = dg.AssetKey(["tiny", "counts", "attributions"])
    with dg.DagsterInstance.ephemeral() as instance:
        for chrom, seconds in (("chrA", 1.5), ("chrA", 2.5), ("chrB", 9.0)):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(key, metadata={"seconds": seconds}, partition=chrom)
            )
        assert seconds_taken(instance, key, "chrA") == 2.5
        assert str(seconds_taken(instance, key, "chrC")) == "nan"


def test_without_motif_database_and_with_one_head_the_page_says_so(tmp_path):
    lineage = stored_experiment(tmp_path, {"motifs": None, "output": "counts", "chroms": ["chrB", "chrC"]})
    materialize(lineage, lineage.key("counts", "attribution_tracks"), lineage.key("experiment_report"))
    found = page(lineage)
    assert "names no motif database" in found.plain("motifs")
    assert "Not computed" in found.plain("effects")
    assert "heads" not in found.text
    assert "3 loci on chromosomes that were not selected (chrA: 3)" in found.plain("loci")
    assert len([tag for tag, _ in found.tags if tag == "a"]) == 2


def test_partitions_of_different_software_are_told_apart(tmp_path, monkeypatch):
    lineage = stored_experiment(tmp_path, {"motifs": None, "output": "counts"})
    block = lineage.store.load(tuple(lineage.key("one_hot_sequences").path), "chrA")
    monkeypatch.setattr("cherimoya_assets.assets.lineage.package_version", lambda name: "0.0.1")
    put(lineage, ("one_hot_sequences",), block, "chrA")
    monkeypatch.undo()
    materialize(lineage, lineage.key("counts", "attribution_tracks"), lineage.key("experiment_report"))
    assert re.search(r"torch 0\.0\.1, \d", page(lineage).plain("provenance"))

"""A home whose store is in an object store: every command works as it does with a folder, and says what is wrong."""

from __future__ import annotations

import json
import sys
from importlib import import_module

import pytest

from cherimoya_assets.home import Home
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.servers.s3 import s3_server

pytestmark = pytest.mark.slow

NAMES_ITS_HOME = ("attribution_tracks", "experiment_report")
"""Assets whose files say where they lie: an IGV session names the FASTA, the page names the home and the session."""


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def elsewhere(tiny_run, bucket, tmp_path_factory):
    """The tiny experiment made with its store in a bucket: (experiment file, home, what was said)."""
    home = tmp_path_factory.mktemp("elsewhere") / "home"
    home.mkdir()
    (home / "storage.yaml").write_text(f"url: {bucket}/tiny\n")
    return tiny_run[0], home, command("run", tiny_run[0], "--home", home)


def test_a_run_stores_the_same_there_as_on_a_disk_and_everything_is_fresh(elsewhere, tiny_run):
    file, home, said = elsewhere
    assert (said.code, said.err) == (0, "")
    assert not (home / "store").exists()
    here, there = (
        {(m.stamp.asset, m.stamp.partition): m for _, m in AssetStore(Home(root).store).manifests()}
        for root in (tiny_run[1], home)
    )
    assert here.keys() == there.keys() and len(here) > 20
    differ = {asset for asset, partition in here if here[asset, partition].version != there[asset, partition].version}
    assert {asset.rpartition("/")[2] for asset in differ} <= set(NAMES_ITS_HOME)
    assert "Everything is up to date" in command("drift", file, "--home", home).out
    again = command("run", file, "--home", home)
    assert (again.code, "nothing was made" in again.out) == (0, True)


def test_the_pages_that_it_names_lead_to_the_pages(elsewhere):
    from upath import UPath

    file, home, said = elsewhere

    pages = [line.strip() for line in said.out.splitlines() if line.endswith(".html")]
    assert len(pages) == 3 and all(page.startswith("s3://") for page in pages)
    report = AssetStore(Home(home).store).load(("tiny", "experiment_report"), None).files["experiment.html"].decode()
    for page in map(UPath, pages):
        (target,) = (part.partition('"')[0] for part in page.read_text().split("0; url=")[1:])
        real = page.parent.parent / target.removeprefix("../")
        assert b"</html>" in real.read_bytes()
        # The address of another report from the folder of this one.
        if page.name != "experiment.html":
            assert f'href="{_from_report(page)}"' in report
    session = (
        UPath(pages[0]).parent.parent.parent.parent / "counts/attribution_tracks/_pooled/latest/igv_session.xml.html"
    )
    assert f'href="{_from_report(session)}"' in report and "igv_session.xml" in session.read_text()
    tracks = AssetStore(Home(home).store).load(("tiny", "counts", "attribution_tracks"), None)
    assert f'genome="{file.parent / "genome.fa"}"'.encode() in tracks.files[tracks.index]


def _from_report(page) -> str:
    return "../../../" + page.path.partition("/tiny/tiny/")[2]


def test_a_file_from_there_says_where_it_comes_from(elsewhere, tmp_path):
    home = elsewhere[1]
    store = AssetStore(Home(home).store)
    manifest = store.manifest(("tiny", "counts", "seqlets"), "chrA")
    for path in (store.folder(("tiny", "counts", "seqlets"), "chrA") / manifest.folder).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    found = json.loads(command("lineage", tmp_path / "seqlets.parquet", "--json").out)
    assert found["unchanged"] and found["origins"][0]["version"] == manifest.version
    assert str(home) in found["command"]
    (tmp_path / "provenance.json").unlink()
    found = json.loads(command("lineage", tmp_path / "seqlets.parquet", "--home", home, "--json").out)
    assert found["found_in"].startswith("s3://") and found["origins"][0]["version"] == manifest.version


def test_what_was_made_here_and_there_is_the_same_to_diff_and_export(elsewhere, tiny_run, tmp_path):
    file, home, _ = elsewhere
    assert command("diff", file, "--home", home, "--against", tiny_run[1]).code == 0
    for name, root in (("here", tiny_run[1]), ("there", home)):
        assert command("export", file, "--home", root, "--to", tmp_path / name).code == 0
    exported = [path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert len(exported) > 10
    for name in exported:
        if not name.name.endswith((".export.json", ".html")):
            assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_damage_there_is_named_and_made_again(elsewhere):
    file, home, _ = elsewhere
    store = AssetStore(Home(home).store)
    place = store.folder(("tiny", "counts", "annotated_seqlets"), "chrA")
    (data,) = (path for path in place.rglob("*.parquet"))
    content = data.read_bytes()
    data.write_bytes(content[:-1])
    stale = command("drift", file, "--home", home).out
    assert "what was stored of counts/annotated_seqlets[chrA] is damaged (s3://" in stale
    assert command("run", file, "--home", home).code == 0
    assert "Everything is up to date" in command("drift", file, "--home", home).out


@pytest.mark.parametrize("name", ["run", "check"])
def test_a_bucket_that_is_not_there_is_one_sentence_before_any_work(tiny_run, bucket, tmp_path, name):
    (tmp_path / "storage.yaml").write_text("url: s3://nobodys/prefix\n")
    said = command(name, tiny_run[0], "--home", tmp_path)
    assert said.code == 1 and said.out == "" and "Traceback" not in said.err
    assert said.err.startswith(
        "s3://nobodys/prefix: cannot be reached or written (The specified bucket does not exist)"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["storage.yaml"]


def test_a_missing_package_is_one_sentence_that_names_the_extra(tiny_run, tmp_path, monkeypatch):
    (tmp_path / "storage.yaml").write_text("url: s3://somebodys/prefix\n")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    # What fsspec has imported before, it remembers.
    monkeypatch.delitem(import_module("fsspec.registry")._registry, "s3", raising=False)
    said = command("run", tiny_run[0], "--home", tmp_path)
    assert said.code == 1
    assert "pip install cherimoya_assets[s3]" in said.err and said.err.count("\n") == 1

"""Writers that are processes of their own: several on one partition, killed at every step, and what they leave."""

from __future__ import annotations

import multiprocessing
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from cherimoya_assets.resources.manifest import parse_manifest
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets_tests.resources.writers import KEY, report, stage_and_wait, start, whole, write, write_and_die

pytestmark = pytest.mark.slow

NOW = timedelta(0)


@pytest.fixture
def store(place, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    store = AssetStore(place)
    store.commit(store.stage(report("old")), KEY, "chrI")
    return store


def data_folders(store: AssetStore) -> set[str]:
    """The data folders of the partition that is written."""
    home = str(store.folder(KEY, "chrI"))
    below = (str(path).removeprefix(home).split("/")[1] for path in store.folder(KEY, "chrI").rglob("*"))
    return {name for name in below if "-" in name}


def named(store: AssetStore) -> str:
    """The folder that the manifest names, whatever is in it."""
    return parse_manifest((store.folder(KEY, "chrI") / "manifest.json").read_bytes(), "").folder


def test_a_writer_killed_at_any_step_leaves_the_old_content_or_the_new(store):
    """Kill the process before each of its steps in turn, and read after each death."""
    seen, steps = set(), 0
    for steps in range(60):
        text, before = f"new {steps}", whole(store.load(KEY, "chrI"))
        process = start(write_and_die, str(store.root), text, steps)
        process.join()
        loaded = whole(store.load(KEY, "chrI"))
        assert loaded in (text, before)
        assert store.look(KEY, "chrI").manifest.folder == named(store)
        seen.add(loaded == text)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert process.exitcode == 0 and loaded == text and steps > 8
    assert seen == {True, False}
    assert store.sweep(NOW)
    assert data_folders(store) == {named(store)}
    assert whole(store.load(KEY, "chrI")) == text
    assert store.sweep(NOW) == []


def test_two_writers_and_a_reader_see_one_report_or_another_and_never_a_part(store):
    commits = 100 if isinstance(store.root, Path) else 25
    texts = [[f"{writer} {number}" for number in range(commits)] for writer in ("one", "two")]
    writers = [start(write, str(store.root), own) for own in texts]
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(whole(store.load(KEY, "chrI")))
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert whole(store.load(KEY, "chrI")) in (texts[0][-1], texts[1][-1])
    assert seen <= {"old", *texts[0], *texts[1]} and len(seen) > 10
    if isinstance(store.root, Path):
        assert data_folders(store) == {named(store)}


def test_a_partition_that_is_removed_while_it_is_written_is_whole_or_gone(store):
    writer = start(write, str(store.root), [f"new {number}" for number in range(20)])
    while writer.is_alive():
        store.remove(KEY, "chrI")
        store.remove_all(KEY)
        held = store.look(KEY, "chrI")
        assert held.damage == ""
    writer.join()
    assert writer.exitcode == 0
    store.commit(store.stage(report("last")), KEY, "chrI")
    assert whole(store.load(KEY, "chrI")) == "last"


def test_a_sweep_takes_the_staging_of_the_dead_and_leaves_that_of_the_living(store):
    (staged, told), (finished, finish) = (multiprocessing.Pipe(duplex=False) for _ in range(2))
    writer = start(stage_and_wait, str(store.root), told, finished)
    folder = Path(staged.recv())
    assert store.sweep(NOW) == [] and folder.is_dir()
    finish.send("commit")
    writer.join()
    assert writer.exitcode == 0 and whole(store.load(KEY, "chrI")) == "slow"
    again = start(stage_and_wait, str(store.root), told, finished)
    folder = Path(staged.recv())
    again.kill()
    again.join()
    assert folder.is_dir()
    assert str(folder) in store.sweep()
    assert not folder.exists() and whole(store.load(KEY, "chrI")) == "slow"

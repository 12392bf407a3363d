"""What the store promises: old or new and never a part, verified on load, nothing outside its folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherimoya_assets.errors import StorageError
from cherimoya_assets.reports.folder import Report
from cherimoya_assets.resources.storage import POOLED, AssetStore, StoreIOManager, path_part

KEY = ("demo", "counts", "report")


def report(text: str) -> Report:
    return Report({"page.html": text.encode(), "figures/a.svg": b"<svg/>"}, "page.html")


def put(store: AssetStore, text: str, partition: str | None = "chrI") -> Path:
    return store.commit(store.stage(report(text)), KEY, partition)


def test_what_is_committed_is_loaded_back_equal(tmp_path):
    store = AssetStore(tmp_path)
    put(store, "first")
    assert store.load(KEY, "chrI") == report("first")


def test_partitions_and_the_pooled_asset_do_not_meet(tmp_path):
    store = AssetStore(tmp_path)
    put(store, "one", "chrI")
    put(store, "two", "chrII")
    put(store, "all", None)
    assert [store.load(KEY, p).files["page.html"] for p in ("chrI", "chrII", None)] == [b"one", b"two", b"all"]
    assert (tmp_path.joinpath(*KEY, POOLED)).is_dir()


def test_a_chromosome_named_like_the_pooled_folder_gets_its_own(tmp_path):
    store = AssetStore(tmp_path)
    put(store, "pooled", None)
    put(store, "chromosome", POOLED)
    assert store.load(KEY, None).files["page.html"] == b"pooled"


def test_equal_content_has_an_equal_version_and_other_content_another(tmp_path):
    store = AssetStore(tmp_path)
    versions = [store.stage(report(text)).manifest.version for text in ("a", "a", "b")]
    assert versions[0] == versions[1] != versions[2]


def test_the_stamp_is_kept_and_does_not_decide_the_version(tmp_path):
    store = AssetStore(tmp_path)
    staged = store.stage(report("a"), {"device": "cuda:0"})
    store.commit(staged, KEY, None)
    assert store.manifest(KEY, None).stamp == {"device": "cuda:0"}
    assert staged.manifest.version == store.stage(report("a"), {"device": "cpu"}).manifest.version


def test_replacing_leaves_one_data_folder_and_a_latest_link_to_it(tmp_path):
    store = AssetStore(tmp_path)
    put(store, "old")
    folder = put(store, "new")
    home = store.folder(KEY, "chrI")
    assert sorted(p.name for p in home.iterdir()) == sorted([folder.name, "latest", "manifest.json"])
    assert (home / "latest" / "page.html").read_text() == "new"


def test_a_removed_partition_is_gone_and_its_neighbours_stay(tmp_path):
    store = AssetStore(tmp_path)
    for partition in ("chrI", "chrII", None):
        put(store, "x", partition)
    store.remove(KEY, "chrI")
    store.remove(KEY, "chrI")
    assert store.manifest(KEY, "chrI") is None
    assert store.partitions(KEY) == [None, "chrII"]
    assert store.load(KEY, "chrII") == store.load(KEY, None) == report("x")


def test_everything_below_a_key_is_removed_and_nothing_beside_it(tmp_path):
    store = AssetStore(tmp_path)
    below, beside = (*KEY, "chunk"), ("demo", "counts", "reports")
    for key in (KEY, below, beside):
        store.commit(store.stage(report("x")), key, "chrI")
    store.remove_all(KEY)
    store.remove_all(KEY)
    assert [store.partitions(key) for key in (KEY, below, beside)] == [[], [], ["chrI"]]


def test_nothing_stored_is_said_with_what_to_do(tmp_path):
    with pytest.raises(StorageError, match=r"nothing is stored here yet. Materialize demo/counts/report first"):
        AssetStore(tmp_path).load(KEY, "chrI")


@pytest.mark.parametrize("damage", ["flip", "truncate", "append"])
def test_a_damaged_file_is_named(tmp_path, damage):
    store = AssetStore(tmp_path)
    page = put(store, "some longer text") / "page.html"
    content = page.read_bytes()
    page.write_bytes({"flip": b"X" + content[1:], "truncate": content[:5], "append": content + b"!"}[damage])
    with pytest.raises(StorageError, match=r"page\.html: sha256 .* damaged or foreign"):
        store.load(KEY, "chrI")


def test_a_missing_file_is_named(tmp_path):
    store = AssetStore(tmp_path)
    (put(store, "x") / "page.html").unlink()
    with pytest.raises(StorageError, match=r"page\.html: named in .*manifest\.json but missing"):
        store.load(KEY, "chrI")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "os.system"},
        {"kind": "Popen"},
        {"folder": "../../elsewhere"},
        {"format": 99},
        {"files": [{"name": "../../../etc/passwd", "sha256": "", "size": 0}]},
        {"files": [{"name": "/etc/passwd", "sha256": "", "size": 0}]},
        {"files": "nonsense"},
    ],
)
def test_a_foreign_manifest_is_refused(tmp_path, change):
    store = AssetStore(tmp_path)
    put(store, "x")
    path = store.folder(KEY, "chrI") / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StorageError, match=r"manifest\.json: (not a manifest of this store|format 99)"):
        store.load(KEY, "chrI")


@given(st.text(min_size=1, max_size=30).filter(lambda s: s.isprintable()))
def test_a_folder_name_is_one_safe_part_and_names_stay_apart(name):
    part = path_part(name)
    assert part not in (".", "..", POOLED)
    assert "/" not in part and "\\" not in part and not part.startswith(".")
    from urllib.parse import unquote

    assert unquote(part) == name


def test_a_failing_write_leaves_what_was_there(tmp_path):
    class Report:
        def write(self, folder: Path) -> None:
            (folder / "half").write_text("half")
            raise OSError(28, "No space left on device")

    store = AssetStore(tmp_path)
    put(store, "good")
    with pytest.raises(OSError, match="No space left"):
        store.stage(Report())
    assert store.load(KEY, "chrI") == report("good")
    assert not any((tmp_path / ".staging").iterdir())


def test_a_writer_killed_at_any_step_leaves_the_old_content_or_the_new(tmp_path):
    """Kill the process at each of its os-level steps in turn and read after each death."""
    put(AssetStore(tmp_path), "old")
    script = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from cherimoya_assets.reports.folder import Report
        from cherimoya_assets.resources import local_disk, storage
        left = [int(sys.argv[2])]
        def mortal(call):
            def wrapped(*args, **kwargs):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), 9)
                return call(*args, **kwargs)
            return wrapped
        for name in ("fsync", "replace", "symlink"):
            setattr(os, name, mortal(getattr(os, name)))
        local_disk.shutil.rmtree = mortal(local_disk.shutil.rmtree)
        store = storage.AssetStore(Path(sys.argv[1]))
        value = Report({"page.html": sys.argv[3].encode(), "figures/a.svg": b"<svg/>"}, "page.html")
        store.commit(store.stage(value), ("demo", "counts", "report"), "chrI")
        """
    )
    seen, steps = set(), 0
    for steps in range(40):
        text = f"new {steps}"
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), str(steps), text],
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            capture_output=True,
        )
        loaded = AssetStore(tmp_path).load(KEY, "chrI").files["page.html"].decode()
        seen.add(loaded == text)
        assert loaded == text or loaded == "old" or loaded.startswith("new ")
        if done.returncode == 0:
            assert loaded == text
            break
        assert done.returncode == -9
    assert done.returncode == 0 and steps > 5
    assert seen == {True, False}


def test_the_io_manager_hands_pooled_inputs_over_as_a_dict_even_for_one_partition(tmp_path):
    def graph(names):
        partitions = dg.StaticPartitionsDefinition(names)
        store = AssetStore(tmp_path / "-".join(names))

        @dg.asset(partitions_def=partitions, io_manager_key="store")
        def page(context):
            yield dg.MaterializeResult(value=store.stage(report(context.partition_key)))

        seen = {}

        @dg.asset(
            ins={"pages": dg.AssetIn("page", partition_mapping=dg.AllPartitionMapping(), metadata={"pooled": True})},
            io_manager_key="store",
        )
        def book(pages):
            seen.update({name: value.files["page.html"] for name, value in pages.items()})
            yield dg.MaterializeResult(value=store.stage(report("book")))

        resources = {"store": StoreIOManager(root=str(store.root))}
        with dg.instance_for_test() as instance:
            for name in names:
                dg.materialize([page], partition_key=name, instance=instance, resources=resources)
            dg.materialize([page, book], selection=[book], instance=instance, resources=resources)
        return seen

    assert graph(["chrI"]) == {"chrI": b"chrI"}
    assert graph(["chrI", "chrII"]) == {"chrI": b"chrI", "chrII": b"chrII"}

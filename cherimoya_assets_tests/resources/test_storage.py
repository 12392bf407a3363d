"""What the store promises on a disk and in an object store: old or new and never a part, verified, nothing outside."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherimoya_assets.errors import StorageError
from cherimoya_assets.reports.folder import Report
from cherimoya_assets.resources import object_store
from cherimoya_assets.resources.local_disk import LocalDisk
from cherimoya_assets.resources.object_store import ObjectStore
from cherimoya_assets.resources.stamp import Stamp
from cherimoya_assets.resources.storage import POOLED, AssetStore, StoreIOManager, path_part
from cherimoya_assets_tests.resources.writers import KEY, report


@pytest.fixture
def store(place):
    return AssetStore(place)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files in which nobody else's are."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def put(store: AssetStore, text: str, partition: str | None = "chrI"):
    """Store a report; returns the folder of its files."""
    return store.commit(store.stage(report(text)), KEY, partition)


def change_manifest(store: AssetStore, content: bytes) -> None:
    (store.folder(KEY, "chrI") / "manifest.json").write_bytes(content)


def test_what_is_committed_is_loaded_back_equal(store):
    put(store, "first")
    assert store.load(KEY, "chrI") == report("first")


def test_partitions_and_the_pooled_asset_do_not_meet(store):
    put(store, "one", "chrI")
    put(store, "two", "chrII")
    put(store, "all", None)
    assert [store.load(KEY, p).files["page.html"] for p in ("chrI", "chrII", None)] == [b"one", b"two", b"all"]
    assert store.partitions(KEY) == [None, "chrI", "chrII"]
    assert store.partitions(KEY[:-1]) == []


@pytest.mark.parametrize("name", [POOLED, "..", "a/b", "HLA-A*01:01", "chr 1%2F", "versionId?x=1#y", "ü"])
def test_a_strange_chromosome_gets_a_place_of_its_own(store, name):
    put(store, "pooled", None)
    put(store, "chromosome", name)
    assert store.load(KEY, None) == report("pooled")
    assert store.load(KEY, name) == report("chromosome")
    assert store.partitions(KEY) == [None, name] or store.partitions(KEY) == [name, None]


def test_equal_content_has_an_equal_version_and_other_content_another(store):
    versions = [store.stage(report(text)).manifest.version for text in ("a", "a", "b")]
    assert versions[0] == versions[1] != versions[2]


def test_the_stamp_is_kept_and_does_not_decide_the_version(store):
    staged = store.stage(report("a"), Stamp(device="cuda:0"))
    store.commit(staged, KEY, None)
    assert store.manifest(KEY, None).stamp == Stamp(device="cuda:0")
    assert staged.manifest.version == store.stage(report("a"), Stamp(device="cpu")).manifest.version


def test_replacing_leaves_one_data_folder_and_a_latest_link_to_it(tmp_path):
    store = AssetStore(tmp_path)
    put(store, "old")
    folder = put(store, "new")
    home = store.folder(KEY, "chrI")
    assert sorted(p.name for p in home.iterdir()) == sorted([folder.name, "latest", "manifest.json"])
    assert (home / "latest" / "page.html").read_text() == "new"


def test_a_page_in_an_object_store_has_an_address_that_leads_to_its_newest_content(s3_place):
    store = AssetStore(s3_place)
    assert store.for_people(KEY, "chrI", "page.html") == f"{s3_place}/demo/counts/report/chrI/latest/page.html"
    for text in ("old", "<&'"):
        folder = put(store, text)
        page = (store.folder(KEY, "chrI") / "latest" / "page.html").read_text()
        (target,) = re.findall(r'content="0; url=\.\./([^"]+)"', page)
        assert (store.folder(KEY, "chrI") / target).read_bytes() == (folder / "page.html").read_bytes() == text.encode()


def test_a_removed_partition_is_gone_and_its_neighbours_stay(store):
    for partition in ("chrI", "chrII", None):
        put(store, "x", partition)
    store.remove(KEY, "chrI")
    store.remove(KEY, "chrI")
    assert store.manifest(KEY, "chrI") is None
    assert store.partitions(KEY) == [None, "chrII"]
    assert store.load(KEY, "chrII") == store.load(KEY, None) == report("x")


def test_everything_below_a_key_is_removed_and_nothing_beside_it(store):
    below, beside = (*KEY, "chunk"), ("demo", "counts", "reports")
    for key in (KEY, below, beside):
        store.commit(store.stage(report("x")), key, "chrI")
    store.remove_all(KEY)
    store.remove_all(KEY)
    assert [store.partitions(key) for key in (KEY, below, beside)] == [[], [], ["chrI"]]
    assert not store.folder(KEY, "chrI").parent.exists()


def test_what_is_stored_under_a_name_moves_to_another(store, temporary):
    put(store, "one", "chrI")
    put(store, "all", None)
    beside = (f"{KEY[0]}2", *KEY[1:])
    store.commit(store.stage(report("beside")), beside, None)
    store.verify_can_rename(KEY[0], "new")
    store.rename(KEY[0], "new")
    moved = [store.load(("new", *KEY[1:]), partition) for partition in ("chrI", None)]
    assert (moved, store.load(beside, None)) == ([report("one"), report("all")], report("beside"))
    assert {key[0] for key, _ in store.contents()} == {"new", beside[0]}
    assert store.sweep(timedelta(0)) == []
    with pytest.raises(StorageError, match=f"{KEY[0]}: nothing is stored here"):
        store.verify_can_rename(KEY[0], "new")
    with pytest.raises(StorageError, match="already holds values of its own"):
        store.verify_can_rename(beside[0], "new")


@pytest.mark.parametrize("call", [1, 10, 11, 12, 13, 14, 15, 20])
def test_a_move_of_objects_that_is_interrupted_loses_nothing_and_the_same_call_finishes(s3_place, monkeypatch, call):
    store = AssetStore(s3_place)
    put(store, "one", "chrI")
    put(store, "two", "chrII")
    with monkeypatch.context() as patched:
        # One after the other: of 12 objects two are manifests, which are copied last and removed first.
        done, together = count(1), object_store._together

        def interrupted(work, items):
            for item in items:
                if next(done) == call:
                    raise KeyboardInterrupt
                together(work, [item])

        patched.setattr(object_store, "_together", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.rename(KEY[0], "new")
    there = {key[0] for key, partition in store.contents() if store.load(key, partition)}
    assert there and (KEY[0] in there or len(store.partitions(("new", *KEY[1:]))) == 2)
    if KEY[0] in there:
        store.verify_can_rename(KEY[0], "new")
        store.rename(KEY[0], "new")
    assert [store.load(("new", *KEY[1:]), chrom) for chrom in ("chrI", "chrII")] == [report("one"), report("two")]
    assert {key[0] for key, _ in store.contents()} == {"new"}


def test_a_store_inside_of_a_store_is_a_store_of_its_own(store):
    inner = AssetStore(store.root / ".chunks")
    put(store, "outer")
    put(inner, "inner")
    assert (store.load(KEY, "chrI"), inner.load(KEY, "chrI")) == (report("outer"), report("inner"))
    assert len(list(store.manifests())) == len(list(inner.manifests())) == 1


def test_nothing_stored_is_said_with_what_to_do(store):
    assert store.look(KEY, "chrI").damage == ""
    with pytest.raises(StorageError, match=r"nothing is stored here yet. Materialize demo/counts/report first"):
        store.load(KEY, "chrI")


@pytest.mark.parametrize("damage", ["flip", "truncate", "append", "empty"])
def test_a_damaged_file_is_named_and_the_partition_is_missing_until_it_is_stored_again(store, damage):
    page = put(store, "some longer text") / "page.html"
    content = page.read_bytes()
    damaged = {"flip": b"X" + content[1:], "truncate": content[:5], "append": content + b"!", "empty": b""}[damage]
    page.write_bytes(damaged)
    # Another size is seen without reading; the same size only by who reads.
    assert (store.manifest(KEY, "chrI") is None) == (damage != "flip")
    for _ in range(2):
        with pytest.raises(StorageError, match=r"page\.html: sha256 .* damaged or was replaced"):
            store.load(KEY, "chrI")
    held = AssetStore(store.root).look(KEY, "chrI")
    assert held.manifest is None
    assert re.search(r"page\.html: (sha256|has \d+ bytes).*damaged or was replaced", held.damage)
    assert page.read_bytes() == damaged
    put(store, "again")
    assert store.look(KEY, "chrI").manifest is not None
    assert store.load(KEY, "chrI") == report("again")


def test_a_missing_file_is_named(store):
    (put(store, "x") / "page.html").unlink()
    assert re.search(r"page\.html: named in .*manifest\.json but missing", store.look(KEY, "chrI").damage)
    with pytest.raises(StorageError, match=r"page\.html: named in .*manifest\.json but missing"):
        store.load(KEY, "chrI")


def test_a_value_whose_files_go_while_it_is_read_is_read_again(store, monkeypatch):
    """A writer that replaces a report removes its files one by one; a reader that lists them would miss some."""
    read, interrupted = Report.read, []

    def interrupted_once(folder: Path) -> Report:
        if interrupted:
            return read(folder)
        interrupted.append(folder)
        (folder / "figures" / "a.svg").unlink()
        part = read(folder)
        put(store, "new")
        return part

    put(store, "old")
    monkeypatch.setattr(Report, "read", interrupted_once)
    assert store.load(KEY, "chrI") == report("new")


def test_a_file_that_somebody_put_beside_ours_is_not_taken_for_ours(store):
    folder = put(store, "x")
    (folder / "figures" / "stranger.svg").write_text("<script>")
    assert store.load(KEY, "chrI") == report("x")


def test_a_file_that_the_reader_does_not_understand_is_damage_and_no_crash(store):
    put(store, "x")
    raw = json.loads((store.folder(KEY, "chrI") / "manifest.json").read_bytes())
    change_manifest(store, json.dumps({**raw, "kind": "SeqletNull"}).encode())
    with pytest.raises(StorageError, match=r"seqlet_null\.npz|cannot be read as SeqletNull"):
        store.load(KEY, "chrI")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "os.system"},
        {"kind": "Popen"},
        {"kind": ["Report"]},
        {"folder": "../../elsewhere"},
        {"folder": ".."},
        {"folder": ""},
        {"folder": 1},
        {"format": 99},
        {"version": None},
        {"files": [{"name": "../../../etc/passwd", "sha256": "0" * 64, "size": 0}]},
        {"files": [{"name": "a/../../b", "sha256": "0" * 64, "size": 0}]},
        {"files": [{"name": "/etc/passwd", "sha256": "0" * 64, "size": 0}]},
        {"files": [{"name": "", "sha256": "0" * 64, "size": 0}]},
        {"files": [{"name": "x", "sha256": "short", "size": 0}]},
        {"files": [{"name": "x", "sha256": "0" * 64, "size": "0"}]},
        {"files": "nonsense"},
        {"stamp": "nonsense"},
    ],
    ids=str,
)
def test_a_foreign_manifest_is_refused_and_counts_as_missing(tmp_path, change):
    store = AssetStore(tmp_path)
    put(store, "x")
    raw = json.loads((store.folder(KEY, "chrI") / "manifest.json").read_bytes())
    change_manifest(store, json.dumps({**raw, **change}).encode())
    _refused(store)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000], ids=repr)
def test_a_damaged_manifest_is_refused_and_counts_as_missing(store, content):
    put(store, "x")
    change_manifest(store, content)
    _refused(store)


def _refused(store: AssetStore) -> None:
    with pytest.raises(StorageError, match=r"manifest\.json: (not a manifest of this store|format 99)"):
        store.load(KEY, "chrI")
    held = store.look(KEY, "chrI")
    assert held.manifest is None and "manifest.json: " in held.damage
    put(store, "again")
    assert store.load(KEY, "chrI") == report("again")


@given(st.text(min_size=1, max_size=30).filter(lambda s: s.isprintable()))
def test_a_folder_name_is_one_safe_part_and_names_stay_apart(name):
    part = path_part(name)
    assert part not in (".", "..", POOLED)
    assert "/" not in part and "\\" not in part and not part.startswith(".")
    assert unquote(part) == name


def test_a_failing_write_leaves_what_was_there(store, tmp_path, temporary):
    class Report:
        def write(self, folder: Path) -> None:
            (folder / "half").write_text("half")
            raise OSError(28, "No space left on device")

    put(store, "good")
    with pytest.raises(StorageError, match="the disk is full; nothing was stored"):
        store.stage(Report())
    assert store.load(KEY, "chrI") == report("good")
    staging = tmp_path / "store" / ".staging"
    assert not list((staging if staging.exists() else temporary).iterdir())


def test_a_failing_commit_leaves_what_was_there_and_nothing_else(store, temporary, monkeypatch):
    put(store, "good")
    before = sorted(map(str, store.root.rglob("*")))
    staged = store.stage(report("bad"))
    # The last thing that both do before the manifest is to look which content it replaces.
    with monkeypatch.context() as patch:
        for backend in (LocalDisk, ObjectStore):
            patch.setattr(backend, "_named", _disk_full)
        with pytest.raises(StorageError, match="the disk is full; nothing was stored"):
            store.commit(staged, KEY, "chrI")
    assert sorted(map(str, store.root.rglob("*"))) == before
    assert not list(temporary.iterdir())
    assert store.load(KEY, "chrI") == report("good")


def _disk_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_sweep_of_a_store_in_use_removes_nothing(store, temporary):
    put(store, "x")
    put(store, "y", None)
    staged = store.stage(report("on its way"))
    assert store.sweep(timedelta(0)) == []
    store.commit(staged, KEY, "chrI")
    assert store.load(KEY, "chrI") == report("on its way")


def test_a_sweep_removes_old_data_that_no_manifest_names_and_nothing_that_is_not_ours(store, temporary):
    put(store, "x")
    home = store.folder(KEY, "chrI")
    orphan, inner = home / f"{'0' * 16}-{'1' * 32}", AssetStore(store.root / ".chunks")
    lost = put(inner, "lost").parent / f"{'2' * 16}-{'3' * 32}"
    for place in (orphan, lost, home / "notes"):
        if isinstance(place, Path):
            place.mkdir()
        (place / "file").write_text("left behind")
    assert store.sweep() == []
    assert sorted(store.sweep(timedelta(0))) == sorted(map(str, (orphan, lost)))
    assert (home / "notes" / "file").exists() and not orphan.exists() and not lost.exists()
    assert (store.load(KEY, "chrI"), inner.load(KEY, "chrI")) == (report("x"), report("lost"))


def test_a_sweep_keeps_the_data_of_a_manifest_that_cannot_be_read(store, temporary):
    page = put(store, "evidence") / "page.html"
    change_manifest(store, b"{")
    assert store.sweep(timedelta(0)) == []
    assert page.read_text() == "evidence"


def test_a_replaced_object_stays_for_a_while_since_a_lost_answer_can_bring_its_manifest_back(s3_place, temporary):
    store = AssetStore(s3_place)
    put(store, "first")
    manifest = store.folder(KEY, "chrI") / "manifest.json"
    repeated = manifest.read_bytes()
    put(store, "second")
    manifest.write_bytes(repeated)
    assert store.load(KEY, "chrI") == report("first")
    put(store, "third")
    assert len(store.sweep(timedelta(0))) == 2
    assert store.load(KEY, "chrI") == report("third")


def test_an_object_replaced_long_ago_goes_at_once(s3_place, monkeypatch):
    monkeypatch.setattr("cherimoya_assets.resources.object_store.GRACE", timedelta(0))
    store = AssetStore(s3_place)
    old = put(store, "old")
    new = put(store, "new")
    assert not list(old.glob("*")) and store.load(KEY, "chrI") == report("new")
    assert (new / "page.html").exists()


def test_an_object_that_arrives_damaged_once_is_fetched_again(s3_place, monkeypatch):
    import s3fs

    store, fetch, calls = AssetStore(s3_place), s3fs.S3FileSystem._get_file, []
    put(store, "x")
    # An instance holds its methods from the beginning.
    s3fs.S3FileSystem.clear_instance_cache()

    async def damaging(self, remote, local, **options):
        await fetch(self, remote, local, **options)
        calls.append(remote)
        if remote.endswith("page.html") and sum(one == remote for one in calls) == 1:
            Path(local).write_bytes(b"?")

    monkeypatch.setattr(s3fs.S3FileSystem, "_get_file", damaging)
    assert store.load(KEY, "chrI") == report("x")
    assert sum(one.endswith("page.html") for one in calls) == 2
    s3fs.S3FileSystem.clear_instance_cache()


def test_an_upload_that_arrives_as_a_part_is_not_committed(s3_place, monkeypatch):
    import s3fs

    store, upload = AssetStore(s3_place), s3fs.S3FileSystem._put_file
    put(store, "old")
    s3fs.S3FileSystem.clear_instance_cache()

    async def short(self, local, remote, **options):
        if remote.endswith("page.html"):
            Path(local).with_name("part").write_bytes(b"p")
            local = str(Path(local).with_name("part"))
        await upload(self, local, remote, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_put_file", short)
    with pytest.raises(StorageError, match=r"page\.html: is not what was uploaded\. Run it again"):
        put(store, "new")
    assert store.load(KEY, "chrI") == report("old")
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.slow
def test_the_io_manager_hands_pooled_inputs_over_as_a_dict_even_for_one_partition(place):
    def graph(names):
        partitions = dg.StaticPartitionsDefinition(names)
        store = AssetStore(f"{place}/{'-'.join(names)}")

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
        for name in names:
            dg.materialize([page], partition_key=name, instance=instance, resources=resources)
        dg.materialize([page, book], selection=[book], instance=instance, resources=resources)
        return seen

    with dg.instance_for_test() as instance:
        assert graph(["chrI"]) == {"chrI": b"chrI"}
        assert graph(["chrI", "chrII"]) == {"chrI": b"chrI", "chrII": b"chrII"}

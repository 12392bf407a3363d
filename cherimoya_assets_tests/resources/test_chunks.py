"""Where chunks are kept, on a disk and in an object store: whole or not at all, damaged is missing, gone in time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from cherimoya_assets.analysis.attribution_chunks import AttributionChunk
from cherimoya_assets.resources.chunks import FOLDER, StoredChunks, forget_landed
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets_tests.resources.writers import KEY, report

pytestmark = pytest.mark.slow

HEADS = ("counts", "profile")


@pytest.fixture
def store(place):
    return AssetStore(place)


def chunk_of(fingerprint: str, value: float = 1.0) -> AttributionChunk:
    scores = {head: np.full((2, 4, 5), value + k, dtype=np.float32) for k, head in enumerate(HEADS)}
    return AttributionChunk(fingerprint, scores, ({"errors": {"counts": 0.1}},) * 2, {"engine": "windowed"})


class Kept(StoredChunks):
    """Chunks of `demo`, and what was logged about them."""

    def __init__(self, store, chrom="chrI", heads=HEADS, code_version="1") -> None:
        self.said: list[str] = []
        super().__init__(
            store, "demo", chrom, heads=heads, all_heads=HEADS, code_version=code_version, log=self.said.append
        )


def place_of(chunks: StoredChunks, fingerprint: str):
    """The folder of a chunk's files."""
    manifest = chunks._store.manifest(chunks._key, chunks._name(fingerprint))
    return chunks._store.folder(chunks._key, chunks._name(fingerprint)) / manifest.folder


def assert_same(found: AttributionChunk | None, expected: AttributionChunk) -> None:
    assert found is not None
    assert (found.fingerprint, found.checks, found.facts) == (expected.fingerprint, expected.checks, expected.facts)
    for head in HEADS:
        np.testing.assert_array_equal(found.scores[head], expected.scores[head])


def test_a_chunk_is_found_again_by_its_fingerprint_and_by_no_other(store):
    chunks = Kept(store)
    chunks.put(chunk_of("a"))
    chunks.put(chunk_of("b", 7))
    assert_same(Kept(store).get("a"), chunk_of("a"))
    assert_same(Kept(store).get("b"), chunk_of("b", 7))
    for others in (Kept(store, chrom="chrII"), Kept(store, heads=("counts",)), Kept(store, code_version="2")):
        assert others.get("a") is None
    assert chunks.get("c") is None
    assert chunks.said == []


def test_a_chunk_that_is_kept_again_is_one_chunk(store):
    for chunks in (Kept(store), Kept(store)):
        chunks.put(chunk_of("a"))
    assert_same(Kept(store).get("a"), chunk_of("a"))
    assert len(chunks._store.partitions(chunks._key)) == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "manifest", "other value"])
def test_a_damaged_chunk_is_missing_said_once_and_kept_anew(store, damage):
    chunks = Kept(store)
    chunks.put(chunk_of("a"))
    chunks.put(chunk_of("b"))
    file = place_of(chunks, "a") / "counts.npy"
    if damage == "flip":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(bytes(content))
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-4])
    elif damage == "gone":
        file.unlink()
    elif damage == "manifest":
        (place_of(chunks, "a").parent / "manifest.json").write_bytes(b"{}")
    else:
        # Whole, and of another kind.
        chunks._store.commit(chunks._store.stage(report("x")), chunks._key, chunks._name("a"))
    again = Kept(store)
    assert again.get("a") is None
    (sentence,) = again.said
    assert sentence.startswith(f"chunk {again._name('a')[:12]} is damaged and is computed again: ")
    assert again.get("a") is None
    assert len(again.said) == 1
    assert_same(again.get("b"), chunk_of("b"))
    again.put(chunk_of("a", 3))
    assert_same(Kept(store).get("a"), chunk_of("a", 3))


def test_a_whole_chunk_under_anothers_name_is_not_used(store):
    chunks = Kept(store)
    chunks._store.commit(chunks._store.stage(chunk_of("b")), chunks._key, chunks._name("a"))
    assert chunks.get("a") is None
    assert chunks.said[0].endswith("it was kept for something else")


def test_forgotten_is_what_has_one_of_the_heads_whatever_its_fingerprint_and_nothing_else(store):
    store.commit(store.stage(report("x")), KEY, "chrI")
    both, old = Kept(store), Kept(store, code_version="0")
    counts, profile = Kept(store, heads=("counts",)), Kept(store, heads=("profile",))
    elsewhere = Kept(store, chrom="chrII")
    for chunks in (both, old, counts, profile, elsewhere):
        chunks.put(chunk_of("a"))
    counts.forget()
    assert [chunks.get("a") is None for chunks in (both, old, counts, profile, elsewhere)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    both.forget()
    assert profile.get("a") is None
    assert elsewhere.get("a") is not None
    both.forget()
    assert store.load(KEY, "chrI") == report("x")


def test_chunks_are_no_assets_of_the_store(store):
    Kept(store).put(chunk_of("a"))
    assert store.partitions(("demo", "counts+profile", "chrI")) == []
    assert store.partitions((FOLDER, "demo", "counts+profile", "chrI")) == []


def test_one_that_is_kept_while_another_run_forgets_is_no_error(tmp_path):
    """Two runs of one partition: the first to land removes the chunks of both."""
    store, errors, stop = AssetStore(tmp_path), [], threading.Event()

    def forget() -> None:
        while not stop.is_set():
            Kept(store).forget()

    other = threading.Thread(target=forget)
    other.start()
    try:
        for k in range(60):
            chunks = Kept(store)
            chunks.put(chunk_of(str(k)))
            found = chunks.get(str(k))
            if found is not None:
                assert_same(found, chunk_of(str(k)))
    except OSError as error:
        errors.append(error)
    finally:
        stop.set()
        other.join()
    assert not errors


def test_what_is_older_than_the_partitions_of_all_its_heads_is_forgotten_and_nothing_else(store):
    """A kill between the landing and the removal of chunks leaves such."""
    counts, both, other = Kept(store, heads=("counts",)), Kept(store), Kept(store, chrom="chrII")
    for chunks in (counts, both, other):
        chunks.put(chunk_of("a"))
    assert forget_landed(store) == []
    for head, gone in (("counts", counts), ("profile", both)):
        assert gone.get("a") is not None
        store.commit(store.stage(report("landed")), ("demo", head, "attributions"), "chrI")
        assert len(forget_landed(store)) == 1
        assert gone.get("a") is None
    assert other.get("a") is not None
    assert forget_landed(store) == []


def test_what_is_younger_than_a_partition_stays(store):
    store.commit(store.stage(report("landed")), ("demo", "counts", "attributions"), "chrI")
    # The clock of an object store counts in seconds.
    time.sleep(1.1)
    chunks = Kept(store, heads=("counts",))
    chunks.put(chunk_of("a"))
    assert forget_landed(store) == []
    assert chunks.get("a") is not None

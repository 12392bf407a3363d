"""The hash cache answers without reading, and never with yesterday's answer."""

from __future__ import annotations

import hashlib
import os

import pytest

from cherimoya_assets.analysis import hashing
from cherimoya_assets.analysis.hashing import combined_sha256, file_sha256


def test_the_hash_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_bytes(b">chrI\nACGT\n")
    expected = hashlib.sha256(b">chrI\nACGT\n").hexdigest()
    assert file_sha256(path) == file_sha256(path, tmp_path / "cache") == expected


def test_an_unchanged_file_is_not_read_again(tmp_path, monkeypatch):
    path = tmp_path / "genome.fa"
    path.write_bytes(b"ACGT")
    first = file_sha256(path, tmp_path / "cache")
    monkeypatch.setattr(hashing, "_digest", lambda path: pytest.fail("the file was read again"))
    assert file_sha256(path, tmp_path / "cache") == first


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"state": 1}', "\x00"])
def test_a_damaged_cache_entry_is_ignored(tmp_path, damage):
    path = tmp_path / "genome.fa"
    path.write_bytes(b"ACGT")
    first = file_sha256(path, tmp_path / "cache")
    (entry,) = (tmp_path / "cache" / "hashes").iterdir()
    entry.write_text(damage)
    assert file_sha256(path, tmp_path / "cache") == first


def test_a_change_is_seen_also_at_the_same_size(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_bytes(b"ACGT")
    first = file_sha256(path, tmp_path / "cache")
    path.write_bytes(b"TGCA")
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    assert file_sha256(path, tmp_path / "cache") != first


def test_combined_hashes_depend_on_order_and_on_the_cuts():
    assert (
        len({combined_sha256("ab", "c"), combined_sha256("a", "bc"), combined_sha256("c", "ab"), combined_sha256()})
        == 4
    )

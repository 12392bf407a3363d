"""Where a home keeps its store: its own folder, or what `storage.yaml` says, which is one thing and nothing else."""

from __future__ import annotations

import pytest

from cherimoya_assets.errors import StorageError
from cherimoya_assets.home import Home


def test_without_a_file_the_store_is_a_folder_of_the_home(tmp_path):
    assert Home(tmp_path).store == tmp_path / "store"
    assert Home(tmp_path / "not" / "there").store == tmp_path / "not" / "there" / "store"


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "s3://bucket", "gs://bucket/a/b", "file:///data/store"])
def test_the_file_puts_the_store_elsewhere(tmp_path, url):
    (tmp_path / "storage.yaml").write_text(f"# where the group keeps its results\nurl: {url}\n")
    assert Home(tmp_path).store == url


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it must hold one line: url: s3://bucket/prefix"),
        ("- s3://bucket", "it must hold one line"),
        ("url: [s3://bucket]", "it must hold one line"),
        ("url: s3://bucket\nkey: AKIA", r"unknown key 'key'; .*Credentials and the endpoint come from the environment"),
        ("url: s3://bucket\n1: 2", "unknown key 1"),
        ("url: s3://AKIA:secret@bucket/prefix", "the URL holds a user name or a password"),
        ("url: s3://", "is not a store address"),
        ("url: bucket/prefix", "is not a store address"),
        ("url: /data/store", "is not a store address"),
        ("url: simplecache::s3://bucket", "is not a store address"),
        ("url: s3://bucket/x?versionId=1", "is not a store address"),
        ("url: http://[::1", "is not a store address"),
        ("url: {", "is not YAML"),
        ("url: !!python/object/apply:os.system [x]", "is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_anything_else_is_one_sentence(tmp_path, text, said):
    (tmp_path / "storage.yaml").write_text(text)
    with pytest.raises(StorageError, match=said) as error:
        _ = Home(tmp_path).store
    assert str(error.value).startswith(f"{tmp_path}/storage.yaml: ") and "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_file_that_is_no_text_is_one_sentence(tmp_path):
    (tmp_path / "storage.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(StorageError, match=r"storage\.yaml: cannot be read"):
        _ = Home(tmp_path).store
    (tmp_path / "storage.yaml").unlink()
    (tmp_path / "storage.yaml").mkdir()
    with pytest.raises(StorageError, match=r"storage\.yaml: cannot be read"):
        _ = Home(tmp_path).store

"""Files are placed whole or not at all, and never over something that is not ours."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest

from cherimoya_assets.errors import ExperimentError, StorageError
from cherimoya_assets.export.placing import place

RECORD = "x.export.json"


def text(content: str):
    return lambda path: path.write_text(content)


def folder_of(**files: str):
    def write(path):
        path.mkdir()
        for name, content in files.items():
            (path / name).write_text(content)

    return write


def put(folder, **writers):
    return place(folder, writers, RECORD, lambda hashes: {"sha256": dict(hashes)})


def listing(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_files_and_folders_land_under_their_names_with_a_record_of_their_hashes(tmp_path):
    paths = put(tmp_path / "to" / "here", a=text("1"), b=folder_of(inner="2"))
    assert [path.name for path in paths] == [RECORD, "a", "b"]
    seen = listing(tmp_path / "to" / "here")
    record = json.loads(seen.pop(RECORD))
    assert seen == {"a": "1", "b/inner": "2"}
    assert record == {
        "files": ["a", "b"],
        "sha256": {
            "a": hashlib.sha256(b"1").hexdigest(),
            "b/inner": hashlib.sha256(b"2").hexdigest(),
        },
    }


def test_what_an_earlier_call_wrote_is_replaced_with_nothing_of_it_left(tmp_path):
    put(tmp_path, a=text("old"), b=folder_of(old="old"))
    put(tmp_path, a=text("new"), b=folder_of(new="new"))
    seen = listing(tmp_path)
    assert {name: seen[name] for name in seen if name != RECORD} == {"a": "new", "b/new": "new"}


@pytest.mark.parametrize("name", ["a", "b", RECORD])
def test_a_foreign_file_or_folder_in_the_way_stops_everything(tmp_path, name):
    (tmp_path / name).mkdir() if name == "b" else (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(ExperimentError, match=name):
        put(tmp_path, a=text("new"), b=folder_of(new="new"), c=text("new"))
    assert os.listdir(tmp_path) == [name]


def test_an_error_in_a_writer_leaves_everything_as_it_was(tmp_path):
    put(tmp_path, a=text("old"))
    before = listing(tmp_path)

    def fails(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        put(tmp_path, a=text("new"), b=fails)
    assert listing(tmp_path) == before


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_under_a_final_name_and_can_be_repeated(tmp_path):
    script = """
import os, signal, sys
from pathlib import Path
from cherimoya_assets.export.placing import place

def dies(path):
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

place(Path(sys.argv[1]), {"a": lambda p: p.write_text("new"), "b": dies}, "x.export.json", lambda hashes: {})
"""
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    assert all(name.startswith(".export-") for name in os.listdir(tmp_path))
    put(tmp_path, a=text("new"), b=text("new"))
    assert (tmp_path / "b").read_text() == "new"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        put(tmp_path / "file", a=text("1"))

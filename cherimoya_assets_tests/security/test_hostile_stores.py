"""Homes, records, exports and sidecars that somebody sent: looked at with `lineage`, `diff`, `drift`, `export`.

These commands read what is there and run nothing of it. (`run` and `ui` work in a home: its `dagster.yaml` may name any
class, so a home is trusted as code is. docs/deployment.md says so.)
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cherimoya_assets.analysis import run_record_file
from cherimoya_assets.resources.stamped_page import CLOSE, OPEN, stamp_page
from cherimoya_assets_tests.assets import stored_experiment as filling
from cherimoya_assets_tests.bad_inputs import Exploit
from cherimoya_assets_tests.cli.command import Said, command
from cherimoya_assets_tests.security.attacks import ESCAPES, TURNED
from cherimoya_assets_tests.security.surroundings import nothing_happens_around

SECRET = b"root:x:0:0:hunter2!"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """An experiment with a filled store. Not to be written to."""
    folder = tmp_path_factory.mktemp("filled")
    lineage = filling.stored_experiment(folder / "tiny", {"output": "counts"})
    found = filling.patterns("chrA")
    named = replace(found, seqlets=found.seqlets.assign(locus_id="chrA:300-340"))
    filling.put(lineage, ("counts", "modisco_patterns"), named)
    return lineage


@pytest.fixture
def sent(filled, tmp_path) -> Path:
    """A copy of its home, as it came by mail."""
    shutil.copytree(filled.home.root, tmp_path / "sent", symlinks=True)
    return tmp_path / "sent"


def is_one_sentence(said: Said, *parts: str, code: int | None = None) -> None:
    assert said.out == ""
    assert said.code == code if code is not None else said.code in (1, 2)
    assert "Traceback" not in said.err
    assert all(c.isprintable() or c == "\n" for c in said.err)
    for part in parts:
        assert part in said.err


# --- sidecars: what `lineage` is told ---

HARMLESS = "cherimoya-assets run /x.yaml --home /home --force"

COMMANDS = [
    "touch EXECUTED",
    f"{HARMLESS}; touch EXECUTED",
    f"{HARMLESS}\ntouch EXECUTED",
    f"{HARMLESS} $(touch EXECUTED)",
    f"{HARMLESS} `touch EXECUTED`",
    f"{HARMLESS} | sh",
    f"{HARMLESS} > EXECUTED",
    f"{HARMLESS} & touch EXECUTED",
    "cherimoya-assets diff /x.yaml --against /y --html .bashrc",
    "PATH=. cherimoya-assets run /x.yaml",
    f"{HARMLESS} {ESCAPES}",
    f"{HARMLESS} {TURNED}",
    "cherimoya-assets run 'unfinished",
]
"""A reader is told to run what a file says makes it again."""


@pytest.mark.parametrize("told", COMMANDS)
@pytest.mark.parametrize("place", ["sidecar", "page"])
def test_a_command_that_is_not_ours_alone_is_not_shown(place, told, tmp_path):
    asked = _stamped(place, {"command": told}, tmp_path)
    with nothing_happens_around(tmp_path):
        said = command("lineage", asked)
        answer = json.loads(command("lineage", asked, "--json").out)
    assert "To make it again" not in said.out and "EXECUTED" not in said.out and answer["command"] == ""
    assert all(c.isprintable() or c == "\n" for c in said.out)


def test_a_command_of_ours_is_shown(tmp_path):
    for place in ("sidecar", "page"):
        assert (
            f"To make it again:\n  {HARMLESS}\n"
            in command("lineage", _stamped(place, {"command": HARMLESS}, tmp_path)).out
        )


@pytest.mark.parametrize("place", ["sidecar", "page"])
def test_a_stamp_cannot_write_on_the_terminal_or_begin_a_line(place, tmp_path):
    hostile = f"x{ESCAPES}{TURNED}\nunchanged   since it was written\r\x00"
    stamp = {
        **dict.fromkeys(("asset", "partition", "run_id", "made", "device", "experiment_file"), hostile),
        **{name: {hostile: hostile} for name in ("inputs", "parameters", "packages")},
    }
    said = command("lineage", _stamped(place, stamp, tmp_path))
    assert said.code == 0
    assert all(c.isprintable() or c == "\n" for c in said.out)
    assert sum(text.startswith("unchanged ") for text in said.out.splitlines()) == 1


@pytest.mark.parametrize("place", ["sidecar", "page"])
def test_a_stamp_of_other_kinds_is_what_it_can_be(place, tmp_path):
    stamp = {"asset": ["x"], "partition": {"a": 1}, "inputs": [1], "parameters": "x", "packages": 7, "command": [1]}
    said = command("lineage", _stamped(place, stamp, tmp_path))
    assert said.code == 0 and said.err == ""


def test_a_sidecar_that_names_files_elsewhere_is_none(tmp_path):
    for name in ("../outside", "/etc/passwd", "a/../../outside"):
        asked = _stamped("sidecar", {}, tmp_path, name=name)
        is_one_sentence(command("lineage", asked), "not a manifest of this store")


def test_records_nested_without_end_are_one_sentence(tmp_path):
    (tmp_path / "x.bed").write_text("")
    for name in ("provenance.json", "x.export.json"):
        (tmp_path / name).write_text("[" * 100_000)
        is_one_sentence(command("lineage", tmp_path / "x.bed"), name, code=1)
        (tmp_path / name).unlink()
    (tmp_path / "x.html").write_bytes(OPEN + b"[" * 100_000 + CLOSE)
    is_one_sentence(command("lineage", tmp_path / "x.html"), "neither the file nor anything beside it", code=1)


def test_a_pipe_beside_a_file_is_not_waited_for(tmp_path):
    (tmp_path / "x.bed").write_text("")
    os.mkfifo(tmp_path / "y.export.json")
    (tmp_path / "z.export.json").mkdir()
    with nothing_happens_around(tmp_path):
        is_one_sentence(command("lineage", tmp_path / "x.bed"), "neither the file nor anything beside it")


def _stamped(place: str, stamp: dict, folder: Path, name: str = "data.bw") -> Path:
    """A file with a sidecar, or a page, that says `stamp`."""
    folder = folder / place / "latest"
    folder.mkdir(parents=True, exist_ok=True)
    if place == "page":
        (folder / "page.html").write_bytes(stamp_page(b"<html><body>x</body></html>", stamp))
        return folder / "page.html"
    (folder / "data.bw").write_bytes(b"a bigWig by its name")
    sha256 = hashlib.sha256((folder / "data.bw").read_bytes()).hexdigest()
    _write_manifest(folder / "provenance.json", [(name, sha256, 20)], stamp)
    return folder / "data.bw"


def _write_manifest(path: Path, files: list[tuple[str, str, int]], stamp: dict) -> None:
    listed = [{"name": name, "sha256": sha256, "size": size} for name, sha256, size in files]
    folder = f"{'0' * 16}-{'0' * 8}"
    manifest = {"format": 1, "kind": "Report", "version": "0" * 64, "folder": folder, "files": listed, "stamp": stamp}
    path.write_text(json.dumps(manifest))


# --- records of runs: what `diff --against` reads ---


def pickled_record(path: Path) -> None:
    np.savez(path, texts=np.array([Exploit(path.parent / "EXECUTED")], dtype=object))


def pickle_in_a_record(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("texts.npy", pickle.dumps(Exploit(path.parent / "EXECUTED")))


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Exploit(path.parent / "EXECUTED")))


def record_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("texts.npy", "w") as member:
        for _ in range(80):
            member.write(bytes(1 << 20))


def record_of_a_vast_array(path: Path) -> None:
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(raw, {"descr": "<U100", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("texts.npy", raw.getvalue())


@pytest.mark.parametrize(
    "write",
    [pickled_record, pickle_in_a_record, plain_pickle, record_bomb, record_of_a_vast_array],
    ids=lambda f: f.__name__,
)
def test_a_record_runs_nothing_and_takes_no_memory(write: Callable[[Path], None], filled, tmp_path, monkeypatch):
    monkeypatch.setattr(run_record_file, "LARGEST", 1 << 26)
    write(tmp_path / "record.npz")
    with nothing_happens_around(tmp_path):
        said = command(
            "diff", filled.experiment.source, "--home", filled.home.root, "--against", tmp_path / "record.npz"
        )
    is_one_sentence(said, "record.npz: ", code=1)


# --- a home that somebody sent ---


def against(filled, sent: Path) -> Said:
    """`diff` with a home that was sent; everything around stays as it is. (A store notes what is damaged in it.)"""
    with nothing_happens_around(sent.parent, but=(sent,)):
        return command("diff", filled.experiment.source, "--home", filled.home.root, "--against", sent)


def rewrite(sent: Path, key: str, name: str, spoil: Callable[[Path], None]) -> None:
    """Replace a stored file and make the manifest's hash fit, as whoever made the home can."""
    place = next((sent / "store").glob(f"{key}/manifest.json"))
    manifest = json.loads(place.read_text())
    path = place.parent / manifest["folder"] / name
    spoil(path)
    for file in manifest["files"]:
        if file["name"] == name:
            file["sha256"], file["size"] = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
    place.write_text(json.dumps(manifest))
    assert (place.parent / "latest").exists()


def test_the_home_is_looked_at_when_it_is_not_hostile(filled, sent):
    assert against(filled, sent).code == 0


def test_dagsters_own_configuration_is_not_read(filled, sent, monkeypatch):
    (sent / "dagster").mkdir(exist_ok=True)
    (sent / "dagster" / "dagster.yaml").write_text(
        "run_launcher: {module: hostile_module, class: Launcher}\nrun_storage: {module: hostile_module, class: Runs}\n"
    )
    (sent / "dagster" / "hostile_module.py").write_text(f"open({str(sent / 'EXECUTED')!r}, 'w')\n")
    monkeypatch.syspath_prepend(sent / "dagster")
    assert against(filled, sent).code == 0
    page = next(path for path in (sent / "store").rglob("*.html"))
    with nothing_happens_around(sent.parent, but=(sent / "cache",)):
        assert command("lineage", page, "--home", sent).code == 0
        command("drift", filled.experiment.source, "--home", sent)


def test_a_pickle_in_the_place_of_scores_is_not_opened(filled, sent):
    def spoil(path: Path) -> None:
        np.savez(path, np.array([Exploit(sent / "EXECUTED")], dtype=object))

    rewrite(sent, "tiny/counts/attributions/chrA", "attributions.attr.npz", spoil)
    is_one_sentence(against(filled, sent), "tiny/counts/attributions/chrA/", "Object arrays cannot be loaded", code=1)


def test_a_pickle_in_the_type_of_a_column_is_not_opened(filled, sent):
    """Arrow types of Python were pickles until 14.0.1 (CVE-2023-47248)."""

    def spoil(path: Path) -> None:
        table = pq.read_table(path)
        exploit = {b"ARROW:extension:name": b"arrow.py_extension_type"}
        exploit[b"ARROW:extension:metadata"] = pickle.dumps(Exploit(sent / "EXECUTED"))
        fields = [pa.field(one.name, one.type, metadata=exploit) for one in table.schema]
        pq.write_table(table.cast(pa.schema(fields, metadata=table.schema.metadata)), path)

    rewrite(sent, "tiny/counts/seqlets/chrA", "seqlets.parquet", spoil)
    said = against(filled, sent)
    assert "Traceback" not in said.err


def external_numbers(file: h5py.File, secret: Path) -> None:
    pattern = file["pos_patterns/pattern_0"]
    del pattern["contrib_scores"]
    pattern.create_dataset("contrib_scores", (2, 1), "f8", external=[(str(secret), 0, 16)])


def external_link(file: h5py.File, secret: Path) -> None:
    pattern = file["pos_patterns/pattern_0"]
    del pattern["contrib_scores"]
    pattern["contrib_scores"] = h5py.ExternalLink(str(secret), "/")


def soft_link(file: h5py.File, secret: Path) -> None:
    pattern = file["pos_patterns/pattern_0"]
    del pattern["contrib_scores"]
    pattern["contrib_scores"] = h5py.SoftLink("/pos_patterns/pattern_0/sequence")


def virtual_numbers(file: h5py.File, secret: Path) -> None:
    pattern = file["pos_patterns/pattern_0"]
    del pattern["contrib_scores"]
    layout = h5py.VirtualLayout((8, 4), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "numbers", (8, 4))
    pattern.create_virtual_dataset("contrib_scores", layout)


@pytest.mark.parametrize(
    "spoil", [external_numbers, external_link, soft_link, virtual_numbers], ids=lambda f: f.__name__
)
def test_patterns_do_not_fetch_the_readers_own_files(spoil, filled, sent, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)

    def rewritten(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            spoil(file, secret)

    rewrite(sent, "tiny/counts/modisco_patterns/_pooled", "modisco_results.h5", rewritten)
    is_one_sentence(against(filled, sent), "TF-MoDISco's file: ", code=1)


def test_a_manifest_leads_nowhere_else(filled, sent):
    place = sent / "store" / "tiny" / "counts" / "attributions" / "chrA" / "manifest.json"
    good = json.loads(place.read_text())
    for changes in (
        {"folder": "../chrB"},
        {"folder": ".."},
        {"folder": ""},
        {"folder": "/etc"},
        {"kind": "os.system"},
        {"kind": ["Report"]},
        {"files": [{"name": "../../../../etc/passwd", "sha256": "0" * 64, "size": 1}]},
        {"files": [{"name": "/etc/passwd", "sha256": "0" * 64, "size": 1}]},
        {"files": [{"name": "a\0b", "sha256": "0" * 64, "size": 1}]},
        {"files": {"name": "x"}},
        {"stamp": "x"},
    ):
        place.write_text(json.dumps({**good, **changes}))
        said = against(filled, sent)
        assert "Traceback" not in said.err, changes
        assert said.code in (0, 1), changes
        assert (place.parent.parent / "chrB").is_dir()


# --- exports into a folder that somebody prepared ---


def test_an_export_does_not_write_through_links(filled, tmp_path):
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    target.mkdir()
    # A record of an export that never was makes the links ours.
    names = ["tiny.seqlets.bed", "tiny_modisco", "tiny.attributions.ohe.npz"]
    (target / "tiny.export.json").write_text(json.dumps({"files": [*names, "../outside/precious", "/etc/passwd"]}))
    (target / "tiny.seqlets.bed").symlink_to(outside / "precious")
    (target / "tiny.attributions.ohe.npz").symlink_to(outside / "not-there-yet")
    (target / "tiny_modisco").symlink_to(outside, target_is_directory=True)
    with nothing_happens_around(tmp_path, but=(target,)):
        said = command(
            "export", filled.experiment.source, "--home", filled.home.root, "--to", target, "--head", "counts"
        )
    assert (said.code, said.err) == (0, "")
    assert not any((target / name).is_symlink() for name in names)


def test_an_export_does_not_follow_a_link_in_the_place_of_a_head(tmp_path):
    lineage = filling.stored_experiment(tmp_path / "tiny")
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "counts").symlink_to(outside, target_is_directory=True)
    with nothing_happens_around(tmp_path, but=(target, lineage.home.cache)):
        said = command("export", lineage.experiment.source, "--home", lineage.home.root, "--to", target)
    is_one_sentence(said, "target/counts: is a link to somewhere else. Remove the link", code=2)
    assert list(target.iterdir()) == [target / "counts"]


@pytest.mark.parametrize("demo", [False, True])
def test_init_does_not_make_a_file_through_a_link(demo, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / ("peaks.narrowPeak" if demo else "experiment.yaml")).symlink_to(tmp_path / "not-there-yet")
    with nothing_happens_around(tmp_path):
        said = command("init", folder, *(["--demo"] if demo else []))
    is_one_sentence(said, "already exists and is not overwritten", code=2)

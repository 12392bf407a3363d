"""Every parser that is ours, each as a function of bytes that anybody may have written, with files to begin from.

Shared by the fuzz target (`fuzz/parsers.py`) and by the property that the suite holds (`test_parsers.py`). A parser
may read the bytes, or refuse them with one of our errors, which says something. Anything else is a defect.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import yaml

from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.loci import interleave, read_loci
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.run_comparison import compare_runs
from cherimoya_assets.analysis.run_record_file import read_record
from cherimoya_assets.cli.lineage import as_json, as_text
from cherimoya_assets.errors import CherimoyaAssetsError
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.experiment.reading import SECTIONS
from cherimoya_assets.provenance.tracing import read_manifest, trace
from cherimoya_assets.reports.run_comparison import comparison_markdown, comparison_page, comparison_text
from cherimoya_assets.resources.stamped_page import CLOSE, OPEN, read_page_stamp, stamp_page
from cherimoya_assets_tests.tiny_experiment import MEME

Parser = Callable[[bytes, Path], object]

LONGEST_SENTENCE = 200_000


def parse(name: str, content: bytes, folder: Path) -> str | None:
    """Give `content` to a parser; returns the sentence of its refusal, None where it was read.

    `folder` is emptied first.

    Raises:
        AssertionError: the refusal says nothing, or says it in a way that a terminal would obey.
        Exception: what the parser should not have raised.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        PARSERS[name](content, folder)
    except CherimoyaAssetsError as error:
        said = str(error)
        assert said.strip() and len(said) < LONGEST_SENTENCE
        assert all(c.isprintable() or c == "\n" for c in said)
        return said
    return None


def _experiment(content: bytes, folder: Path) -> None:
    (folder / "x.yaml").write_bytes(content)
    read_experiment(folder / "x.yaml")


def _cherimoya_json(content: bytes, folder: Path) -> None:
    (folder / "x.json").write_bytes(content)
    read_experiment(folder / "x.json")


def _step_json(content: bytes, folder: Path) -> None:
    (folder / "step.json").write_bytes(content)
    for section in SECTIONS:
        (folder / "x.yaml").write_text(yaml.safe_dump({**EXPERIMENT, section: "step.json"}))
        read_experiment(folder / "x.yaml")


def _bed(content: bytes, folder: Path) -> None:
    (folder / "x.bed").write_bytes(content)
    interleave(read_loci([folder / "x.bed"], {"chrA": 3000}), None)


def _packed_bed(content: bytes, folder: Path) -> None:
    is_packed = content[:2] == b"\x1f\x8b"
    (folder / "x.bed.gz").write_bytes(content if is_packed else gzip.compress(content, 1))
    read_loci([folder / "x.bed.gz"])


def _motifs(content: bytes, folder: Path) -> None:
    (folder / "x.meme").write_bytes(content)
    for matrix in read_motifs(folder / "x.meme").values():
        assert matrix.shape[0] == 4 and np.isfinite(matrix).all()


def _genome(content: bytes, folder: Path) -> None:
    (folder / "x.fa").write_bytes(content)
    _read_some(folder / "x.fa")


def _index(content: bytes, folder: Path) -> None:
    (folder / "x.fa").write_bytes(FASTA)
    (folder / "x.fa.fai").write_bytes(content)
    later = (folder / "x.fa").stat().st_mtime_ns + 10**9
    os.utime(folder / "x.fa.fai", ns=(later, later))
    _read_some(folder / "x.fa")


def _read_some(fasta: Path) -> None:
    genome = open_genome(fasta, fasta.parent / "cache")
    for chrom in list(genome.chrom_sizes)[:3]:
        genome.fetch(chrom, 0, 10)
    genome.open().close()


def _manifest(content: bytes, folder: Path) -> None:
    (folder / "manifest.json").write_bytes(content)
    manifest = read_manifest(folder / "manifest.json")
    assert manifest is not None
    assert Path(manifest.folder).name == manifest.folder not in ("", ".", "..")
    assert all(".." not in Path(file.name).parts and not Path(file.name).is_absolute() for file in manifest.files)


def _sidecar(content: bytes, folder: Path) -> None:
    (folder / "provenance.json").write_bytes(content)
    (folder / "data.npz").write_bytes(b"data")
    _asked(folder / "data.npz")
    _asked(folder)


def _export_record(content: bytes, folder: Path) -> None:
    (folder / "x.export.json").write_bytes(content)
    (folder / "x.bed").write_bytes(b"data")
    _asked(folder / "x.bed")


def _page(content: bytes, folder: Path) -> None:
    for page in (content, b"<html><body>x" + OPEN + content.replace(b"<", b"") + CLOSE + b"</body></html>"):
        (folder / "x.html").write_bytes(page)
        stamped = stamp_page(page, {"made": "again"})
        assert read_page_stamp(stamped).stamp.recorded == {"made": "again"}
        if read_page_stamp(page) is not None:
            _asked(folder / "x.html")


def _asked(path: Path) -> None:
    """What `lineage` answers, as text and as JSON."""
    found = trace(path)
    text = as_text(found)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert found.command == "" or found.command.startswith(("cherimoya-assets run ", "cherimoya-assets export "))
    json.dumps(as_json(found))


def _record(content: bytes, folder: Path) -> None:
    read_record(content, "x.npz")


def _record_texts(content: bytes, folder: Path) -> None:
    raw = BytesIO()
    np.savez(raw, texts=np.array(content.decode(errors="replace")), **RECORD_ARRAYS)
    record = read_record(raw.getvalue(), "x.npz")
    nothing = SimpleNamespace(heads={}, inputs={}, parameters={}, packages={})
    comparison_page(compare_runs(record, record), "x", "before", "after").encode(errors="replace")
    for difference in (compare_runs(nothing, record), compare_runs(record, nothing)):
        comparison_markdown(difference)
        assert all(c.isprintable() or c == "\n" for c in comparison_text(difference))


PARSERS: dict[str, Parser] = {
    "experiment": _experiment,
    "cherimoya_json": _cherimoya_json,
    "step_json": _step_json,
    "bed": _bed,
    "packed_bed": _packed_bed,
    "motifs": _motifs,
    "genome": _genome,
    "index": _index,
    "manifest": _manifest,
    "sidecar": _sidecar,
    "export_record": _export_record,
    "page": _page,
    "record": _record,
    "record_texts": _record_texts,
}

EXPERIMENT = {"name": "x", "sequences": "g.fa", "loci": "l.bed", "model": "m.torch"}

FASTA = b">chrA one\nACGTACGT\nACGT\n>chrB\nTTTTTTTT\n"

RECORD_ARRAYS = {
    "counts_cwm_0": np.ones((3, 4)),
    "counts_locus_id_0": np.array(["chrA:1-2", "chrA:3-4"]),
    "counts_window_start_0": np.array([1, 3]),
    "counts_projected_0": np.ones((2, 5), np.float32),
    "counts_seqlet_chrom": np.zeros(2, np.int32),
    "counts_seqlet_start": np.array([1, 5]),
    "counts_seqlet_end": np.array([4, 9]),
}

_STAMP = {
    "asset": "x/counts/seqlets",
    "partition": "chrA",
    "run_id": "1",
    "made": "2026-01-01T00:00:00+00:00",
    "inputs": {"genome": "0" * 64},
    "parameters": {"threshold": 0.1, "report": {"measured": 1.0}},
    "packages": {"numpy": "2"},
    "device": "cpu",
    "command": "cherimoya-assets run /x.yaml --home /home --force",
}
_FILE = {"name": "data.npz", "sha256": "0" * 64, "size": 4}
_MANIFEST = json.dumps(
    {
        "format": 1,
        "kind": "SeqletTable",
        "version": "0" * 64,
        "folder": f"{'0' * 16}-{'0' * 8}",
        "files": [_FILE],
        "stamp": _STAMP,
    }
).encode()
_RECORD_TEXTS = {
    "format": 1,
    "heads": {"counts": {"patterns": [["pos_patterns.pattern_0", 2]], "attributed": ["chrA"], "chroms": ["chrA"]}},
    "inputs": {"genome": "0" * 64},
    "parameters": {"seqlets.threshold": "0.1"},
    "packages": {"numpy": "2"},
}


def _seed_record() -> bytes:
    raw = BytesIO()
    np.savez_compressed(raw, texts=np.array(json.dumps(_RECORD_TEXTS)), **RECORD_ARRAYS)
    return raw.getvalue()


def _yaml(**keys: object) -> bytes:
    return yaml.safe_dump({**EXPERIMENT, **keys}, sort_keys=False).encode()


SEEDS: dict[str, list[bytes]] = {
    "experiment": [
        _yaml(),
        _yaml(model={"a": "a.torch", "b": {"path": "b.torch", "kind": "bpnet", "trusted": True, "sha256": "0" * 64}}),
        _yaml(chroms=[1, "chrX"], seqlets={"threshold": 0.1}, automation={"cron": "0 3 * * 0"}, device="cuda:0"),
        _yaml() + b"x: !!int 0x1f\ny: !!binary aGVsbG8=\nz: ? [a]\n: 2001-01-01 1:1:1 +1:1\nw: !!set {a}\n<<: {a: b}\n",
    ],
    "cherimoya_json": [
        json.dumps({**EXPERIMENT, "output": "counts", "chroms": ["chrA"], "n_loci": None}).encode(),
        json.dumps({**EXPERIMENT, "attribute_parameters": {"fast": True}, "seqlet_parameters": {}}).encode(),
    ],
    "step_json": [b'{"threshold": 0.1, "n_seqlets": 5, "loci": ["a.bed"], "n_loci": null}'],
    "bed": [b"#c\ntrack x\nchrA\t1\t20\tname\t0\t.\t1\t1\t1\t3\r\nchrB 5 9\n", b"\xef\xbb\xbfchrA\t1\t2\n"],
    "packed_bed": [gzip.compress(b"chrA\t1\t2\n", mtime=0), b"chrA\t1\t2\n"],
    "motifs": [MEME.encode()],
    "genome": [FASTA, gzip.compress(FASTA, mtime=0), FASTA.replace(b"\n", b"\r\n")],
    "index": [b"chrA\t12\t10\t8\t9\nchrB\t8\t30\t8\t9\n"],
    "manifest": [_MANIFEST],
    "sidecar": [_MANIFEST],
    "export_record": [
        json.dumps(
            {
                "files": ["x.bed"],
                "sha256": {"x.bed": "0" * 64},
                "assets": {"x.bed": {"x/counts/seqlets": {"chrA": "0" * 64}}},
                "stamps": {"x/counts/seqlets": {"chrA": _STAMP}},
                "experiment_file": "/x.yaml",
                "home": "/home",
                "head": "counts",
            }
        ).encode()
    ],
    "page": [stamp_page(b"<html><body>x</body></html>", _STAMP), json.dumps({"page_sha256": "", "stamp": {}}).encode()],
    "record": [_seed_record()],
    "record_texts": [json.dumps(_RECORD_TEXTS).encode()],
}

FOUND: list[tuple[str, bytes]] = [
    ("genome", b">chrhrA...e\nACGTACGT\nTA...e\nACGTACGT\nT"),
    ("index", b"chrA\t12\t10\t8\t8\t30\t8\t9\n"),
]
"""What the fuzz target found, mended since; a crash file without its first byte."""

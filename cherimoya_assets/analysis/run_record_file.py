"""A run record as one npz file: what a report keeps of itself, to be compared with the one after it.

What belongs here: writing and reading. What does not: what is in a record (`run_comparison.py`). Texts are one JSON
array of characters, numbers are arrays; nothing is a pickle, and equal records give equal bytes.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cherimoya_assets.analysis.run_comparison import RecordedAttributions, RecordedHead, RecordedPattern, RunRecord
from cherimoya_assets.errors import StorageError

FORMAT = 1

LARGEST = 1 << 30
"""Bytes, unpacked; the record of 24 chromosomes and two heads has 20 MB."""


def write_record(record: RunRecord) -> bytes:
    """The bytes of a record."""
    arrays: dict[str, Any] = {}
    heads: dict[str, Any] = {}
    for head, found in record.heads.items():
        heads[head] = {
            "patterns": [[pattern.name, pattern.seqlets] for pattern in found.patterns],
            "attributed": list(found.attributions),
            "chroms": sorted(set(found.seqlets["chrom"])),
        }
        for i, pattern in enumerate(found.patterns):
            arrays[f"{head}_cwm_{i}"] = pattern.cwm
        for i, block in enumerate(found.attributions.values()):
            arrays[f"{head}_locus_id_{i}"] = np.asarray(block.locus_id, dtype=np.str_)
            arrays[f"{head}_window_start_{i}"] = block.window_start
            arrays[f"{head}_projected_{i}"] = block.projected
        numbers = {chrom: i for i, chrom in enumerate(heads[head]["chroms"])}
        arrays[f"{head}_seqlet_chrom"] = np.array([numbers[chrom] for chrom in found.seqlets["chrom"]], np.int32)
        for name in ("start", "end"):
            arrays[f"{head}_seqlet_{name}"] = found.seqlets[name].to_numpy(np.int64)
    texts = {
        "format": FORMAT,
        "heads": heads,
        "inputs": dict(record.inputs),
        "parameters": dict(record.parameters),
        "packages": dict(record.packages),
    }
    raw = BytesIO()
    np.savez_compressed(raw, texts=np.array(json.dumps(texts)), **arrays)
    return raw.getvalue()


def read_record(raw: bytes, place: str) -> RunRecord:
    """The record that `write_record` wrote.

    Args:
        raw: the bytes.
        place: where they are from, for the error.

    Raises:
        StorageError: they are no record.
    """
    try:
        with np.load(BytesIO(raw), allow_pickle=False) as arrays:
            if sum(member.file_size for member in arrays.zip.infolist()) > LARGEST:
                raise StorageError(f"{place}: unpacks to more than {LARGEST >> 20} MB; this is not a run record.")
            texts = json.loads(str(arrays["texts"]))
            if texts["format"] != FORMAT:
                raise StorageError(f"{place}: format {texts['format']}, expected {FORMAT}. Make the report again.")
            heads = {head: _head(head, said, arrays) for head, said in texts["heads"].items()}
        named = (texts["inputs"], texts["parameters"], texts["packages"])
        return RunRecord(heads, *({str(name): str(value) for name, value in values.items()} for values in named))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        EOFError,
        MemoryError,
        NotImplementedError,
        RecursionError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise StorageError(f"{place}: not a run record. Make the experiment report again.") from error


def _head(head: str, said: dict[str, Any], arrays: Any) -> RecordedHead:
    chroms = np.array([str(chrom) for chrom in said["chroms"]], dtype=object)
    return RecordedHead(
        [
            RecordedPattern(str(name), int(n), _numbers(arrays[f"{head}_cwm_{i}"], np.float64, 2, columns=4))
            for i, (name, n) in enumerate(said["patterns"])
        ],
        {
            str(chrom): RecordedAttributions(
                arrays[f"{head}_locus_id_{i}"].astype(np.str_),
                _numbers(arrays[f"{head}_window_start_{i}"], np.int64, 1),
                _numbers(arrays[f"{head}_projected_{i}"], np.float32, 2, rows=len(arrays[f"{head}_window_start_{i}"])),
            )
            for i, chrom in enumerate(said["attributed"])
        },
        pd.DataFrame(
            {
                "chrom": chroms[_numbers(arrays[f"{head}_seqlet_chrom"], np.int32, 1)].astype(object),
                "start": _numbers(arrays[f"{head}_seqlet_start"], np.int64, 1),
                "end": _numbers(arrays[f"{head}_seqlet_end"], np.int64, 1),
            }
        ),
    )


def _numbers(
    array: NDArray[Any], dtype: type[np.generic], dimensions: int, rows: int | None = None, columns: int | None = None
) -> NDArray[Any]:
    """The array, if it is what a record has in its place; a record may come from anybody."""
    if array.dtype != dtype or array.ndim != dimensions:
        raise ValueError(f"{array.dtype} {array.shape} in the place of {dimensions}-dimensional {dtype.__name__}")
    if rows not in (None, array.shape[0]) or columns not in (None, array.shape[-1]):
        raise ValueError(f"shape {array.shape}")
    return array

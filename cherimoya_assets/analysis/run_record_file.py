"""A run record as one npz file: what a report keeps of itself, to be compared with the one after it.

What belongs here: writing and reading. What does not: what is in a record (`run_comparison.py`). Texts are one JSON
array of characters, numbers are arrays; nothing is a pickle, and equal records give equal bytes.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd

from cherimoya_assets.analysis.run_comparison import RecordedAttributions, RecordedHead, RecordedPattern, RunRecord
from cherimoya_assets.errors import StorageError

FORMAT = 1


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
            texts = json.loads(str(arrays["texts"]))
            if texts["format"] != FORMAT:
                raise StorageError(f"{place}: format {texts['format']}, expected {FORMAT}. Make the report again.")
            heads = {head: _head(head, said, arrays) for head, said in texts["heads"].items()}
        return RunRecord(heads, texts["inputs"], texts["parameters"], texts["packages"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise StorageError(f"{place}: not a record of a run. Make the experiment report again.") from error


def _head(head: str, said: dict[str, Any], arrays: Any) -> RecordedHead:
    chroms = np.array(said["chroms"], dtype=object)
    return RecordedHead(
        [RecordedPattern(name, n, arrays[f"{head}_cwm_{i}"]) for i, (name, n) in enumerate(said["patterns"])],
        {
            chrom: RecordedAttributions(
                arrays[f"{head}_locus_id_{i}"], arrays[f"{head}_window_start_{i}"], arrays[f"{head}_projected_{i}"]
            )
            for i, chrom in enumerate(said["attributed"])
        },
        pd.DataFrame(
            {
                "chrom": chroms[arrays[f"{head}_seqlet_chrom"]].astype(object),
                "start": arrays[f"{head}_seqlet_start"],
                "end": arrays[f"{head}_seqlet_end"],
            }
        ),
    )

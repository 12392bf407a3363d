"""BED files in one piece, fast. Whatever is not plainly right is left to the strict reader (`strict_bed.py`).

What lives here: bytes to columns. What must not: sentences, and what a locus is (`loci.py`).
"""

from __future__ import annotations

import re
import zlib
from codecs import BOM_UTF8
from pathlib import Path

import numpy as np
import pandas as pd

from cherimoya_assets.analysis.strict_bed import LONGEST_LINE, MOST_LOCI, opened, pairs
from cherimoya_assets.analysis.tables import typed_table

MOST_BYTES = 1 << 28
"""Of a file when it is decompressed: 4 million rows of narrowPeak. The strict reader takes larger ones line by line."""

_HEADERS = re.compile(rb"(?m)^(?:#|(?:track|browser)(?:[ \t]|$))[^\n]*\n?")


def read_plain(path: Path) -> pd.DataFrame | None:
    """The rows of a BED or narrowPeak file (plain or gzip): `chrom` (str), `start`, `end` (int64).

    Returns:
        Exactly what the strict reader gives; None where it would complain, and where that cannot be seen at once.
    """
    if not path.is_file():
        return None
    content = bytearray()
    try:
        with opened(path) as handle:
            # A line that does not end is not read to its end.
            while block := handle.read(LONGEST_LINE):
                content += block
                if len(content) > MOST_BYTES or len(block) - block.rfind(b"\n") > LONGEST_LINE:
                    return None
    except (OSError, EOFError, zlib.error):
        return None
    content = content.removeprefix(BOM_UTF8)
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n"))
    longest = np.diff(np.concatenate([[-1], ends, [len(content)]])).max() - 1
    odd = content.count(b"\r") != content.count(b"\r\n") or not content.isascii()
    # The strict reader counts the end of a line.
    if odd or longest >= LONGEST_LINE or len(ends) > MOST_LOCI:
        return None
    rows = _HEADERS.sub(b"", content)
    return None if pairs(rows.partition(b"\n")[0].decode()) else _columns(rows)


def _columns(content: bytes) -> pd.DataFrame | None:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    if not content.strip():
        return typed_table({"chrom": "object", "start": "int64", "end": "int64"})
    first = ("f0", "f1", "f2")
    try:
        table = csv.read_csv(
            pa.BufferReader(content),
            read_options=csv.ReadOptions(autogenerate_column_names=True),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(
                include_columns=first, column_types=dict.fromkeys(first, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, KeyError):
        return None
    numbers = [table[name] for name in first[1:]]
    if not all(pc.all(pc.match_substring_regex(column, "^-?[0-9]{1,18}$")).as_py() for column in numbers):
        return None
    start, end = (column.cast(pa.int64()).to_numpy() for column in numbers)
    chroms = table["f0"].combine_chunks().dictionary_encode()
    names = chroms.dictionary.to_pylist()
    plain = all(name.isprintable() and name == name.strip() != "" for name in names)
    if not plain or (start < 0).any() or (end <= start).any():
        return None
    chrom = np.array(names, dtype=object)[chroms.indices.to_numpy()]
    return pd.DataFrame({"chrom": pd.Series(chrom, dtype=object), "start": start, "end": end})

"""Files for a genome browser: a bigWig of contributions, BED files of seqlets, an IGV session that opens them together.

What belongs here: from what the analyses found to files in genome coordinates. What does not: finding anything.

Follows `chrombpnet contribs_bw` in what the bigWig shows: the contribution of the base that is there, one value a base,
and where windows overlap the value of the window whose centre is nearest. Coordinates are 0-based and half-open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cherimoya_assets.analysis.attributions import AttributionBlock

POSITIVE, NEGATIVE = "0,114,178", "213,94,0"
"""itemRgb by the sign of the attribution: blue and vermilion, which colour-blind readers tell apart."""

LONGEST_NAME = 255
"""Bytes; UCSC's bedToBigBed refuses longer names."""


def write_contributions(path: Path, chrom_sizes: Mapping[str, int], blocks: Iterable[AttributionBlock]) -> int:
    """Write projected contributions as a bigWig and return how many bases have a value.

    Args:
        path: The file to write.
        chrom_sizes: Length of every chromosome of the genome in bp, in the order of the FASTA: the bigWig's header.
        blocks: Attributions, one block a chromosome, chromosomes in the order of `chrom_sizes`. They are taken one at a
            time, so a generator keeps the memory at one chromosome.

    A base in no window has no value; a contribution of exactly 0 is written as 0. The same input gives the same bytes.

    Raises:
        ValueError: a chromosome is not in `chrom_sizes` or comes out of order, a window leaves its chromosome, or a
            contribution is infinite.
    """
    from figwig.writer import BigWigWriter

    bases = 0
    # The engine is named because `auto` takes libdeflate where it happens to be installed, which gives other bytes.
    with BigWigWriter(path, dict(chrom_sizes), engine="zlib", n_jobs=1) as writer:
        for block in blocks:
            projected = block.projected
            parts = nearest_windows(block.window_start, projected.shape[1])
            for row, start, end in parts.itertuples(index=False):
                offset = int(block.window_start[row])
                values = projected[row, start - offset : end - offset]
                writer.write(block.chrom, [start], values[np.newaxis], missing=float("nan"))
            bases += int((parts["end"] - parts["start"]).sum())
    return bases


def nearest_windows(window_start: NDArray[np.int64], width: int) -> pd.DataFrame:
    """Which part of which window is drawn, where windows of one chromosome overlap.

    Args:
        window_start: int64 (n,), where the windows start, in any order.
        width: Their common width in bp.

    Returns:
        Columns row (of `window_start`), start, end (int64), sorted by start, not overlapping, together covering every
        base of every window. A base belongs to the window whose centre (start + width / 2) is nearest to the middle
        of the base; one that is equally near to two belongs to the window that starts earlier, and of windows at the
        same place the first is drawn. ChromBPNet cuts at the floor of the mean of both centres, which gives a base
        that is equally near to the later window: at an overlap its cut is ours or one base before it.
    """
    starts, rows = np.unique(np.asarray(window_start, dtype=np.int64), return_index=True)
    left, right = starts.copy(), starts + width
    # Equal widths: the nearest of all windows is one of two neighbours, and the cut lies in their overlap. The last
    # base p of the earlier one is the largest with p + 1/2 <= (both centres) / 2.
    cuts = (starts[:-1] + starts[1:] + width + 1) // 2
    overlap = starts[1:] < starts[:-1] + width
    right[:-1][overlap] = cuts[overlap]
    left[1:][overlap] = cuts[overlap]
    return pd.DataFrame({"row": rows.astype(np.int64), "start": left, "end": right})


def seqlet_bed(tables: Iterable[pd.DataFrame], chrom_sizes: Mapping[str, int]) -> str:
    """Seqlets as BED9, in the order of `chrom_sizes`, by position within a chromosome.

    Args:
        tables: Seqlet tables: columns chrom, start, end, attribution, p-value, and motif and strand where they are
            annotated.
        chrom_sizes: Length of every chromosome in bp. Flanks that leave the chromosome are cut off.

    The name is the motif (`seqlet` without annotation), the score -100 log10(p-value) rounded and held in 0 to 1000,
    the colour says whether the attribution is positive or negative.
    """
    rows = []
    for table in tables:
        annotated = "motif" in table.columns
        motifs = table["motif"] if annotated else ["seqlet"] * len(table)
        strands = table["strand"] if annotated else ["."] * len(table)
        for chrom, start, end, attribution, p, motif, strand in zip(
            table["chrom"],
            table["start"],
            table["end"],
            table["attribution"],
            table["p-value"],
            motifs,
            strands,
            strict=True,
        ):
            score = 1000 if p <= 0 else min(1000, max(0, round(-100 * float(np.log10(p)))))
            colour = NEGATIVE if attribution < 0 else POSITIVE
            rows.append((str(chrom), int(start), int(end), str(motif), score, str(strand), colour))
    return _bed9(rows, chrom_sizes)


def pattern_bed(seqlets: pd.DataFrame, chrom_sizes: Mapping[str, int]) -> str:
    """The seqlets of TF-MoDISco's patterns as BED9; the name is the pattern, the score 0 (there is none).

    Args:
        seqlets: Columns metacluster, pattern, chrom, start, end, strand.
        chrom_sizes: Length of every chromosome in bp.
    """
    rows = [
        (
            str(chrom),
            int(start),
            int(end),
            f"{metacluster}.{pattern}",
            0,
            str(strand),
            NEGATIVE if str(metacluster).startswith("neg") else POSITIVE,
        )
        for metacluster, pattern, chrom, start, end, strand in zip(
            *(seqlets[name] for name in ("metacluster", "pattern", "chrom", "start", "end", "strand")), strict=True
        )
    ]
    return _bed9(rows, chrom_sizes)


def igv_session(genome: str, tracks: Sequence[tuple[str, str]]) -> str:
    """An IGV desktop session (version 8) that opens `tracks`, pairs of path and name, on the FASTA file `genome`.

    IGV takes relative paths from the folder of the session file.
    """
    resources = "".join(f"    <Resource path={quoteattr(path)} name={quoteattr(name)}/>\n" for path, name in tracks)
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
        f'<Session genome={quoteattr(genome)} hasSequenceTrack="true" version="8">\n'
        f"  <Resources>\n{resources}  </Resources>\n</Session>\n"
    )


def _bed9(rows: list[tuple[str, int, int, str, int, str, str]], chrom_sizes: Mapping[str, int]) -> str:
    order = {chrom: number for number, chrom in enumerate(chrom_sizes)}
    lines = []
    for chrom, start, end, name, score, strand, colour in sorted(rows, key=lambda r: (order[r[0]], r[1], r[2], r[3])):
        start, end = max(start, 0), min(end, chrom_sizes[chrom])
        strand = strand if strand in ("+", "-") else "."
        lines.append(f"{chrom}\t{start}\t{end}\t{_bed_name(name)}\t{score}\t{strand}\t{start}\t{end}\t{colour}\n")
    return "".join(lines)


def _bed_name(name: str) -> str:
    # Many BED readers split at any white space, so a name has none.
    whole = re.sub(r"[\s\x00-\x1f\x7f]+", "_", name)
    return whole.encode()[:LONGEST_NAME].decode(errors="ignore") or "."

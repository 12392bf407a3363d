"""attribution_tracks (pooled), for each head: what was found, as files for a genome browser.

Chromosomes are read one at a time, in the order of the FASTA.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from cherimoya_assets.analysis.modisco import ModiscoPatterns
from cherimoya_assets.analysis.tracks import igv_session, pattern_bed, seqlet_bed, write_contributions
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.made import Landing, Making
from cherimoya_assets.reports.folder import render

CONTRIBUTIONS, SEQLETS, PATTERNS, SESSION = "contributions.bw", "seqlets.bed", "patterns.bed", "igv_session.xml"


def attribution_tracks(making: Making, patterns: ModiscoPatterns) -> Landing:
    """The tracks of one head."""
    lineage, head, key = making.lineage, making.head, making.key
    named = "annotated_seqlets" if "annotated_seqlets" in lineage.steps else "seqlets"
    sizes = lineage.genome.chrom_sizes
    counts: dict[str, int] = {}

    def write(folder: Path) -> None:
        attributions = stored(lineage, lineage.key(head, "attributions"))
        counts["bases"] = write_contributions(folder / CONTRIBUTIONS, sizes, attributions)
        bed = seqlet_bed((found.table for found in stored(lineage, lineage.key(head, named))), sizes)
        counts["seqlets"] = bed.count("\n")
        (folder / SEQLETS).write_text(bed, encoding="utf-8")
        (folder / PATTERNS).write_text(pattern_bed(patterns.seqlets, sizes), encoding="utf-8")
        tracks = [
            (CONTRIBUTIONS, f"{lineage.name} {head} contributions"),
            (SEQLETS, f"{lineage.name} {head} seqlets"),
            (PATTERNS, f"{lineage.name} {head} pattern seqlets"),
        ]
        fasta = lineage.store.path_of(lineage.genome.fasta, tuple(key.path), None)
        (folder / SESSION).write_text(igv_session(fasta, tracks), encoding="utf-8")

    files = render(write, SESSION)
    return Landing(
        files,
        metadata={**counts, "pattern_seqlets": len(patterns.seqlets), "session": making.path_for_people(SESSION)},
    )


def stored(lineage: ExperimentLineage, key: dg.AssetKey) -> Iterator[Any]:
    """The stored value of each chromosome in the order of the FASTA, one in memory at a time."""
    for chrom in lineage.genome.chrom_sizes:
        if chrom in lineage.chroms:
            yield lineage.store.load(tuple(key.path), chrom)

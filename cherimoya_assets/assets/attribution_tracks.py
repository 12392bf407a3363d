"""attribution_tracks (pooled), for each head: what was found, as files for a genome browser.

Chromosomes are read one at a time, in the order of the FASTA.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from cherimoya_assets.analysis.modisco import ModiscoPatterns
from cherimoya_assets.analysis.tracks import igv_session, pattern_bed, seqlet_bed, write_contributions
from cherimoya_assets.assets.landing import Stopwatch, land, reader_errors
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import current_inputs
from cherimoya_assets.reports.folder import render

STEP = "attribution_tracks"
CONTRIBUTIONS, SEQLETS, PATTERNS, SESSION = "contributions.bw", "seqlets.bed", "patterns.bed", "igv_session.xml"


def attribution_tracks_asset(lineage: ExperimentLineage, head: str) -> dg.AssetsDefinition:
    """The tracks of one head."""
    key = lineage.key(head, STEP)
    attributions, patterns_key = lineage.key(head, "attributions"), lineage.key(head, "modisco_patterns")
    seqlets = lineage.key(head, "seqlets" if lineage.motif_file is None else "annotated_seqlets")

    @dg.asset(
        key=key,
        ins={"patterns": dg.AssetIn(patterns_key)},
        deps=[attributions, seqlets, lineage.genome_key],
        description=(
            f"Genome browser files: a bigWig of {head} contributions, BED files of seqlets and of pattern seqlets, "
            "and an IGV session that opens them."
        ),
        **lineage.spec(
            STEP, partitioned=False, code_version=lineage.code_version(STEP, packages=("figwig",)), kinds={"bigwig"}
        ),
    )
    def attribution_tracks(context: dg.AssetExecutionContext, patterns: ModiscoPatterns):
        watch, sizes = Stopwatch(), lineage.genome.chrom_sizes
        counts: dict[str, int] = {}

        def write(folder: Path) -> None:
            counts["bases"] = write_contributions(folder / CONTRIBUTIONS, sizes, stored(lineage, attributions))
            bed = seqlet_bed((found.table for found in stored(lineage, seqlets)), sizes)
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

        with reader_errors():
            inputs = current_inputs(lineage, key, None)
            files = render(write, SESSION)
        yield from land(
            lineage,
            key,
            files,
            stamp=lineage.stamp(STEP, inputs, {}, "cpu"),
            watch=watch,
            metadata={
                "bases": counts["bases"],
                "seqlets": counts["seqlets"],
                "pattern_seqlets": len(patterns.seqlets),
                "session": dg.MetadataValue.path(lineage.store.for_people(tuple(key.path), None, SESSION)),
            },
        )

    return attribution_tracks


def stored(lineage: ExperimentLineage, key: dg.AssetKey) -> Iterator[Any]:
    """The stored value of each chromosome in the order of the FASTA, one in memory at a time."""
    for chrom in lineage.genome.chrom_sizes:
        if chrom in lineage.chroms:
            yield lineage.store.load(tuple(key.path), chrom)

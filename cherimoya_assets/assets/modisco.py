"""modisco_patterns and modisco_report (pooled), for each head.

TF-MoDISco looks for what repeats, so it sees all chromosomes at once, in the order of the loci file, as
`cherimoya pipeline` hands them to it.
"""

from collections.abc import Mapping

import dagster as dg

from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.analysis.genome import Genome
from cherimoya_assets.analysis.loci import interleave, read_loci
from cherimoya_assets.analysis.modisco import (
    ModiscoPatterns,
    PooledAttributions,
    discover_patterns,
    pattern_seqlet_mismatches,
    pool_blocks,
)
from cherimoya_assets.analysis.modisco_report import modisco_report
from cherimoya_assets.assets.landing import check
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.made import Landing, Making
from cherimoya_assets.reports.folder import render

PAGE = "report.html"


def modisco_patterns(making: Making, attributions: Mapping[str, AttributionBlock]) -> Landing:
    """The patterns of one head."""
    pooled = pooled_attributions(making.lineage, attributions)
    patterns = discover_patterns(pooled, making.experiment.modisco, log=making.context.log.info)
    matches = patterns_match_genome(making.key, patterns, pooled, making.lineage.genome)
    table = patterns.seqlets
    return Landing(
        patterns,
        checks=[matches, cap_not_hit(making.key, patterns)],
        metadata={
            "patterns": int(table[["metacluster", "pattern"]].drop_duplicates().shape[0]),
            "dagster/row_count": len(table),
            "positive_seqlets": patterns.n_positive,
            "negative_seqlets": patterns.n_negative,
            "loci": len(pooled.locus_id),
        },
        preview=table.groupby(["metacluster", "pattern"], sort=False).size().rename("seqlets").reset_index(),
    )


def modisco_report_(making: Making, patterns: ModiscoPatterns) -> Landing:
    """The descriptive report of one head's patterns, matched to the motif database where there is one."""
    motifs = making.lineage.motif_file
    report = render(lambda folder: modisco_report(patterns, motifs, folder, **making.parameters), PAGE)
    return Landing(report, metadata={"files": len(report.files), "report": making.path_for_people(report.index)})


def pooled_attributions(lineage: ExperimentLineage, blocks: Mapping[str, AttributionBlock]) -> PooledAttributions:
    """All chromosomes together, in cherimoya's order of the loci."""
    loci = interleave(read_loci(lineage.experiment.loci), lineage.chroms)
    return pool_blocks([blocks[chrom] for chrom in lineage.chroms], list(loci["locus_id"]))


def patterns_match_genome(
    key: dg.AssetKey, patterns: ModiscoPatterns, pooled: PooledAttributions, genome: Genome
) -> dg.AssetCheckResult:
    """The sequences stored by TF-MoDISco equal the FASTA at the coordinates that we give them, strand included."""
    wrong = pattern_seqlet_mismatches(patterns, genome)
    return check(key, "seqlets_match_genome", wrong == 0, f"{wrong} of {len(patterns.seqlets)} differ from the FASTA")


def cap_not_hit(key: dg.AssetKey, patterns: ModiscoPatterns) -> dg.AssetCheckResult:
    """Whether TF-MoDISco saw every seqlet; where not, rows were drawn with a recorded seed."""
    seen = f"{patterns.n_positive} positive and {patterns.n_negative} negative seqlets, cap {patterns.cap} of each"
    if patterns.cap_hit:
        seen += f"; loci were permuted with seed {patterns.permutation_seed}. Raise modisco.n_seqlets to use them all"
    return check(key, "cap_not_hit", not patterns.cap_hit, seen, warn=True)

"""modisco_patterns and modisco_report (pooled), for each head.

TF-MoDISco looks for what repeats, so it sees all chromosomes at once, in the order of the loci file, as
`cherimoya pipeline` hands them to it.
"""

import dagster as dg

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
from cherimoya_assets.assets.landing import Stopwatch, check, land, reader_errors
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import current_inputs
from cherimoya_assets.reports.folder import render

PATTERNS, REPORT = "modisco_patterns", "modisco_report"

DISCOVERY = (
    "n_seqlets",
    "n_leiden",
    "window",
    "size",
    "trim_size",
    "seqlet_flank_size",
    "initial_flank_to_add",
    "final_flank_to_add",
    "random_state",
)
DRAWING = ("n_matches", "trim_threshold", "n_examples")
PAGE = "report.html"


def modisco_patterns_asset(lineage: ExperimentLineage, head: str) -> dg.AssetsDefinition:
    """The patterns of one head."""
    key, source = lineage.key(head, PATTERNS), lineage.key(head, "attributions")
    parameters = lineage.experiment.modisco.model_dump(include=set(DISCOVERY))
    blocking = lineage.checks(key, "seqlets_match_genome", partitioned=False)
    warning = lineage.checks(key, "cap_not_hit", partitioned=False, blocking=False)

    @dg.asset(
        key=key,
        ins={"attributions": dg.AssetIn(source, partition_mapping=dg.AllPartitionMapping(), metadata={"pooled": True})},
        deps=[lineage.key("peaks"), lineage.genome_key],
        check_specs=[*blocking, *warning],
        description=f"TF-MoDISco patterns of the {head} contributions, every seqlet mapped back to the genome.",
        **lineage.spec(
            PATTERNS,
            partitioned=False,
            code_version=lineage.code_version(PATTERNS, sorted(parameters.items()), packages=("modisco-lite", "numba")),
            kinds={"modisco"},
        ),
    )
    def modisco_patterns(context: dg.AssetExecutionContext, attributions: dict):
        watch = Stopwatch()
        with reader_errors():
            inputs = current_inputs(lineage, key, None)
            pooled = pooled_attributions(lineage, attributions)
            patterns = discover_patterns(pooled, lineage.experiment.modisco, log=context.log.info)
            matches = patterns_match_genome(key, patterns, pooled, lineage.genome)
        table = patterns.seqlets
        yield from land(
            lineage,
            key,
            patterns,
            stamp=lineage.stamp(PATTERNS, inputs, parameters, "cpu"),
            watch=watch,
            checks=[matches, cap_not_hit(key, patterns)],
            metadata={
                "patterns": int(table[["metacluster", "pattern"]].drop_duplicates().shape[0]),
                "dagster/row_count": len(table),
                "positive_seqlets": patterns.n_positive,
                "negative_seqlets": patterns.n_negative,
                "loci": len(pooled.locus_id),
            },
            preview=table.groupby(["metacluster", "pattern"], sort=False).size().rename("seqlets").reset_index(),
        )

    return modisco_patterns


def modisco_report_asset(lineage: ExperimentLineage, head: str) -> dg.AssetsDefinition:
    """The descriptive report of one head's patterns, matched to the motif database where there is one."""
    key, source = lineage.key(head, REPORT), lineage.key(head, PATTERNS)
    parameters = lineage.experiment.modisco.model_dump(include=set(DRAWING))
    deps = [] if lineage.motif_file is None else [lineage.motifs_key]

    @dg.asset(
        key=key,
        ins={"patterns": dg.AssetIn(source)},
        deps=deps,
        description=f"TF-MoDISco's descriptive report of the {head} patterns.",
        **lineage.spec(
            REPORT,
            partitioned=False,
            code_version=lineage.code_version(
                REPORT, sorted(parameters.items()), packages=("modisco-lite", "memelite")
            ),
            kinds={"html"},
        ),
    )
    def modisco_report_(context: dg.AssetExecutionContext, patterns: ModiscoPatterns):
        watch = Stopwatch()
        with reader_errors():
            inputs = current_inputs(lineage, key, None)
            report = render(lambda folder: modisco_report(patterns, lineage.motif_file, folder, **parameters), PAGE)
        yield from land(
            lineage,
            key,
            report,
            stamp=lineage.stamp(REPORT, inputs, parameters, "cpu"),
            watch=watch,
            metadata={
                "files": len(report.files),
                "report": dg.MetadataValue.path(lineage.store.for_people(tuple(key.path), None, report.index)),
            },
        )

    return modisco_report_


def pooled_attributions(lineage: ExperimentLineage, blocks: dict) -> PooledAttributions:
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

"""seqlet_null (pooled) and seqlets [chrom], for each head.

The p-values of a seqlet are relative to all attribution values of the experiment, so the null is an asset of its own
that pools every chromosome, and each chromosome is called against it. Calling each chromosome against its own null
instead changes one seqlet in six on the demo.
"""

import dagster as dg

from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.analysis.genome import Genome
from cherimoya_assets.analysis.seqlets import SeqletNull, SeqletTable, call_seqlets, seqlet_null
from cherimoya_assets.assets.landing import Stopwatch, check, land, reader_errors
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import current_inputs

NULL, STEP = "seqlet_null", "seqlets"

PACKAGES = ("tangermeme", "numba")


def seqlet_null_asset(lineage: ExperimentLineage, head: str) -> dg.AssetsDefinition:
    """The null of one head, from the attributions of every chromosome."""
    key, source = lineage.key(head, NULL), lineage.key(head, "attributions")
    max_seqlet_len = lineage.experiment.seqlets.max_seqlet_len

    @dg.asset(
        key=key,
        ins={"attributions": dg.AssetIn(source, partition_mapping=dg.AllPartitionMapping(), metadata={"pooled": True})},
        description=f"Distribution of {head} attribution values over all chromosomes: what p-values are relative to.",
        **lineage.spec(
            NULL,
            partitioned=False,
            # Pooled over other chromosomes it is another null, also where one was only taken away.
            code_version=lineage.code_version(NULL, max_seqlet_len, lineage.chroms, packages=PACKAGES),
            kinds={"numpy"},
        ),
    )
    def seqlet_null_(context: dg.AssetExecutionContext, attributions: dict):
        watch = Stopwatch()
        with reader_errors():
            inputs = current_inputs(lineage, key, None)
            null = seqlet_null(
                [attributions[chrom].projected for chrom in lineage.chroms], max_seqlet_len=max_seqlet_len
            )
        yield from land(
            lineage,
            key,
            null,
            stamp=lineage.stamp(NULL, inputs, {"max_seqlet_len": max_seqlet_len, "n_bins": null.n_bins}, "cpu"),
            watch=watch,
            metadata={"values": null.n_values, "bin_width": float(null.bin_width), "smallest": float(null.xmin)},
        )

    return seqlet_null_


def seqlets_asset(lineage: ExperimentLineage, head: str) -> dg.AssetsDefinition:
    """The seqlets of one head."""
    key, source, null_key = lineage.key(head, STEP), lineage.key(head, "attributions"), lineage.key(head, NULL)
    parameters = lineage.experiment.seqlets

    @dg.asset(
        key=key,
        ins={"attributions": dg.AssetIn(source), "null": dg.AssetIn(null_key)},
        deps=[lineage.genome_key],
        check_specs=lineage.checks(key, "in_window", "matches_genome", partitioned=True),
        description=f"Spans of high {head} attribution, in genome coordinates, with p-values against the pooled null.",
        **lineage.spec(
            STEP,
            partitioned=True,
            code_version=lineage.code_version(STEP, parameters, packages=PACKAGES),
            kinds={"pandas"},
        ),
    )
    def seqlets(context: dg.AssetExecutionContext, attributions: AttributionBlock, null: SeqletNull):
        watch, chrom = Stopwatch(), context.partition_key
        with reader_errors():
            inputs = current_inputs(lineage, key, chrom)
            found = call_seqlets(attributions, null, **parameters.model_dump())
        n = len(found.table)
        yield from land(
            lineage,
            key,
            found,
            stamp=lineage.stamp(STEP, inputs, parameters.model_dump(), "cpu"),
            watch=watch,
            checks=[
                in_window(key, found, attributions),
                matches_genome(key, found, attributions, lineage.genome),
            ],
            metadata={
                "dagster/partition_row_count": n,
                "seqlets_per_locus": n / len(attributions.scores) if len(attributions.scores) else 0.0,
                "mean_length": float((found.table["end"] - found.table["start"]).mean()) if n else 0.0,
            },
            preview=found.table,
        )

    return seqlets


def in_window(key: dg.AssetKey, seqlets: SeqletTable, attributions: AttributionBlock) -> dg.AssetCheckResult:
    """Every seqlet lies in the attributed window of its locus, flanks included."""
    table, width = seqlets.table, attributions.scores.shape[-1]
    starts = attributions.window_start[table["example_idx"].to_numpy()]
    outside = (table["start"] < starts) | (table["end"] > starts + width) | (table["start"] >= table["end"])
    return check(key, "in_window", not outside.any(), f"{int(outside.sum())} of {len(table)} lie outside their window")


def matches_genome(
    key: dg.AssetKey, seqlets: SeqletTable, attributions: AttributionBlock, genome: Genome
) -> dg.AssetCheckResult:
    """The bases that were attributed equal the FASTA at the seqlet's coordinates."""
    import numpy as np

    alphabet, wrong = np.array(list("ACGT")), 0
    for row, start, end in seqlets.table[["example_idx", "start", "end"]].itertuples(index=False):
        offset = int(attributions.window_start[row])
        bases = attributions.one_hot[row, :, start - offset : end - offset]
        wrong += "".join(alphabet[bases.argmax(axis=0)]) != genome.fetch(seqlets.chrom, int(start), int(end))
    return check(key, "matches_genome", not wrong, f"{wrong} of {len(seqlets.table)} differ from the FASTA")

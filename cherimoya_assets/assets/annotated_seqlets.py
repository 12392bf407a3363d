"""annotated_seqlets [chrom], for each head: the nearest known motif of every seqlet, by tomtom-lite."""

import dagster as dg

from cherimoya_assets.analysis.annotation import annotate_seqlets
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.seqlets import SeqletTable
from cherimoya_assets.assets.landing import Stopwatch, check, land, reader_errors
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import current_inputs

STEP = "annotated_seqlets"


def annotated_seqlets_asset(lineage: ExperimentLineage, head: str) -> dg.AssetsDefinition:
    """The annotated seqlets of one head. The experiment must have a motif database."""
    key, source = lineage.key(head, STEP), lineage.key(head, "seqlets")
    # n_jobs decides speed, never a result.
    parameters = lineage.experiment.annotation.model_dump(exclude={"n_jobs"})

    @dg.asset(
        key=key,
        ins={"seqlets": dg.AssetIn(source)},
        deps=[lineage.genome_key, lineage.motifs_key],
        check_specs=lineage.checks(key, "rows_match_seqlets", partitioned=True),
        description=f"The {head} seqlets, each with its nearest motif in the database and how near it is.",
        **lineage.spec(
            STEP,
            partitioned=True,
            code_version=lineage.code_version(STEP, sorted(parameters.items()), packages=("memelite", "numba")),
            kinds={"pandas"},
        ),
    )
    def annotated_seqlets(context: dg.AssetExecutionContext, seqlets: SeqletTable):
        watch = Stopwatch()
        with reader_errors():
            inputs = current_inputs(lineage, key, context.partition_key)
            motifs = read_motifs(lineage.motif_file)
            annotated = annotate_seqlets(
                seqlets, lineage.genome, motifs, **parameters, n_jobs=lineage.experiment.annotation.n_jobs
            )
        same = list(annotated.table["locus_id"]) == list(seqlets.table["locus_id"]) and list(
            annotated.table["start"]
        ) == list(seqlets.table["start"])
        yield from land(
            lineage,
            key,
            annotated,
            stamp=lineage.stamp(STEP, inputs, parameters, "cpu"),
            watch=watch,
            checks=[
                check(key, "rows_match_seqlets", same, f"{len(annotated.table)} rows for {len(seqlets.table)} seqlets")
            ],
            metadata={
                "dagster/partition_row_count": len(annotated.table),
                "motifs_seen": int(annotated.table["motif"].nunique()),
            },
            preview=annotated.table,
        )

    return annotated_seqlets

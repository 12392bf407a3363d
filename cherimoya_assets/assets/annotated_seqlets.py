"""annotated_seqlets [chrom], for each head: the nearest known motif of every seqlet, by tomtom-lite."""

from cherimoya_assets.analysis.annotation import annotate_seqlets
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.seqlets import SeqletTable
from cherimoya_assets.assets.made import Landing, Making


def annotated_seqlets(making: Making, seqlets: SeqletTable) -> Landing:
    """The annotated seqlets of one head."""
    lineage = making.lineage
    motifs, n_jobs = read_motifs(lineage.motif_database), making.experiment.annotation.n_jobs
    annotated = annotate_seqlets(seqlets, lineage.genome, motifs, **making.parameters, n_jobs=n_jobs)
    same = all(list(annotated.table[name]) == list(seqlets.table[name]) for name in ("locus_id", "start"))
    words = f"{len(annotated.table)} rows for {len(seqlets.table)} seqlets"
    return Landing(
        annotated,
        checks=[making.check("rows_match_seqlets", same, words)],
        metadata={
            "dagster/partition_row_count": len(annotated.table),
            "motifs_seen": int(annotated.table["motif"].nunique()),
        },
        preview=annotated.table,
    )

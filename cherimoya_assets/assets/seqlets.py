"""seqlet_null (pooled) and seqlets [chrom], for each head.

The p-values of a seqlet are relative to all attribution values of the experiment, so the null is an asset of its own
that pools every chromosome, and each chromosome is called against it. Calling each chromosome against its own null
instead changes one seqlet in six on the demo.
"""

from collections.abc import Mapping

import dagster as dg

from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.analysis.genome import Genome
from cherimoya_assets.analysis.seqlets import SeqletNull, SeqletTable, call_seqlets, seqlet_null
from cherimoya_assets.assets.landing import check
from cherimoya_assets.assets.made import Landing, Making


def seqlet_null_(making: Making, attributions: Mapping[str, AttributionBlock]) -> Landing:
    """The null of one head, from the attributions of every chromosome."""
    projected = [attributions[chrom].projected for chrom in making.lineage.chroms]
    null = seqlet_null(projected, max_seqlet_len=making.experiment.seqlets.max_seqlet_len)
    return Landing(
        null,
        metadata={"values": null.n_values, "bin_width": float(null.bin_width), "smallest": float(null.xmin)},
        stamped={"n_bins": null.n_bins},
    )


def seqlets(making: Making, attributions: AttributionBlock, null: SeqletNull) -> Landing:
    """The seqlets of one head."""
    found = call_seqlets(attributions, null, **making.parameters)
    n, key = len(found.table), making.key
    return Landing(
        found,
        checks=[
            in_window(key, found, attributions),
            matches_genome(key, found, attributions, making.lineage.genome),
        ],
        metadata={
            "dagster/partition_row_count": n,
            "seqlets_per_locus": n / len(attributions.scores) if len(attributions.scores) else 0.0,
            "mean_length": float((found.table["end"] - found.table["start"]).mean()) if n else 0.0,
        },
        preview=found.table,
    )


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

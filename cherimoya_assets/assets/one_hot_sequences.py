"""one_hot_sequences [chrom]: int8 one-hot windows, the locus table, and why each lost locus was lost."""

import dagster as dg
import numpy as np
import pandas as pd

from cherimoya_assets.analysis.genome import Genome
from cherimoya_assets.analysis.loci import KEPT, STATUSES, interleave, loss_ledger, place_windows, read_loci
from cherimoya_assets.analysis.one_hot import SequenceBlock, one_hot_sequences
from cherimoya_assets.assets.landing import check, table
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.made import Landing, Making


def one_hot_sequences_(making: Making) -> Landing:
    """The windows of one chromosome."""
    lineage, key = making.lineage, making.key
    loci = placed_loci(lineage)
    loci = loci[loci["chrom"] == making.chrom]
    block = one_hot_sequences(lineage.genome, loci, making.chrom, making.experiment.in_window)
    ledger = loss_ledger(block.loci)
    counts = {status: int(ledger.loc[ledger["status"] == status, "n"].sum()) for status in STATUSES}
    accounted = (
        list(block.loci["locus_id"]) == list(loci["locus_id"])
        and sum(counts.values()) == len(loci)
        and counts[KEPT] == len(block.one_hot)
    )
    seen = f"{len(loci)} loci = " + " + ".join(f"{n} {status}" for status, n in counts.items())
    return Landing(
        block,
        checks=[
            matches_genome(key, block, lineage.genome),
            making.check("every_locus_accounted_for", accounted, seen),
        ],
        metadata={
            "dagster/partition_row_count": counts[KEPT],
            "loci": len(block.loci),
            **{f"lost_{status.replace(' ', '_')}": n for status, n in counts.items() if status != KEPT},
            "loss_ledger": table(ledger, rows=len(ledger)),
        },
        preview=block.loci,
    )


def placed_loci(lineage: ExperimentLineage) -> pd.DataFrame:
    """The experiment's loci with their windows, in cherimoya's order; status before the sequence is looked at."""
    experiment, sizes = lineage.experiment, lineage.genome.chrom_sizes
    loci = interleave(read_loci(experiment.loci, sizes), lineage.chroms)
    return place_windows(loci, sizes, experiment.in_window, exclusion_regions(lineage), lineage.chroms)


def exclusion_regions(lineage: ExperimentLineage) -> pd.DataFrame | None:
    """The experiment's exclusion lists as one table, or None."""
    paths = lineage.experiment.exclusion_lists
    return read_loci(paths) if paths else None


def matches_genome(key: dg.AssetKey, block: SequenceBlock, genome: Genome) -> dg.AssetCheckResult:
    """Read every window back from the FASTA, letter by letter."""
    alphabet, width, wrong = np.array(list("ACGT")), block.one_hot.shape[-1], []
    kept = block.kept
    # Another number of rows than of kept loci is a finding of its own, of `every_locus_accounted_for`.
    for locus_id, start, row in zip(kept["locus_id"], kept["window_start"], block.one_hot, strict=False):
        letters = "".join(alphabet[row.argmax(axis=0)])
        if not (row.sum(axis=0) == 1).all() or letters != genome.fetch(block.chrom, int(start), int(start) + width):
            wrong.append(locus_id)
    description = f"{len(kept) - len(wrong)} of {len(kept)} windows equal the FASTA at their coordinates"
    return check(
        key, "matches_genome", not wrong, description + (f"; first that does not: {wrong[0]}" if wrong else "")
    )

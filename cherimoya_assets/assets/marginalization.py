"""marginalization_backgrounds (pooled), marginalization_effects [chrom], marginalization_report (pooled).

The backgrounds are drawn once over all chromosomes with a recorded seed and then split: drawing for each chromosome
would weigh chromosomes by their number and not by their loci.
"""

from collections.abc import Mapping

import dagster as dg
import numpy as np

from cherimoya_assets.analysis.loci import interleave, place_windows, read_loci
from cherimoya_assets.analysis.marginalization import (
    Backgrounds,
    EffectTable,
    draw_backgrounds,
    marginalization_effects,
    pool_effects,
)
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.mutagenesis.method import SaturationMutagenesis
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.made import Landing, Making
from cherimoya_assets.assets.one_hot_sequences import exclusion_regions
from cherimoya_assets.assets.versions import loaded_version
from cherimoya_assets.progress import Progress
from cherimoya_assets.reports.folder import render
from cherimoya_assets.reports.marginalization import effects_digest, write_marginalization_report

PAGE = "marginalization.html"


def backgrounds(making: Making) -> Landing:
    """The drawn background loci of one experiment."""
    lineage, experiment = making.lineage, making.experiment
    sizes = lineage.genome.chrom_sizes
    loci = interleave(read_loci(lineage.background_files, sizes), lineage.chroms)
    placed = place_windows(loci, sizes, experiment.in_window, exclusion_regions(lineage), lineage.chroms)
    drawn = draw_backgrounds(
        lineage.genome,
        placed,
        experiment.in_window,
        n_loci=experiment.marginalize.n_loci,
        shuffle=experiment.marginalize.shuffle,
        random_state=experiment.marginalize.random_state,
    )
    return Landing(
        drawn,
        metadata={"dagster/row_count": len(drawn.table), "available": drawn.n_available},
        preview=drawn.table,
    )


def effects(making: Making, backgrounds: Backgrounds) -> Landing:
    """What each motif does to the predictions on each background."""
    lineage, experiment, chrom = making.lineage, making.experiment, making.chrom
    with making.leased() as gpu:
        models = {fold: gpu.load(file, making.device) for fold, file in experiment.model.items()}
        making.inputs["model"] = loaded_version(lineage, models)
        motifs = read_motifs(lineage.marginalize_motif_file)
        found = marginalization_effects(
            models,
            lineage.genome,
            backgrounds.on(chrom),
            motifs,
            chrom=chrom,
            in_window=experiment.in_window,
            tolerance=experiment.parameters_of(SaturationMutagenesis).tolerance,
            batch_size=experiment.marginalize.batch_size,
            device=making.device,
            dtype=experiment.dtype,
            progress=Progress(making.context.log.info, making.step.name, chrom, making.step.unit),
        )
    table = found.table
    groups = len(next(iter(models.values())).signal_groups)
    wanted = len(motifs) * len(backgrounds.on(chrom).table) * 2 * groups
    finite = bool(np.isfinite(table[["before", "after"]].to_numpy(float)).all())
    return Landing(
        found,
        checks=[
            making.check("rows_complete", len(table) == wanted, f"{len(table)} rows of {wanted}"),
            making.check("finite", finite, "every prediction is a finite number" if finite else "NaN or infinity"),
        ],
        metadata={
            "dagster/partition_row_count": len(table),
            "backgrounds": found.n_backgrounds,
            "motifs": len(motifs),
            **gpu.memory(making.device),
        },
        preview=table,
    )


def report(making: Making, effects: Mapping[str, EffectTable]) -> Landing:
    """The page that shows the effects of all chromosomes together."""
    lineage, minimal = making.lineage, making.experiment.marginalize.minimal
    motifs, pooled = read_motifs(lineage.marginalize_motif_file), pooled_effects(lineage, effects)
    page = render(
        lambda folder: write_marginalization_report(pooled, motifs, folder, minimal=minimal, title=lineage.name), PAGE
    )
    return Landing(
        page,
        metadata={
            "motifs": len(motifs),
            "backgrounds": pooled.n_backgrounds,
            "strongest": dg.MetadataValue.md(effects_digest(pooled)),
            "report": making.path_for_people(page.index),
        },
    )


def pooled_effects(lineage: ExperimentLineage, effects: Mapping[str, EffectTable]) -> EffectTable:
    """The effects of all chromosomes together."""
    return pool_effects([effects[chrom] for chrom in lineage.chroms])

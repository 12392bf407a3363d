"""marginalization_backgrounds (pooled), marginalization_effects [chrom], marginalization_report (pooled).

The backgrounds are drawn once over all chromosomes with a recorded seed and then split: drawing for each chromosome
would weigh chromosomes by their number and not by their loci.
"""

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
from cherimoya_assets.assets.landing import Stopwatch, analysis_log, check, land, reader_errors
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.one_hot_sequences import exclusion_regions
from cherimoya_assets.assets.versions import current_inputs, loaded_version
from cherimoya_assets.progress import Progress
from cherimoya_assets.reports.folder import render
from cherimoya_assets.reports.marginalization import effects_digest, write_marginalization_report
from cherimoya_assets.resources.gpu import GPU_POOL, GPUResource

BACKGROUNDS, EFFECTS, REPORT = (
    "marginalization_backgrounds",
    "marginalization_effects",
    "marginalization_report",
)
PAGE = "marginalization.html"


def backgrounds_asset(lineage: ExperimentLineage) -> dg.AssetsDefinition:
    """The drawn background loci of one experiment."""
    experiment, key = lineage.experiment, lineage.key(BACKGROUNDS)
    parameters = experiment.marginalize.model_dump(include={"n_loci", "shuffle", "random_state"})
    deps = [lineage.key("negatives"), lineage.genome_key]
    if experiment.exclusion_lists:
        deps.append(lineage.key("exclusion_lists"))

    @dg.asset(
        key=key,
        deps=deps,
        description="Background loci that motifs are inserted into, drawn once over all chromosomes.",
        **lineage.spec(
            BACKGROUNDS,
            partitioned=False,
            # The selected chromosomes are no input that Dagster sees, but another selection is another draw.
            code_version=lineage.code_version(
                BACKGROUNDS, sorted(parameters.items()), experiment.in_window, lineage.chroms
            ),
            kinds={"pandas"},
        ),
    )
    def marginalization_backgrounds(context: dg.AssetExecutionContext):
        watch = Stopwatch()
        with reader_errors():
            inputs = current_inputs(lineage, key, None)
            sizes = lineage.genome.chrom_sizes
            loci = interleave(read_loci(lineage.background_files, sizes), lineage.chroms)
            placed = place_windows(loci, sizes, experiment.in_window, exclusion_regions(lineage), lineage.chroms)
            drawn = draw_backgrounds(lineage.genome, placed, experiment.in_window, **parameters)
        yield from land(
            lineage,
            key,
            drawn,
            stamp=lineage.stamp(BACKGROUNDS, inputs, {**parameters, "in_window": experiment.in_window}, "cpu"),
            watch=watch,
            metadata={"dagster/row_count": len(drawn.table), "available": drawn.n_available},
            preview=drawn.table,
        )

    return marginalization_backgrounds


def effects_asset(lineage: ExperimentLineage) -> dg.AssetsDefinition:
    """What each motif does to the predictions on each background."""
    experiment, key, source = lineage.experiment, lineage.key(EFFECTS), lineage.key(BACKGROUNDS)

    @dg.asset(
        key=key,
        ins={"backgrounds": dg.AssetIn(source)},
        deps=[lineage.key("model"), lineage.genome_key, lineage.marginalize_motifs_key],
        check_specs=lineage.checks(key, "rows_complete", "finite", partitioned=True),
        pool=GPU_POOL,
        description="Predictions before and after each motif is inserted: motif, locus, head, before, after.",
        **lineage.spec(
            EFFECTS,
            partitioned=True,
            code_version=lineage.code_version(
                EFFECTS,
                experiment.in_window,
                experiment.dtype,
                experiment.mutagenesis_tolerance,
                sorted(experiment.model),
                packages=("cherimoya", "tangermeme", "torch", "numba"),
            ),
            kinds={"pytorch"},
        ),
    )
    def marginalization_effects_(context: dg.AssetExecutionContext, gpu: GPUResource, backgrounds: Backgrounds):
        chrom = context.partition_key
        with reader_errors(), analysis_log(context.log), gpu.lease(experiment.device, context.log.info) as device:
            # Waiting for a device is no part of the work.
            watch = Stopwatch()
            inputs = current_inputs(lineage, key, chrom)
            models = {fold: gpu.load(file, device) for fold, file in experiment.model.items()}
            inputs["model"] = loaded_version(lineage, models)
            motifs = read_motifs(lineage.marginalize_motif_file)
            effects = marginalization_effects(
                models,
                lineage.genome,
                backgrounds.on(chrom),
                motifs,
                chrom=chrom,
                in_window=experiment.in_window,
                tolerance=experiment.mutagenesis_tolerance,
                batch_size=experiment.marginalize.batch_size,
                device=device,
                dtype=experiment.dtype,
                progress=Progress(context.log.info, EFFECTS, chrom, "backgrounds"),
            )
        table = effects.table
        groups = len(next(iter(models.values())).signal_groups)
        wanted = len(motifs) * len(backgrounds.on(chrom).table) * 2 * groups
        finite = np.isfinite(table[["before", "after"]].to_numpy(float)).all()
        yield from land(
            lineage,
            key,
            effects,
            stamp=lineage.stamp(
                EFFECTS,
                inputs,
                {name: getattr(experiment, name) for name in ("in_window", "dtype", "mutagenesis_tolerance")},
                device,
            ),
            watch=watch,
            checks=[
                check(key, "rows_complete", len(table) == wanted, f"{len(table)} rows of {wanted}"),
                check(key, "finite", finite, "every prediction is a finite number" if finite else "NaN or infinity"),
            ],
            metadata={
                "dagster/partition_row_count": len(table),
                "backgrounds": effects.n_backgrounds,
                "motifs": len(motifs),
                "device": device,
                **gpu.memory(device),
            },
            preview=table,
        )

    return marginalization_effects_


def report_asset(lineage: ExperimentLineage) -> dg.AssetsDefinition:
    """The page that shows the effects of all chromosomes together."""
    key, source = lineage.key(REPORT), lineage.key(EFFECTS)
    minimal = lineage.experiment.marginalize.minimal

    @dg.asset(
        key=key,
        ins={"effects": dg.AssetIn(source, partition_mapping=dg.AllPartitionMapping(), metadata={"pooled": True})},
        deps=[lineage.marginalize_motifs_key],
        description="What inserting each motif does to the predictions, sorted by its mean effect on the counts.",
        **lineage.spec(REPORT, partitioned=False, code_version=lineage.code_version(REPORT, minimal), kinds={"html"}),
    )
    def marginalization_report(context: dg.AssetExecutionContext, effects: dict):
        watch = Stopwatch()
        with reader_errors():
            inputs = current_inputs(lineage, key, None)
            motifs = read_motifs(lineage.marginalize_motif_file)
            pooled = pooled_effects(lineage, effects)
            report = render(
                lambda folder: write_marginalization_report(
                    pooled, motifs, folder, minimal=minimal, title=lineage.name
                ),
                PAGE,
            )
        yield from land(
            lineage,
            key,
            report,
            stamp=lineage.stamp(REPORT, inputs, {"minimal": minimal}, "cpu"),
            watch=watch,
            metadata={
                "motifs": len(motifs),
                "backgrounds": pooled.n_backgrounds,
                "strongest": dg.MetadataValue.md(effects_digest(pooled)),
                "report": dg.MetadataValue.path(lineage.store.for_people(tuple(key.path), None, report.index)),
            },
        )

    return marginalization_report


def pooled_effects(lineage: ExperimentLineage, effects: dict) -> EffectTable:
    """The effects of all chromosomes together."""
    return pool_effects([effects[chrom] for chrom in lineage.chroms])

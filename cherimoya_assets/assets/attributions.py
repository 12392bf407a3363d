"""attributions [chrom], one asset a head: hypothetical contribution scores, mean over folds. Runs on the GPU pool.

Both heads come from one sweep over the sequences, so they are outputs of one step; either can be selected alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from cherimoya_assets.analysis.attribution_chunks import Resumed
from cherimoya_assets.analysis.attributions import AttributionBlock, attribute
from cherimoya_assets.analysis.one_hot import SequenceBlock
from cherimoya_assets.assets.landing import Stopwatch, analysis_log, check, land, reader_errors, refusals
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.made import dependencies, spec_of
from cherimoya_assets.assets.versions import current_inputs, loaded_version
from cherimoya_assets.progress import Progress
from cherimoya_assets.resources.chunks import StoredChunks
from cherimoya_assets.resources.gpu import GPU_POOL, GPUResource
from cherimoya_assets.steps import Step


def attributions_asset(lineage: ExperimentLineage, step: Step) -> dg.AssetsDefinition:
    """The assets of one experiment, `[experiment, head, attributions]` for each head."""
    experiment = lineage.experiment
    keys = dict(zip(lineage.heads, lineage.keys_of(step), strict=True))
    given, deps = dependencies(lineage, keys[lineage.heads[0]])
    code_version = lineage.code_version(step)

    @dg.multi_asset(
        name=f"{lineage.name}__{step.name}",
        outs={
            head: dg.AssetOut(key=key, is_required=False, **spec_of(lineage, step, key)) for head, key in keys.items()
        },
        ins=given,
        deps=deps,
        check_specs=[spec for key in keys.values() for spec in lineage.check_specs(step, key)],
        partitions_def=lineage.partitions,
        can_subset=True,
        pool=GPU_POOL,
    )
    def attributions(context: dg.AssetExecutionContext, gpu: GPUResource, sequences: SequenceBlock) -> Iterator[Any]:
        chrom = context.partition_key
        heads = tuple(head for head in lineage.heads if keys[head] in context.selected_asset_keys)
        progress = Progress(context.log.info, step.name, chrom, step.unit)
        resumed = Resumed(0, 0, 0, 0)

        def resume(there: Resumed) -> None:
            nonlocal resumed
            resumed = there
            context.log.info(
                f"resumed: {there.chunks} of {there.of_chunks} chunks were there, {there.loci} of {there.of_loci} loci"
            )
            progress.resumed(there.loci, there.of_loci)

        chunks = StoredChunks(
            lineage.store,
            lineage.name,
            chrom,
            heads=heads,
            all_heads=lineage.heads,
            code_version=code_version,
            log=context.log.warning,
        )
        with reader_errors(), analysis_log(context.log), gpu.lease(experiment.device, context.log.info) as device:
            # Waiting for a device is no part of the work.
            watch = Stopwatch()
            inputs = current_inputs(lineage, keys[heads[0]], chrom)
            models = {fold: gpu.load(file, device) for fold, file in experiment.model.items()}
            inputs["model"] = loaded_version(lineage, models)
            blocks, reports = attribute(
                models,
                sequences,
                outputs=heads,
                method=experiment.method,
                attr_window=experiment.attr_window,
                group=experiment.group,
                batch_size=experiment.batch_size,
                dtype=experiment.dtype,
                device=device,
                progress=progress,
                chunks=chunks,
                resumed=resume,
            )
        for fold, said in next(iter(reports.values()))["folds"].items():
            if "fallback" in said:
                context.log.warning(f"fold {fold}: {said['fallback']}")
        computed = 1 - resumed.loci / resumed.of_loci if resumed.of_loci else 1.0
        for head in heads:
            block, report = blocks[head], reports[head]
            results = attribution_checks(keys[head], block, sequences, lineage, report["folds"])
            if refusals(results):
                # What is refused is not kept in parts either: the next run computes all of it.
                chunks.forget()
            yield from land(
                lineage,
                keys[head],
                block,
                stamp=lineage.stamp(step, inputs, {"head": head, "report": report}, device),
                watch=watch,
                checks=results,
                metadata={
                    "dagster/partition_row_count": len(block.scores),
                    "loci_per_second": computed * len(block.scores) / watch.seconds,
                    "mean_absolute_projected": float(np.abs(block.projected).mean()) if len(block.scores) else 0.0,
                    "folds": len(report["folds"]),
                    "report": dg.MetadataValue.json(report),
                    **experiment.method.facts(head, report["folds"]),
                    **gpu.memory(device),
                },
                preview=attribution_preview(block),
            )
        # Dagster comes back here when the I/O manager has committed the last of them, and not before. What a kill in
        # between leaves behind is what the next landing of the partition removes.
        chunks.forget()

    return attributions


def attribution_checks(
    key: dg.AssetKey,
    block: AttributionBlock,
    sequences: SequenceBlock,
    lineage: ExperimentLineage,
    folds: Mapping[str, Mapping[str, Any]],
) -> list[dg.AssetCheckResult]:
    """Whether the scores are what they claim to be, before anything stands on them.

    `folds` holds what each fold's computation said of itself.
    """
    kept = sequences.kept
    width = block.scores.shape[-1]
    left = sequences.one_hot.shape[-1] // 2 - width // 2
    same_rows = (
        list(block.locus_id) == list(kept["locus_id"])
        and np.array_equal(block.window_start, kept["window_start"].to_numpy() + left)
        and np.array_equal(block.one_hot, sequences.one_hot[:, :, left : left + width])
    )
    infinite = int((~np.isfinite(block.scores)).sum())
    wanted = lineage.experiment.model
    missing = sorted(wanted.keys() - set(folds))
    complete = f"{len(folds)} of {len(wanted)} folds" + (f"; missing: {', '.join(missing)}" if missing else "")
    return [
        check(key, "rows_match_sequences", same_rows, f"{len(block.scores)} rows for {len(kept)} kept loci, in order"),
        check(key, "finite", not infinite, f"{infinite} of {block.scores.size} are not finite"),
        check(key, "folds_complete", set(folds) == set(wanted), complete),
        *(
            check(key, verdict.name, verdict.passed, verdict.seen)
            for verdict in lineage.experiment.method.verdicts(block.head, block.scores, folds)
        ),
    ]


def attribution_preview(block: AttributionBlock) -> pd.DataFrame:
    """The strongest loci: where they are and which base the model looks at most."""
    projected = block.projected
    order = np.argsort(-np.abs(projected).max(axis=1)) if len(projected) else np.array([], int)
    peak = np.abs(projected[order]).argmax(axis=1) if len(order) else order
    return pd.DataFrame(
        {
            "locus_id": np.asarray(block.locus_id)[order],
            "strongest_position": np.asarray(block.window_start)[order] + peak,
            "score": projected[order, peak] if len(order) else np.array([], float),
        }
    )

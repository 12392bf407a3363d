"""cherimoya's own parameter files for an experiment, so that its commands run on what was exported.

What belongs here: the keys of `cherimoya attribute`, `seqlets` and `marginalize` (0.3.1), with this experiment's
values. What does not: reading such files (`experiment/cherimoya_json.py`).

Names of outputs are relative, as the pipeline writes them: run the commands in the exported folder. Names of inputs
are absolute, so that the folder can be moved.
"""

from __future__ import annotations

from typing import Any

from cherimoya_assets.analysis.deep_lift import DeepLiftShap
from cherimoya_assets.analysis.models import family_of
from cherimoya_assets.assets.lineage import ExperimentLineage

OUTPUTS = {"counts": "logcounts", "profile": "profile"}
"""What cherimoya calls the heads."""

ATTRIBUTE_BATCH, MARGINALIZE_BATCH = 64, 512
"""cherimoya's defaults; it has no batch size that follows the free memory."""


def cherimoya_parameters(lineage: ExperimentLineage, head: str, device: str) -> dict[str, dict[str, Any]]:
    """The parameters of each of cherimoya's steps, by the step's name.

    cherimoya attributes one Cherimoya model at a time: for several folds, or for another kind of model, there is no
    `attribute` and no `marginalize`.
    """
    models = list(lineage.experiment.model.values())
    steps = {"seqlets": _seqlets(lineage)}
    if len(models) == 1 and family_of(models[0]).read_by_cherimoya:
        steps["attribute"] = _attribute(lineage, head, device)
        if lineage.marginalizes:
            steps["marginalize"] = _marginalize(lineage, device)
    return steps


def _attribute(lineage: ExperimentLineage, head: str, device: str) -> dict[str, Any]:
    experiment = lineage.experiment
    return {
        **_shared(lineage, device),
        **_filenames(lineage),
        "loci": _paths(experiment.loci),
        "algorithm": experiment.algorithm,
        "output": OUTPUTS[head],
        "group": experiment.group,
        "attr_window": experiment.attr_window,
        **experiment.parameters_of(DeepLiftShap).model_dump(),
        "batch_size": experiment.batch_size or ATTRIBUTE_BATCH,
        "dtype": experiment.dtype,
    }


def _seqlets(lineage: ExperimentLineage) -> dict[str, Any]:
    return {
        **lineage.experiment.seqlets.model_dump(),
        **_filenames(lineage),
        "chroms": list(lineage.chroms),
        "loci": _paths(lineage.experiment.loci),
        "output_filename": f"{lineage.name}.seqlets.bed",
        "verbose": False,
        "skip": False,
    }


def _marginalize(lineage: ExperimentLineage, device: str) -> dict[str, Any]:
    parameters = lineage.experiment.marginalize
    shared = _shared(lineage, device)
    if lineage.experiment.out_window is not None:
        shared["out_window"] = lineage.experiment.out_window
    return {
        **shared,
        "loci": _paths(lineage.background_files),
        "motifs": str(lineage.marginalize_motif_file),
        "n_loci": parameters.n_loci,
        "shuffle": parameters.shuffle,
        "random_state": parameters.random_state,
        "minimal": parameters.minimal,
        "attributions": False,
        "batch_size": parameters.batch_size or MARGINALIZE_BATCH,
        "output_filename": f"{lineage.name}_marginalize/",
    }


def _shared(lineage: ExperimentLineage, device: str) -> dict[str, Any]:
    experiment = lineage.experiment
    (model,) = experiment.model.values()
    return {
        "model": str(model.path),
        # The plain file: tangermeme reads through pyfaidx, which cannot read a gzipped FASTA.
        "sequences": str(lineage.genome.fasta),
        "exclusion_lists": _paths(experiment.exclusion_lists) or None,
        "chroms": list(lineage.chroms),
        "in_window": experiment.in_window,
        "device": device,
        "compile": False,
        "verbose": False,
        "skip": False,
    }


def _filenames(lineage: ExperimentLineage) -> dict[str, str]:
    return {
        "ohe_filename": f"{lineage.name}.attributions.ohe.npz",
        "attr_filename": f"{lineage.name}.attributions.attr.npz",
        "idx_filename": f"{lineage.name}.attributions.idxs.npy",
    }


def _paths(paths: tuple[Any, ...]) -> list[str]:
    return [str(path) for path in paths]

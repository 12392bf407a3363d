"""The graph as it is put together: stages, shared inputs, names, and what makes an asset out of date."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import current_inputs
from cherimoya_assets.build import stages
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.errors import ExperimentError
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets_tests.tiny_experiment import CHROMS, tiny_experiment

SHAPES = {
    "everything": {"output": ["counts", "profile"], "exclusion_lists": ["x.bed"]},
    "one head": {},
    "no motifs": {"motifs": None},
    "no negatives": {"negatives": None},
    "motifs for the marginalization only": {"motifs": None, "marginalize": {"motifs": "motifs.meme"}},
    "backgrounds of its own": {"negatives": None, "marginalize": {"loci": "negatives.bed"}},
    "deep_lift_shap": {"algorithm": "deep_lift_shap"},
    "one chromosome": {"chroms": ["chrB"]},
    "folds": {"model": {"a": "model.torch", "b": "model.torch"}},
}


def lineage_of(folder: Path, changes=None) -> ExperimentLineage:
    return ExperimentLineage(read_experiment(tiny_experiment(folder, changes)), Home(folder / "home"))


def defs_of(*lineages: ExperimentLineage) -> dg.Definitions:
    return build_defs([lineage.experiment for lineage in lineages], lineages[0].home.root)


@pytest.fixture(params=SHAPES)
def shaped(request, tmp_path):
    """(lineage, definitions) of experiments of every shape."""
    lineage = lineage_of(tmp_path, SHAPES[request.param])
    return lineage, defs_of(lineage)


def test_stages_hold_every_asset_exactly_once(shaped):
    lineage, defs = shaped
    materializable = {node.key for node in defs.resolve_asset_graph().asset_nodes if node.is_materializable}
    staged = [key for stage in stages(lineage) for key in stage.keys]
    assert sorted(staged) == sorted(materializable)


def test_a_stage_is_wholly_by_chromosome_or_wholly_pooled(shaped):
    lineage, defs = shaped
    graph = defs.resolve_asset_graph()
    for stage in stages(lineage):
        assert {graph.get(key).is_partitioned for key in stage.keys} == {stage.partitioned}, stage.name


def test_parents_are_made_in_the_same_stage_or_before(shaped):
    lineage, defs = shaped
    graph = defs.resolve_asset_graph()
    place = {key: number for number, stage in enumerate(stages(lineage)) for key in stage.keys}
    for key, number in place.items():
        for parent in graph.get(key).parent_keys:
            assert not graph.get(parent).is_materializable or place[parent] <= number, (parent, key)


def test_every_stage_is_a_job_of_just_its_assets(shaped):
    lineage, defs = shaped
    for number, stage in enumerate(stages(lineage), start=1):
        job = defs.resolve_job_def(f"{lineage.name}__{number}_{stage.name}")
        assert job.asset_layer.executable_asset_keys == set(stage.keys)
        assert (job.partitions_def is not None) == stage.partitioned
        if stage.partitioned:
            assert job.partitions_def.get_partition_keys() == list(lineage.chroms)
        assert job.tags["experiment"] == lineage.name


def test_the_definitions_load(shaped):
    dg.Definitions.validate_loadable(shaped[1])


def test_chromosomes_are_the_largest_first(tmp_path):
    assert lineage_of(tmp_path).chroms == tuple(sorted(CHROMS, key=lambda chrom: -CHROMS[chrom]))


def test_what_an_experiment_does_not_name_is_not_in_its_graph(tmp_path):
    def steps(folder, changes):
        lineage = lineage_of(folder, changes)
        return {key.path[-1] for stage in stages(lineage) for key in stage.keys}

    everything = steps(tmp_path / "all", {})
    of_motifs = {"annotated_seqlets"}
    of_backgrounds = {"marginalization_backgrounds", "marginalization_effects", "marginalization_report"}
    assert everything - steps(tmp_path / "no motifs", {"motifs": None}) == of_motifs | of_backgrounds
    assert everything - steps(tmp_path / "no negatives", {"negatives": None}) == of_backgrounds


def test_two_experiments_on_one_genome_and_one_motif_database_meet_in_the_lineage(tmp_path):
    first = lineage_of(tmp_path, {"name": "first"})
    second = ExperimentLineage(read_experiment(tiny_experiment(tmp_path, {"name": "second"})), first.home)
    graph = defs_of(first, second).resolve_asset_graph()
    shared = {node.key for node in graph.asset_nodes if node.group_name == "shared_inputs"}
    assert (
        shared
        == {first.input_key("genome"), first.input_key("motifs")}
        == {second.input_key("genome"), second.input_key("motifs")}
    )
    for lineage in (first, second):
        assert first.input_key("genome") in graph.get(lineage.key("one_hot_sequences")).parent_keys
        assert first.input_key("motifs") in graph.get(lineage.key("counts", "annotated_seqlets")).parent_keys
    # All else is the experiment's own.
    assert len(list(graph.asset_nodes)) == len(shared) + 2 * len(
        [node for node in graph.asset_nodes if node.group_name == "first"]
    )


def test_two_experiments_with_other_chromosomes_share_the_versions_of_their_genome(tmp_path):
    """It is observed on the chromosomes of both, once each."""
    first = lineage_of(tmp_path, {"name": "first", "chroms": ["chrA", "chrB"]})
    file = tiny_experiment(tmp_path, {"name": "second", "chroms": ["chrC", "chrB"]})
    second = ExperimentLineage(read_experiment(file), first.home)
    defs = defs_of(first, second)
    assert defs.resolve_asset_graph().get(first.input_key("genome")).partitions_def.get_partition_keys() == [
        "chrA",
        "chrB",
        "chrC",
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        observed = job.execute_in_process(instance=instance, asset_selection=[first.input_key("genome")])
    found = {event.partition: event for event in observed.get_asset_observation_events()}
    assert found.keys() == set(CHROMS)
    for lineage in (first, second):
        for chrom in lineage.chroms:
            stamped = current_inputs(lineage, lineage.key("one_hot_sequences"), chrom)[f"genome[{chrom}]"]
            assert found[chrom].asset_observation_data.asset_observation.data_version == stamped


def test_two_files_of_one_name_are_two_genomes(tmp_path):
    first = lineage_of(tmp_path / "a", {"name": "first"})
    second = lineage_of(tmp_path / "b", {"name": "second"})
    assert first.input_key("genome") != second.input_key("genome")
    assert first.input_key("genome").path[-1].startswith("genome_fa_")


def test_two_experiments_of_one_name_are_refused_with_their_files(tmp_path):
    lineages = [lineage_of(tmp_path / folder) for folder in ("a", "b")]
    with pytest.raises(ExperimentError, match=r"two experiments are named tiny\. Rename one") as refused:
        defs_of(*lineages)
    assert all(str(lineage.experiment.source) in str(refused.value) for lineage in lineages)


def code_versions(folder: Path, changes=None) -> dict[str, str]:
    graph = defs_of(lineage_of(folder, changes)).resolve_asset_graph()
    return {"/".join(n.key.path[1:]): n.code_version for n in graph.asset_nodes if n.is_materializable}


@pytest.mark.parametrize(
    ("changes", "out_of_date"),
    [
        ({}, set()),
        ({"batch_size": 3, "device": "auto"}, set()),
        ({"annotation": {"n_jobs": 1}}, set()),
        ({"seqlets": {"threshold": 0.02}}, {"counts/seqlets"}),
        ({"annotation": {"n_cache": 100}}, {"counts/annotated_seqlets"}),
        ({"attr_window": 22}, {"counts/attributions"}),
        ({"algorithm": "deep_lift_shap"}, {"counts/attributions"}),
        ({"group": None}, {"counts/attributions"}),
        ({"modisco": {"window": 20, "size": 10, "trim_size": 10, "n_seqlets": 500}}, {"counts/modisco_patterns"}),
        ({"marginalize": {"n_loci": 3}}, {"marginalization_backgrounds"}),
        ({"marginalize": {"n_loci": 4, "minimal": False}}, {"marginalization_report"}),
        # A fold of another name is the same model.
        ({"model": {"fold_a": "model.torch"}}, set()),
        (
            {"dtype": "bfloat16"},
            {"counts/attributions", "marginalization_effects"},
        ),
        (
            {"in_window": 152},
            {"one_hot_sequences", "marginalization_backgrounds", "marginalization_effects"},
        ),
    ],
)
def test_a_parameter_makes_out_of_date_what_reads_it_and_nothing_else(tmp_path, changes, out_of_date):
    """What stands on it is found by Dagster, from the data versions of its parents."""
    before, after = code_versions(tmp_path / "a"), code_versions(tmp_path / "b", changes)
    assert before.keys() == after.keys()
    assert {asset for asset in before if before[asset] != after[asset]} == out_of_date


@pytest.mark.parametrize(
    ("kind", "output", "in_float64"),
    [
        ("cherimoya", ["counts", "profile"], None),
        ("bpnet", ["counts"], None),
        ("bpnet", ["counts", "profile"], ["profile"]),
        ("basepairnet", ["profile"], ["profile"]),
        ("chrombpnet", ["counts"], ["counts"]),
    ],
)
def test_deep_lift_in_float64_is_a_parameter_of_what_has_it(tmp_path, kind, output, in_float64):
    """Whatever had its numbers before keeps its code version, which `golden` holds of Cherimoyas."""
    model = {"path": "model.torch", "kind": kind, "trusted": True, "sha256": "0" * 64}
    for algorithm, expected in (("deep_lift_shap", in_float64), ("saturation_mutagenesis", None)):
        folder = tmp_path / algorithm
        lineage = lineage_of(folder, {"model": model, "output": output, "algorithm": algorithm})
        (parameters,) = lineage.steps["attributions"].parameters
        assert parameters.values(lineage.experiment).get("deep_lift_float64") == expected

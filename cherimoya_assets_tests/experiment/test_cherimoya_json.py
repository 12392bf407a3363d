"""cherimoya's own parameter files mean here what they mean there: every key of every step, from cherimoya's own list.

The tables name each key of `cherimoya_cli/defaults.py`, read or left out. A release that adds, drops or renames one
fails here.
"""

from __future__ import annotations

import copy
import json
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from cherimoya_cli import defaults

from cherimoya_assets.analysis.methods import METHODS
from cherimoya_assets.errors import ExperimentError, Problems
from cherimoya_assets.experiment import Experiment, read_experiment
from cherimoya_assets.experiment.cherimoya_json import EVERY
from cherimoya_assets.experiment.reading import PATH_KEYS

SHARED = {
    "sequences": ("g.fa", "sequences"),
    "loci": (["a.bed", "b.bed"], "loci"),
    "model": ("m.torch", "model.model.path"),
    "exclusion_lists": (["x.bed"], "exclusion_lists"),
    "chroms": (["chr8", "chr20"], "chroms"),
    "in_window": (1500, "in_window"),
    "batch_size": (7, "batch_size"),
    "device": ("cpu", "device"),
}

ATTRIBUTE = {
    **SHARED,
    "dtype": ("bfloat16", "dtype"),
    "algorithm": ("saturation_mutagenesis", "algorithm"),
    "output": ("profile", "output.0"),
    "group": (1, "group"),
    "attr_window": (444, "attr_window"),
    "n_shuffles": (11, "deep_lift_shap.n_shuffles"),
    "warning_threshold": (0.5, "deep_lift_shap.warning_threshold"),
    "random_state": (3, "deep_lift_shap.random_state"),
    "fast": (False, "deep_lift_shap.fast"),
}

SEQLETS = {
    "loci": SHARED["loci"],
    "chroms": SHARED["chroms"],
    "threshold": (0.05, "seqlets.threshold"),
    "min_seqlet_len": (5, "seqlets.min_seqlet_len"),
    "max_seqlet_len": (17, "seqlets.max_seqlet_len"),
    "additional_flanks": (1, "seqlets.additional_flanks"),
}

ANNOTATION = {
    "n_score_bins": (90, "annotation.n_score_bins"),
    "n_median_bins": (900, "annotation.n_median_bins"),
    "n_target_bins": (80, "annotation.n_target_bins"),
    "n_cache": (200, "annotation.n_cache"),
    "reverse_complement": (False, "annotation.reverse_complement"),
    "n_jobs": (2, "annotation.n_jobs"),
}

MODISCO = {"n_seqlets": (4000, "modisco.n_seqlets")}

MARGINALIZE = {
    **SHARED,
    "loci": (["n.bed"], "marginalize.loci"),
    "motifs": ("m.meme", "marginalize.motifs"),
    "out_window": (386, "out_window"),
    "batch_size": (9, "marginalize.batch_size"),
    "n_loci": (12, "marginalize.n_loci"),
    "shuffle": (True, "marginalize.shuffle"),
    "random_state": (4, "marginalize.random_state"),
    "minimal": (False, "marginalize.minimal"),
}

SPEED = {"compile", "compile_mode", "verbose"}
"""Change no number."""

PLACES = {"ohe_filename", "attr_filename", "idx_filename", "seqlet_filename", "output_filename", "output_folder"}
"""Where results lie is the store's to know."""

LEFT_OUT = {*SPEED, *PLACES, "skip", "dry_run", "attributions"}
"""`attributions` draws pictures into bpnet-lite's report and changes no number."""

OF_THE_EXPERIMENT = {"motifs", "sequences"}
"""An annotation step looks at the experiment's genome and motif database."""

PIPELINE_ONLY = {"preprocessing_parameters", "fit_parameters", "signals", "controls"}
"""Training is not our subject."""


def written(folder: Path, raw: object, name: str = "k562.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(raw))
    return path


def at(experiment: Experiment, place: str) -> Any:
    """What an experiment says at `a.b.0`, with paths relative to its folder and without JSON's lists."""

    def step(value: Any, part: str) -> Any:
        if isinstance(value, dict):
            return value[part]
        if part in METHODS:
            return value.parameters_of(METHODS[part])
        return value[int(part)] if isinstance(value, tuple) else getattr(value, part)

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return value.relative_to(experiment.folder).as_posix() if isinstance(value, Path) else value

    return plain(reduce(step, place.split("."), experiment))


def changed(own: dict[str, Any], table: dict[str, tuple[Any, str]]) -> dict[str, Any]:
    """cherimoya's defaults with another value for every key that is read."""
    assert table.keys() <= own.keys()
    for key, (value, _) in table.items():
        assert value != own[key], f"{key} must differ from cherimoya's default, or reading it proves nothing"
    return {**own, **{key: value for key, (value, _) in table.items()}}


@pytest.mark.parametrize(
    ("own", "read"),
    [
        (defaults.default_attribute_parameters, set(ATTRIBUTE)),
        (defaults.default_seqlet_parameters, set(SEQLETS)),
        (defaults.default_annotation_parameters, {*ANNOTATION, *OF_THE_EXPERIMENT}),
        (defaults.default_marginalize_parameters, set(MARGINALIZE)),
        (defaults.default_pipeline_parameters["attribute_parameters"], set(ATTRIBUTE) - {"sequences", "model"}),
        (defaults.default_pipeline_parameters["seqlet_parameters"], set(SEQLETS)),
        (defaults.default_pipeline_parameters["annotation_parameters"], {*ANNOTATION, *OF_THE_EXPERIMENT}),
        (defaults.default_pipeline_parameters["modisco_motifs_parameters"], set(MODISCO)),
        (defaults.default_pipeline_parameters["modisco_report_parameters"], OF_THE_EXPERIMENT),
        (defaults.default_pipeline_parameters["marginalize_parameters"], set(MARGINALIZE)),
    ],
    ids=["attribute", "seqlets", "annotation", "marginalize", *(f"pipeline {n}" for n in range(1, 7))],
)
def test_every_key_of_cherimoya_is_read_or_left_out_on_purpose(own, read):
    assert own.keys() - LEFT_OUT <= read, "keys that cherimoya has and the tables here have not"
    assert not read & LEFT_OUT


def test_every_section_of_a_pipeline_is_known():
    sections = {
        "attribute_parameters",
        "seqlet_parameters",
        "annotation_parameters",
        "modisco_motifs_parameters",
        "modisco_report_parameters",
        "marginalize_parameters",
    }
    top = {*SHARED, "out_window", "name", "dtype", "random_state", "negatives", "motifs"} - {"chroms"}
    assert defaults.default_pipeline_parameters.keys() - LEFT_OUT - PIPELINE_ONLY == sections | top


def test_an_attribute_file_is_an_experiment_with_all_its_keys(tmp_path):
    path = written(tmp_path, changed(defaults.default_attribute_parameters, ATTRIBUTE))
    experiment = read_experiment(path)
    assert {key: at(experiment, place) for key, (_, place) in ATTRIBUTE.items()} == {
        key: value for key, (value, _) in ATTRIBUTE.items()
    }
    assert experiment.name == "k562"


def test_a_marginalize_file_is_an_experiment_with_all_its_keys(tmp_path):
    path = written(tmp_path, changed(defaults.default_marginalize_parameters, MARGINALIZE))
    experiment = read_experiment(path)
    assert {key: at(experiment, place) for key, (_, place) in MARGINALIZE.items()} == {
        key: value for key, (value, _) in MARGINALIZE.items()
    }
    assert at(experiment, "loci") == ["n.bed"]
    assert at(experiment, "motifs") == "m.meme"


@pytest.mark.parametrize(
    ("section", "own", "table"),
    [
        ("seqlets", defaults.default_seqlet_parameters, SEQLETS),
        ("annotation", defaults.default_annotation_parameters, ANNOTATION),
        ("modisco", defaults.default_pipeline_parameters["modisco_motifs_parameters"], MODISCO),
        ("marginalize", defaults.default_marginalize_parameters, MARGINALIZE),
    ],
)
def test_a_step_file_is_named_as_a_section_of_a_yaml_experiment(tmp_path, section, own, table):
    (tmp_path / "steps").mkdir()
    written(tmp_path / "steps", changed(own, table), "step.json")
    path = tmp_path / "x.yaml"
    path.write_text(f"{{name: x, sequences: g, loci: l, model: m, {section}: steps/step.json}}")
    experiment = read_experiment(path)
    mine = {key: (value, place) for key, (value, place) in table.items() if place.startswith(f"{section}.")}
    assert mine
    for value, place in mine.values():
        beside = {"marginalize.loci": ["steps/n.bed"], "marginalize.motifs": "steps/m.meme"}
        assert at(experiment, place) == beside.get(place, value), place
    assert at(experiment, "loci") == ["l"], "a step does not decide what is attributed"


def test_a_pipeline_file_is_an_experiment_with_the_keys_of_every_section(tmp_path):
    raw = copy.deepcopy(defaults.default_pipeline_parameters)
    raw |= {"name": "my-cells", "sequences": "g.fa", "loci": ["a.bed"], "negatives": ["n.bed"], "motifs": "top.meme"}
    raw |= {"model": "m.torch", "in_window": 1500, "out_window": 386, "random_state": 9}
    sections = {
        "attribute_parameters": {k: v for k, v in ATTRIBUTE.items() if k in raw["attribute_parameters"]},
        "seqlet_parameters": {k: v for k, v in SEQLETS.items() if k not in ("loci", "chroms")},
        "annotation_parameters": ANNOTATION,
        "modisco_motifs_parameters": MODISCO,
        "marginalize_parameters": {
            k: v
            for k, v in MARGINALIZE.items()
            if v[1].startswith("marginalize") and k in raw["marginalize_parameters"]
        },
    }
    for section, table in sections.items():
        raw[section] = changed(raw[section], table)
    experiment = read_experiment(written(tmp_path, raw))
    for table in sections.values():
        for key, (value, place) in table.items():
            assert at(experiment, place) == value, key
    assert experiment.name == "my_cells"
    top = {"sequences": "g.fa", "negatives": ["n.bed"], "motifs": "top.meme", "in_window": 1500, "out_window": 386}
    assert {key: at(experiment, key) for key in top} == top


def test_what_a_pipeline_file_leaves_to_its_top_level_comes_from_there(tmp_path):
    raw = copy.deepcopy(defaults.default_pipeline_parameters)
    raw |= {"name": "x", "sequences": "g.fa", "loci": "a.bed", "model": "m", "random_state": 9, "dtype": "float16"}
    raw |= {"device": "cpu"}
    experiment = read_experiment(written(tmp_path, raw))
    assert (experiment.method.random_state, experiment.marginalize.random_state) == (9, 9)
    assert (experiment.dtype, experiment.device) == ("float16", "cpu")
    assert experiment.attr_window == defaults.default_attribute_parameters["attr_window"]
    assert experiment.marginalize.loci is None, "the negatives, as in cherimoya"


@pytest.mark.parametrize("step", ["attribute", "pipeline"])
def test_cherimoyas_own_defaults_are_ours_or_are_kept(tmp_path, step):
    """A file that says nothing but what it must gives cherimoya's defaults, also where ours differ."""
    must = {"sequences": "g.fa", "loci": "a.bed", "model": "m", "attr_window": 400}
    sections = {
        "seqlet_parameters": {},
        "annotation_parameters": {},
        "modisco_motifs_parameters": {},
        "marginalize_parameters": {},
    }
    raw = must if step == "attribute" else {**must, "attribute_parameters": {}, **sections}
    experiment = read_experiment(written(tmp_path, raw))
    speed_and_place = {*SHARED, "batch_size"} - {"in_window"}
    expected = {
        place: defaults.default_attribute_parameters[key]
        for key, (_, place) in ATTRIBUTE.items()
        if key not in speed_and_place
    }
    expected["output.0"] = "counts"
    if step == "pipeline":
        pipeline = defaults.default_pipeline_parameters
        for table, own in (
            (SEQLETS, defaults.default_seqlet_parameters),
            (ANNOTATION, defaults.default_annotation_parameters),
            (MODISCO, pipeline["modisco_motifs_parameters"]),
            ({k: v for k, v in MARGINALIZE.items() if k not in SHARED}, defaults.default_marginalize_parameters),
        ):
            expected |= {place: own[key] for key, (_, place) in table.items() if key not in (*SHARED, "out_window")}
    assert {place: at(experiment, place) for place in expected} == expected


def test_a_null_means_what_it_means_in_cherimoya(tmp_path):
    must = {"sequences": "g.fa", "loci": "a.bed", "model": "m", "motifs": "x.meme"}
    attribute = read_experiment(written(tmp_path, {**must, "attr_window": 400, "group": None, "chroms": None}))
    assert attribute.group is None, "all groups together"
    assert attribute.chroms is None
    assert read_experiment(written(tmp_path, {**must, "n_loci": None})).marginalize.n_loci == EVERY
    # In a pipeline, null leaves it to the default.
    raw = {**must, "attribute_parameters": {"group": None}, "marginalize_parameters": {"n_loci": None}}
    pipeline = read_experiment(written(tmp_path, raw))
    assert (pipeline.group, pipeline.marginalize.n_loci) == (0, 100)


def test_logcounts_are_the_counts(tmp_path):
    must = {"sequences": "g.fa", "loci": "a.bed", "model": "m", "attr_window": 400}
    assert read_experiment(written(tmp_path, {**must, "output": "logcounts"})).output == ("counts",)


@pytest.mark.parametrize(
    ("name", "expected"), [("k562-rep1.attribute.json", "k562_rep1"), ("5cells.json", "experiment_5cells")]
)
def test_a_file_without_a_name_is_named_after_itself(tmp_path, name, expected):
    raw = {"sequences": "g.fa", "loci": "a.bed", "model": "m"}
    assert read_experiment(written(tmp_path, raw, name)).name == expected


def test_what_pipeline_json_writes_is_read(tmp_path):
    """`cherimoya pipeline-json` itself wrote this file."""
    from argparse import Namespace

    from cherimoya_cli.commands import pipeline_json

    pipeline_json.run(
        Namespace(
            sequences="g.fa",
            peaks=["a.bed"],
            negatives=["n.bed"],
            inputs=["s.bw"],
            controls=None,
            name="cells",
            motifs="m.meme",
            unstranded=True,
            fragments=False,
            pos_shift=0,
            neg_shift=0,
            paired_end=False,
            scale_factor=1,
            output=str(tmp_path / "cells.json"),
        )
    )
    raw = json.loads((tmp_path / "cells.json").read_text()) | {"model": "cells.torch"}
    experiment = read_experiment(written(tmp_path, raw, "cells.json"))
    assert (experiment.name, experiment.algorithm, experiment.output) == ("cells", "deep_lift_shap", ("counts",))
    assert {key: at(experiment, key) for key in PATH_KEYS} == {
        "sequences": "g.fa",
        "loci": ["a.bed"],
        "negatives": ["n.bed"],
        "exclusion_lists": [],
        "motifs": "m.meme",
    }


@pytest.mark.parametrize("given", [(), ("model",), ("loci",), ("negatives",), ("model", "loci", "negatives")])
def test_a_null_is_what_the_pipeline_makes_itself(tmp_path, monkeypatch, given):
    """`cherimoya pipeline` itself says what it goes on with, in the files of its steps."""
    from argparse import Namespace

    from cherimoya_cli.commands import pipeline

    own = {"model": "mine.torch", "loci": ["mine.bed"], "negatives": ["mine.negatives.bed"]}
    raw = copy.deepcopy(defaults.default_pipeline_parameters)
    raw |= {"name": "my-cells", "sequences": "g.fa", "motifs": "m.meme", "signals": ["s.bw"], "dry_run": True}
    raw |= {key: own[key] for key in given}
    path = written(tmp_path, raw)
    for name in ("g.fa", "m.meme", "s.bw", "mine.bed", "mine.negatives.bed"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    pipeline.run(Namespace(parameters=str(path)))
    attribute, marginalize = (
        json.loads((tmp_path / f"my-cells.{step}.json").read_text()) for step in ("attribute", "marginalize")
    )
    experiment = read_experiment(path)
    assert at(experiment, "model.model.path") == attribute["model"] == marginalize["model"]
    assert at(experiment, "loci") == attribute["loci"]
    assert at(experiment, "negatives") == marginalize["loci"]


def test_a_pipeline_file_without_a_name_names_no_files(tmp_path):
    with pytest.raises(Problems, match="the key `model` is missing"):
        read_experiment(written(tmp_path, {"sequences": "g.fa", "loci": "a.bed", "model": None, "fit_parameters": {}}))


def test_what_is_wider_than_the_window_is_refused_only_where_somebody_asked_for_it(tmp_path):
    must = {"sequences": "g.fa", "loci": "a.bed", "model": "m", "in_window": 200, "output": "profile"}
    experiment = read_experiment(written(tmp_path, must))
    assert (experiment.attr_window, experiment.modisco.window) == (200, 200)
    with pytest.raises(Problems, match="attr_window 400 is wider than in_window 200"):
        read_experiment(written(tmp_path, {**must, "attr_window": 400}))


@pytest.mark.parametrize("depth", [30, 700, 100_000])
def test_what_is_nested_without_end_gets_its_sentence(tmp_path, depth):
    """JSON's parser goes deeper than what looks at its values."""
    path = tmp_path / "x.json"
    path.write_text('{"name": "x", "sequences": "g", "model": "m", "loci": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(ExperimentError, match=r"^x\.json: is nested too deeply for an experiment file\.$"):
        read_experiment(path)

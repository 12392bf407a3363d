"""cherimoya's own JSON parameter files, read as they are.

What belongs here: how the keys of `cherimoya attribute`, `seqlets`, `marginalize` and `pipeline` map to ours. What does
not: our own YAML.

An attribute or pipeline file is a whole experiment; it is named after `name`, or after the file. A seqlets or a
marginalize file describes one step and is not an experiment: name it in a YAML experiment, as in
`seqlets: k562.seqlets.json`. A marginalize file that names model, sequences and loci can be read alone all the same:
its loci are both what is attributed and the backgrounds.

bpnet-lite's and chrombpnet-lite's files have the same keys, which cherimoya took over; their older pipelines called the
attributions' section `interpret_parameters`.

cherimoya ignores keys that it does not know; so does this module, in these files only, because they are its files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cherimoya_assets.errors import ExperimentError

SHARED = ("sequences", "loci", "exclusion_lists", "model", "chroms", "in_window", "batch_size", "device", "dtype")

ATTRIBUTE = ("algorithm", "output", "group", "attr_window", "n_shuffles", "warning_threshold", "random_state", "fast")

STEPS: Mapping[str, tuple[str, ...]] = {
    "seqlets": ("threshold", "min_seqlet_len", "max_seqlet_len", "additional_flanks"),
    "annotation": ("n_score_bins", "n_median_bins", "n_target_bins", "n_cache", "reverse_complement", "n_jobs"),
    "modisco": ("n_seqlets",),
    "marginalize": ("loci", "motifs", "n_loci", "shuffle", "random_state", "minimal", "batch_size"),
}

EVERY = 2**31 - 1
"""More loci than any file has."""

PIPELINE_SECTIONS: Mapping[str, str] = {
    "seqlets": "seqlet_parameters",
    "annotation": "annotation_parameters",
    "modisco": "modisco_motifs_parameters",
    "marginalize": "marginalize_parameters",
}


ATTRIBUTE_SECTIONS = ("interpret_parameters", "attribute_parameters")
"""What bpnet-lite's pipelines called it at first, and what it is called; the later one wins."""

MADE_BY_THE_PIPELINE: Mapping[str, str] = {
    "model": "{}.torch",
    "loci": "{}_peaks.narrowPeak",
    "negatives": "{}.negatives.bed",
}
"""What the pipeline calls the files that it makes itself, where its own file says null; `{}` is its `name`."""

REQUIRED_BY_THE_PIPELINE = ("loci", "negatives")
"""Must be there, be it as null: a file that says nothing of them asks for nothing to be made."""


def translate(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A whole experiment, in our keys, from cherimoya's JSON.

    Values that cherimoya leaves to its defaults get cherimoya's defaults (deep_lift_shap, not ours), so that the file
    means here what it means there. `chroms` is an exception: cherimoya's default names human chromosomes.
    """
    sections = [key for key in raw if key.endswith("_parameters")]
    # Signals are what is trained on: a short pipeline file may have them and leave every section to its default.
    if sections or "signals" in raw:
        for section in sections:
            if not isinstance(raw[section] or {}, Mapping):
                raise ExperimentError(f"{path.name}: `{section}` must hold keys and values.")
        experiment = _from_pipeline(raw)
    else:
        experiment = _from_step(raw)
    if experiment.get("output") == "count":
        # bpnet-lite's word for it at first.
        experiment["output"] = "counts"
    name = raw.get("name") or path.name.split(".")[0]
    experiment["name"] = re.sub(r"[^A-Za-z0-9_]", "_", str(name))
    if not experiment["name"][:1].isalpha():
        experiment["name"] = "experiment_" + experiment["name"]
    return experiment


def section_from_json(section: str, raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """One step's parameters from its own JSON file; its paths are relative to that file."""

    def beside(value: Any) -> Any:
        # What is no path is left for the model to refuse.
        if isinstance(value, list):
            return [beside(item) for item in value]
        return str(path.parent / value) if isinstance(value, str) else value

    values = _step(section, raw)
    return {key: beside(value) if key in ("loci", "motifs") else value for key, value in values.items()}


def _from_step(raw: Mapping[str, Any]) -> dict[str, Any]:
    attributes = "attr_window" in raw or "algorithm" in raw or "output" in raw or "ohe_filename" in raw
    experiment: dict[str, Any] = {"algorithm": "deep_lift_shap"}
    experiment |= _present(raw, (*SHARED, "out_window"))
    if attributes:
        experiment |= _present(raw, ATTRIBUTE, keep_null=("group", "warning_threshold"))
    for section in ("seqlets", "marginalize"):
        found = _step(section, raw)
        shared_with_attribute = {"loci", "random_state", "batch_size"}
        found = {key: value for key, value in found.items() if not (attributes and key in shared_with_attribute)}
        if section == "seqlets" or "n_loci" in raw:
            experiment[section] = found
    if raw.get("motifs") is not None:
        experiment["motifs"] = raw["motifs"]
    return experiment


def _from_pipeline(raw: Mapping[str, Any]) -> dict[str, Any]:
    top = _present(raw, (*SHARED, *ATTRIBUTE, "out_window", "motifs", "negatives"))
    # Here null is always the default, also where it means something in an attribute file.
    experiment: dict[str, Any] = {"algorithm": "deep_lift_shap", **top}
    for name in ATTRIBUTE_SECTIONS:
        experiment |= _present(raw.get(name) or {}, (*SHARED, *ATTRIBUTE))
    if isinstance(raw.get("name"), str):
        for key, made in MADE_BY_THE_PIPELINE.items():
            if key in raw or key not in REQUIRED_BY_THE_PIPELINE:
                experiment.setdefault(key, made.format(raw["name"]))
    if raw.get("random_state") is not None:
        experiment.setdefault("random_state", raw["random_state"])
    for section, name in PIPELINE_SECTIONS.items():
        found = _step(section, _present(raw.get(name) or {}, STEPS[section]))
        if section == "marginalize" and raw.get("random_state") is not None:
            found.setdefault("random_state", raw["random_state"])
        experiment[section] = found
    report = _present(raw.get("modisco_report_parameters") or {}, ("motifs",))
    experiment.setdefault("motifs", report.get("motifs"))
    return experiment


def _step(section: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """One step's parameters; what its file leaves out is as in cherimoya where our default is another."""
    values = _present(raw, STEPS[section])
    if section == "marginalize":
        # cherimoya takes the first loci of the file unless it is asked to shuffle, and all of them for a null.
        values.setdefault("shuffle", False)
        if "n_loci" in raw and raw["n_loci"] is None:
            values["n_loci"] = EVERY
    return values


def _present(raw: Mapping[str, Any], keys: tuple[str, ...], keep_null: tuple[str, ...] = ()) -> dict[str, Any]:
    """The keys that have a value; null means "the default" in cherimoya's files, unless null is a value itself."""
    return {key: raw[key] for key in keys if key in raw and (raw[key] is not None or key in keep_null)}

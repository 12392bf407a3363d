"""init: write an experiment file to fill in, or a copy of the demo to play with."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

from cherimoya_assets.errors import ExperimentError

FILE_NAME = "experiment.yaml"

TEMPLATE = """\
# An experiment: a trained model and what to ask it. Paths are relative to this file.
#   cherimoya-assets check experiment.yaml     everything that is wrong, in seconds
#   cherimoya-assets run experiment.yaml       attributions, seqlets, motifs, marginalization, reports
# A key behind `#` shows its default. Unknown keys are errors. Names are those of cherimoya's JSON files.

name: my_experiment                 # letters, digits and _; the first part of every asset key

# --- What the model looks at ---
sequences: genome.fa                # FASTA, plain or .gz
loci: peaks.narrowPeak              # BED or narrowPeak, plain or .gz; several as [a.bed, b.bed]
# negatives: negatives.bed          # backgrounds that motifs are inserted into; `cherimoya negatives` makes them
# exclusion_lists: [exclusion.bed]  # loci whose window touches these regions are left out
# chroms: [chr1, chr2]              # default: every main chromosome of the FASTA, largest first

# --- The model ---
model: model.torch                  # one checkpoint, or a map of folds, over which attributions are averaged:
# model:
#   fold_0: fold_0.torch
#   fold_1: fold_1.torch
# Keras's h5 files of ChromBPNet and BPNet, as published, are read as they are: model: model.chrombpnet_nobias.fold_0.h5
# Those of bpnet-lite are pickled: opening one runs what is in it. Say that you trust it, and which you mean:
# model: {{path: chrombpnet.torch, kind: chrombpnet, trusted: true, sha256: <64 digits>}}
# in_window: 2114                   # what the model reads, in bp
# out_window: null                  # what it predicts; null: as the model says
# motifs: motifs.meme               # motif database in MEME format; names motifs and is marginalized

# --- Attributions ---
# output: counts                    # counts, profile, or [counts, profile]
# group: 0                          # which group of signals of the model
# attr_window: 400                  # bp around the middle that are attributed; all of in_window where that is less
{methods}

# --- The machine: these change the speed, never a number (dtype apart) ---
# device: auto                      # auto, cpu, cuda, cuda:N
# batch_size: null                  # null: as much as the free memory holds
# dtype: float32

# --- Steps ---
{steps}

# --- Automatic recomputation, once the sensors of the Dagster instance are started ---
# automation:                       # in short: automation: eager
#   mode: manual                    # or eager: at once when something changed; or cron: when the schedule ticks
#   cron: null                      # "0 3 * * 0" is Sundays at 3
#   force: false                    # true: at each tick make everything, changed or not
# timezone: null                    # of cron and of the weekly schedules, as in Europe/Berlin; null: the machine's
"""

NOTES = {
    "mutagenesis_tolerance": "largest relative error of windowed mutagenesis; 0: dense, ten times slower",
    "annotation": "tomtom-lite",
    "modisco.random_state": "draws loci when there are more seqlets than n_seqlets",
    "marginalize.loci": "backgrounds; null: the negatives",
    "marginalize.motifs": "null: the motif database above",
    "marginalize.shuffle": "draw them over all chromosomes; false: the first of the file, as cherimoya does",
}
"""What is said beside a parameter of a method or a step."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to write into; created if missing")
    parser.add_argument("--demo", action="store_true", help="the real yeast ATAC-seq experiment with all its files")


def run(arguments: argparse.Namespace) -> int:
    folder = arguments.folder
    if folder.exists() and not folder.is_dir():
        raise ExperimentError(f"{folder}: is a file. Name a folder.")
    path = write_demo(folder) if arguments.demo else write_template(folder)
    todo = "" if arguments.demo else "Fill it in, then:\n"
    print(f"{path}\n{todo}  cherimoya-assets check {path}\n  cherimoya-assets run {path}")
    return 0


def template() -> str:
    """The experiment file to fill in: every key, and every parameter of every method and step with its default."""
    from cherimoya_assets.analysis.methods import METHODS
    from cherimoya_assets.experiment.model import Experiment, StepParameters

    chosen = Experiment.model_fields["algorithm"].default
    methods = [_line("algorithm", chosen, f"or {' or '.join(name for name in METHODS if name != chosen)}")]
    for name, method in METHODS.items():
        methods.append(f"# of {name}:")
        methods += [_line(method.key(field), value) for field, value in method().model_dump(mode="json").items()]
    steps = []
    for name, field in Experiment.model_fields.items():
        if isinstance(field.default, StepParameters):
            values = field.default.model_dump(mode="json")
            steps.append("\n".join([_line(name), *(_line(f"{name}.{one}", values[one]) for one in values)]))
    return TEMPLATE.format(methods="\n".join(methods), steps="\n\n".join(steps))


def _line(key: str, value: Any = "", note: str = "") -> str:
    """A commented line of YAML, what is said of it behind."""
    import yaml

    section, _, name = key.rpartition(".")
    shown = yaml.safe_dump(value, default_flow_style=True).splitlines()[0] if value != "" else ""
    line = f"# {'  ' if section else ''}{name}: {shown}".rstrip()
    note = note or NOTES.get(key, "")
    return f"{line:<35} # {note}" if note else line


def write_template(folder: Path) -> Path:
    """Write the commented template; returns its path."""
    path = folder / FILE_NAME
    _refuse_to_overwrite([path])
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(template())
    return path


def write_demo(folder: Path) -> Path:
    """Copy the demo's experiment file and its inputs; returns the file's path."""
    from cherimoya_assets.demo import DEMO_EXPERIMENT

    sources = [file for file in sorted(DEMO_EXPERIMENT.parent.iterdir()) if file.is_file() and file.suffix != ".py"]
    _refuse_to_overwrite([folder / source.name for source in sources])
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copyfile(source, folder / source.name)
    return folder / DEMO_EXPERIMENT.name


def _refuse_to_overwrite(paths: list[Path]) -> None:
    for path in paths:
        # A link that leads nowhere yet is in the way, too: writing through it would make a file elsewhere.
        if os.path.lexists(path):
            raise ExperimentError(f"{path}: already exists and is not overwritten. Name another folder.")

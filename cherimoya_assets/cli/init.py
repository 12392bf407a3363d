"""init: write an experiment file to fill in, or a copy of the demo to play with."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

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
# BPNet and ChromBPNet files are pickled: opening one runs what is in it. Say that you trust it, and which you mean:
# model: {path: chrombpnet.torch, kind: chrombpnet, trusted: true, sha256: <64 digits>}
# in_window: 2114                   # what the model reads, in bp
# out_window: null                  # what it predicts; null: as the model says
# motifs: motifs.meme               # motif database in MEME format; names motifs and is marginalized

# --- Attributions ---
# output: counts                    # counts, profile, or [counts, profile]
# group: 0                          # which group of signals of the model
# attr_window: 400                  # bp around the middle that are attributed
# algorithm: saturation_mutagenesis # or deep_lift_shap
# mutagenesis_tolerance: 0.0005     # largest relative error of windowed mutagenesis; 0: dense, ten times slower
# of deep_lift_shap:
# n_shuffles: 20
# warning_threshold: 0.001
# random_state: 0
# fast: true

# --- The machine: these change the speed, never a number (dtype apart) ---
# device: auto                      # auto, cpu, cuda, cuda:N
# batch_size: null                  # null: as much as the free memory holds
# dtype: float32

# --- Steps ---
# seqlets:
#   threshold: 0.01
#   min_seqlet_len: 4
#   max_seqlet_len: 25
#   additional_flanks: 3

# annotation:                       # tomtom-lite
#   n_score_bins: 100
#   n_median_bins: 1000
#   n_target_bins: 100
#   n_cache: 250
#   reverse_complement: true
#   n_jobs: -1

# modisco:
#   n_seqlets: 100000
#   n_leiden: 2
#   window: 400
#   size: 20
#   trim_size: 30
#   seqlet_flank_size: 5
#   initial_flank_to_add: 10
#   final_flank_to_add: 0
#   random_state: 0                 # draws loci when there are more seqlets than n_seqlets
#   n_matches: 3
#   trim_threshold: 0.3
#   n_examples: 10

# marginalize:
#   loci: null                      # backgrounds; null: the negatives
#   motifs: null                    # null: the motif database above
#   n_loci: 100
#   shuffle: true                   # draw them over all chromosomes; false: the first of the file, as cherimoya does
#   random_state: 0
#   minimal: true
#   batch_size: null

# --- Automatic recomputation, once the sensors of the Dagster instance are started ---
# automation:                       # in short: automation: eager
#   mode: manual                    # or eager: at once when something changed; or cron: when the schedule ticks
#   cron: null                      # "0 3 * * 0" is Sundays at 3
#   force: false                    # true: at each tick make everything, changed or not
"""


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


def write_template(folder: Path) -> Path:
    """Write the commented template; returns its path."""
    path = folder / FILE_NAME
    _refuse_to_overwrite([path])
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(TEMPLATE)
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

"""The experiment file: what a user writes, strictly read.

`model.py` says what may stand in it, `reading.py` reads YAML, `cherimoya_json.py` reads cherimoya's own parameter
files as they are.
"""

from cherimoya_assets.experiment.model import (
    AnnotationParameters,
    Experiment,
    MarginalizeParameters,
    ModelFile,
    ModiscoParameters,
    SeqletParameters,
)
from cherimoya_assets.experiment.reading import Unreadable, read_experiment, read_experiments, read_folder

__all__ = [
    "AnnotationParameters",
    "Experiment",
    "MarginalizeParameters",
    "ModelFile",
    "ModiscoParameters",
    "SeqletParameters",
    "Unreadable",
    "read_experiment",
    "read_experiments",
    "read_folder",
]

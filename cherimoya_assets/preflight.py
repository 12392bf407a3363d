"""Everything that can be known to be wrong before anything is computed, said at once, in seconds.

What belongs here: looking at the files that an experiment names, and at what they say of each other. What does not: the
experiment file itself (`experiment/`), and how a format is read (`analysis/`). Each fold predicts one locus on the CPU,
because nothing else says for certain that its file can be computed with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cherimoya_assets.analysis.genome import Genome, open_genome
from cherimoya_assets.analysis.loci import KEPT, place_windows, read_loci
from cherimoya_assets.analysis.main_chromosomes import main_chromosomes
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.modisco import check_parameters
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.one_hot import encode
from cherimoya_assets.analysis.sequence_model import SequenceModel, check_folds
from cherimoya_assets.errors import CherimoyaAssetsError, Problems
from cherimoya_assets.experiment import Experiment, read_experiment
from cherimoya_assets.experiment.model import not_a_partition
from cherimoya_assets.resources.gpu import resolve_device

T = TypeVar("T")

MOSTLY_PAST = 0.01
"""The fraction of loci that end past the end of their chromosome with which a file is taken for another genome's."""

NAMED = 3
"""Names that a sentence lists before it says how many more there are."""


LOOKED_AT = 100
"""Loci that are looked at for one without an unknown base."""


def check_experiment(path: str | Path, cache: Path, *, device: str | None = None) -> list[str]:
    """Every problem of an experiment file and the files that it names, a sentence each; empty when there is none.

    Args:
        path: the experiment file.
        cache: folder for decompressed genomes and indexes.
        device: overrides what the experiment asks for.
    """
    try:
        experiment = read_experiment(path)
    except Problems as error:
        return list(error.problems)
    except CherimoyaAssetsError as error:
        return [str(error)]
    return check_inputs(experiment, cache, device=device)


def check_inputs(experiment: Experiment, cache: Path, *, device: str | None = None) -> list[str]:
    """As `check_experiment`, for an experiment that is read already."""
    found = _Findings()
    found.look(lambda: resolve_device(device or experiment.device, lambda _: None))
    genome = found.look(lambda: open_genome(experiment.sequences, cache))
    if genome is not None:
        found.add(_chroms(experiment, genome))
    backgrounds = experiment.marginalize.loci or experiment.negatives
    for role, paths in (
        ("loci", experiment.loci),
        ("negatives", backgrounds),
        ("exclusion_lists", experiment.exclusion_lists),
    ):
        for file in paths:
            loci = found.look(partial(read_loci, [file]))
            if loci is not None and genome is not None:
                found.add(_names_agree(file, loci, genome, strict=role != "exclusion_lists"))
                if role != "exclusion_lists":
                    found.add(_past_the_end(file, loci, genome))
                    found.look(partial(read_loci, [file], genome.chrom_sizes))
    for motifs in sorted({file for file in (experiment.motifs, experiment.marginalize.motifs) if file is not None}):
        matrices = found.look(partial(read_motifs, motifs))
        if matrices and (long := [name for name, matrix in matrices.items() if matrix.shape[1] > experiment.in_window]):
            found.add([f"{motifs.name}: motif {long[0]!r} is longer than in_window {experiment.in_window}. Remove it."])
    # Where the genome or the loci are at fault, that has been said.
    window = None if genome is None else _Findings().look(partial(_some_window, experiment, genome))
    fitting: dict[str, SequenceModel] = {}
    for fold, model_file in experiment.model.items():
        model = found.look(partial(load_model, model_file))
        if model is not None:
            if found.fine(partial(model.check_window, experiment.in_window, experiment.out_window)):
                fitting[fold] = model
            found.look(partial(model.check_group, experiment.group))
            if found.fine(partial(model.check_dtype, experiment.dtype)) and fold in fitting and window is not None:
                found.look(partial(model.check_prediction, window, experiment.dtype))
            asked = (experiment.output, experiment.group, experiment.dtype)
            found.look(partial(experiment.method.check, model, *asked))
    if fitting:
        found.look(lambda: check_folds(fitting, experiment.in_window))
    found.look(lambda: check_parameters(experiment.modisco, experiment.attr_window))
    return found.sentences


class _Findings:
    """Sentences in the order in which they were found, each once."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, sentences: Iterable[str]) -> None:
        self.sentences += [sentence for sentence in sentences if sentence not in self.sentences]

    def fine(self, check: Callable[[], None]) -> bool:
        """Whether a check raises none of our errors; the sentences of one that does are kept."""
        before = len(self.sentences)
        self.look(check)
        return len(self.sentences) == before

    def look(self, attempt: Callable[[], T]) -> T | None:
        """What `attempt` returns; where it raises one of our errors, its sentences are kept."""
        try:
            return attempt()
        except Problems as error:
            self.add(error.problems)
        except CherimoyaAssetsError as error:
            self.add([str(error)])
        return None


def _some_window(experiment: Experiment, genome: Genome) -> NDArray[np.int8] | None:
    """The first locus with a window that a model can read, int8 (1, 4, in_window); None where none of the first has."""
    sizes, width = genome.chrom_sizes, experiment.in_window
    chroms = list(sizes) if experiment.chroms is None else experiment.chroms
    loci = place_windows(read_loci(experiment.loci, sizes), sizes, width, None, chroms)
    for chrom, start in loci.loc[loci["status"] == KEPT, ["chrom", "window_start"]].head(LOOKED_AT).itertuples(False):
        window = encode(genome.fetch(str(chrom), int(start), int(start) + width))
        if window.any(axis=0).all():
            return window[np.newaxis]
    return None


def _chroms(experiment: Experiment, genome: Genome) -> list[str]:
    if experiment.chroms is None:
        main = main_chromosomes(genome.chrom_sizes)
        if not main.chosen:
            return [f"{genome.source.name}: {main.why_none}."]
        refused = (not_a_partition(chrom) for chrom in main.chosen)
        return [f"{genome.source.name}: {why}. Name the ones to use in `chroms`." for why in refused if why]
    missing = [chrom for chrom in experiment.chroms if chrom not in genome.chrom_sizes]
    if not missing:
        return []
    return [
        f"{experiment.source.name}: `chroms` names {some(missing)}, not in {genome.source.name}, "
        f"which has {some(genome.chrom_sizes)}. {_respelled(missing, genome)}"
    ]


def _names_agree(file: Path, loci: pd.DataFrame, genome: Genome, *, strict: bool) -> list[str]:
    """Whether a file's chromosomes are the genome's. A few unknown ones are lost loci; all unknown is a mistake."""
    named = list(dict.fromkeys(loci["chrom"]))
    unknown = [chrom for chrom in named if chrom not in genome.chrom_sizes]
    if not unknown or (not strict and len(unknown) < len(named)):
        return []
    respelled = _respelled(unknown, genome)
    if len(unknown) < len(named) and "spelled" not in respelled:
        return []
    return [
        f"{file.name}: chromosome {some(unknown)} is not in {genome.source.name}, which has "
        f"{some(genome.chrom_sizes)}. {respelled}"
    ]


def _past_the_end(file: Path, loci: pd.DataFrame, genome: Genome) -> list[str]:
    """Whether more loci end past the end of their chromosome than a peak caller writes that extends reads."""
    sizes = loci["chrom"].map(dict(genome.chrom_sizes))
    past = loci[loci["end"] > sizes]
    # MACS gives a chromosome one or two such peaks, at the telomeres, and a hundred at most in a file of thousands.
    if len(past) <= max(2 * loci["chrom"].nunique(), MOSTLY_PAST * len(loci)):
        return []
    first = past.iloc[0]
    return [
        f"{file.name}: {len(past):,} of {len(loci):,} loci end past the end of their chromosome in "
        f"{genome.source.name} ({first['locus_id']}; {first['chrom']} has {genome.chrom_sizes[first['chrom']]:,} bp). "
        "Are the files for different genomes? Use one assembly throughout."
    ]


def _respelled(names: Sequence[str], genome: Genome) -> str:
    for name in names:
        other = name[3:] if name.startswith("chr") else f"chr{name}"
        if other in genome.chrom_sizes:
            return f"{name} is spelled {other} there; use one spelling in both files."
    return "Are the files for different genomes? Use one assembly throughout."


def some(names: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

"""The lineage as one table: what each input and each step is. Everything else about them is derived from it.

What belongs here: a row for each input and each step. Dependencies, stages, jobs, code versions, stamps, drift, stored
types and the display are made of the rows elsewhere; what a step computes is in the module that its row names.

To add a step: a row here, a function in `assets/`, its science in `analysis/` (see CONTRIBUTING.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cherimoya_assets.analysis.deep_lift import DeepLiftShap
from cherimoya_assets.analysis.models import family_of
from cherimoya_assets.analysis.mutagenesis.method import SaturationMutagenesis
from cherimoya_assets.experiment import Experiment

HERE, EVERY, WHOLE = "the same chromosome", "every chromosome", "all of it at once"
"""What a step reads of an asset or an input."""

CONTIGS, LOCI, REGIONS = "contigs", "loci", "regions"
"""What of an input has a version for each chromosome."""

ORDER, ELSEWHERE = "order", "elsewhere"
"""What is read of an input besides its chromosomes: the order of its rows, how many lie on chromosomes that are not
selected; of the genome, the names and sizes of its CONTIGS."""


@dataclass(frozen=True)
class Input:
    """A file, or several, that an experiment stands on.

    Attributes:
        name: what a step's reads call it.
        kind: shown in the lineage.
        description: for the UI; `{files}` stands for the names of its files, `{folds}` for those of the folds.
        files: those of an experiment, none where it has no such input.
        by: what has a version for each chromosome: its CONTIGS, its LOCI or its REGIONS; empty for a whole.
        shared: the first part of its asset key where experiments share it; elsewhere it is the experiment's own.
    """

    name: str
    kind: str
    description: str
    files: Callable[[Experiment], tuple[Path, ...]]
    by: str = ""
    shared: str = ""


@dataclass(frozen=True)
class Read:
    """Something that a step is made from.

    Attributes:
        names: an input or a step; of several, the first that the experiment has. One that it does not have is not read.
        of: HERE, EVERY or WHOLE.
        given: the argument of the step's function that holds the loaded value; without one, the function reads it.
        aspect: ORDER, ELSEWHERE or CONTIGS, where only that is read of an input.
        when: whether it is read at all.
    """

    names: tuple[str, ...]
    of: str = WHOLE
    given: str = ""
    aspect: str = ""
    when: Callable[[Experiment], bool] | None = None


def read(*names: str, of: str = WHOLE, given: str = "", aspect: str = "", when: Any = None) -> Read:
    """One line of what a step is made from."""
    return Read(names, of, given, aspect, when)


SHOWN = "every step that the report shows"


@dataclass(frozen=True)
class Parameters:
    """Parameters that decide a step's numbers: they go into its stamp and, as one text, into its code version.

    Attributes:
        section: where they stand in the experiment file; empty for its first level.
        names: which of the section, or a function that gives them with their values; none for the section as it is.
        alone: the text is that of the values, one after the other, without their names.
    """

    section: str
    names: Callable[[Experiment], dict[str, Any]] | tuple[str, ...] = ()
    alone: bool = False

    def values(self, experiment: Experiment) -> dict[str, Any]:
        """By name, as the experiment has them."""
        place: BaseModel = getattr(experiment, self.section) if self.section else experiment
        if callable(self.names):
            return self.names(experiment)
        return {name: getattr(place, name) for name in self.names or type(place).model_fields}

    def texts(self, experiment: Experiment) -> list[str]:
        """As the code version has them."""
        if not self.names:
            section: BaseModel = getattr(experiment, self.section)
            return [section.model_dump_json()]
        values = self.values(experiment)
        return [repr(value) for value in values.values()] if self.alone else [repr(sorted(values.items()))]


@dataclass(frozen=True)
class Step:
    """What is made: an asset, or one for each head, of each chromosome or of all of them together.

    Attributes:
        version: raise it when the step's code gives other results for the same inputs.
        stage: the stage that makes it; stages are made in their order, and a stage is by chromosome or pooled.
        made_by: module and name of the function that computes it.
        stored: module and name of the type of its value.
        description: for the UI; `{head}` stands for the head.
        kinds: shown in the lineage.
        reads: what it is made from.
        parameters: those that decide its numbers; what decides only speed is left out.
        pools_chroms: whether other chromosomes make another value, also where one was only taken away.
        packages: those whose version decides its numbers.
        checks: names of its blocking checks, of an experiment where they differ; `warnings` of those that only warn.
        per_head: whether there is one for each head.
        together: whether the heads are outputs of one function.
        gpu: whether it needs a device.
        exists: which experiments have it; all of them without.
        shown: whether the experiment's report shows it or links to it.
        unit: what its progress counts.
        fact: from the metadata of what was made, by name, and its head to the few words that a line of `run` has.
    """

    name: str
    version: int
    stage: str
    made_by: str
    stored: str
    description: str
    kinds: frozenset[str]
    reads: tuple[Read, ...]
    parameters: tuple[Parameters, ...] = ()
    pools_chroms: bool = False
    packages: tuple[str, ...] = ()
    checks: tuple[str, ...] | Callable[[Experiment], tuple[str, ...]] = ()
    warnings: tuple[str, ...] = ()
    per_head: bool = False
    together: bool = False
    gpu: bool = False
    exists: Callable[[Experiment], bool] | None = None
    shown: bool = False
    unit: str = ""
    fact: Callable[[Mapping[str, Any], str], str] = lambda metadata, head: ""

    @property
    def by_chromosome(self) -> bool:
        """Whether it has a partition for each chromosome."""
        return next(stage.by_chromosome for stage in STAGES if stage.name == self.stage)

    def parameter_values(self, experiment: Experiment) -> dict[str, Any]:
        """All parameters by name."""
        return {name: value for part in self.parameters for name, value in part.values(experiment).items()}


@dataclass(frozen=True)
class Stage:
    """Steps that one run may hold together: all by chromosome, or all pooled.

    Dagster would run a pooled step in every chromosome's run, so that the two never share a job.

    Attributes:
        job: the end of its job's name, which stays when a stage is added before it.
    """

    name: str
    by_chromosome: bool
    job: str


STAGES: tuple[Stage, ...] = (
    Stage("attribution", True, "1_attribution"),
    Stage("nulls_and_backgrounds", False, "2_nulls_and_backgrounds"),
    Stage("seqlets_and_effects", True, "3_seqlets_and_effects"),
    Stage("patterns_and_reports", False, "4_patterns_and_reports"),
)
"""In the order in which they are made."""


def background_files(experiment: Experiment) -> tuple[Path, ...]:
    """The loci that motifs are inserted into."""
    return experiment.marginalize.loci or experiment.negatives


def marginalize_motifs(experiment: Experiment) -> Path | None:
    """The motifs that are inserted."""
    return experiment.marginalize.motifs or experiment.motifs


def marginalizes(experiment: Experiment) -> bool:
    """Whether there are motifs to insert and loci to insert them into."""
    return marginalize_motifs(experiment) is not None and bool(background_files(experiment))


def has_motifs(experiment: Experiment) -> bool:
    """Whether seqlets and patterns are compared with a motif database."""
    return experiment.motifs is not None


def _one(path: Path | None) -> tuple[Path, ...]:
    return () if path is None else (path,)


INPUTS: tuple[Input, ...] = (
    Input("genome", "fasta", "Reference genome {files}.", lambda e: (e.sequences,), by=CONTIGS, shared="genome"),
    Input("peaks", "bed", "The loci to attribute: accessible regions or binding sites.", lambda e: e.loci, by=LOCI),
    Input("negatives", "bed", "Background loci, into which marginalization inserts motifs.", background_files, by=LOCI),
    Input(
        "exclusion_lists",
        "bed",
        "Regions whose loci are left out (100-bp chunks, as tangermeme does it).",
        lambda e: e.exclusion_lists,
        by=REGIONS,
    ),
    Input(
        "model",
        "pytorch",
        "Trained model, folds: {folds}.",
        lambda e: tuple(file.path for file in e.model.values()),
    ),
    Input("motifs", "meme", "Motif database {files}.", lambda e: _one(e.motifs), shared="motif_database"),
    Input(
        "marginalize_motifs",
        "meme",
        "Motif database {files}.",
        lambda e: _one(marginalize_motifs(e)),
        shared="motif_database",
    ),
)


def counted(metadata: str, noun: str) -> Callable[[Mapping[str, Any], str], str]:
    """The fact that so many were made; `{head}` in the noun stands for the head."""

    def fact(of: Mapping[str, Any], head: str) -> str:
        n = of.get(metadata)
        return "" if n is None else f"{n:,} {noun.format(head=head)}{'' if n == 1 else 's'}"

    return fact


def _kept_and_lost(of: Mapping[str, Any], head: str) -> str:
    kept = of["dagster/partition_row_count"]
    lost = of["loci"] - kept
    return ("1 locus" if kept == 1 else f"{kept:,} loci") + (f" ({lost:,} lost)" if lost else "")


def _rate(of: Mapping[str, Any], head: str) -> str:
    rate = of.get("loci_per_second")
    return f"{rate:.2f} loci/s" if rate else ""


def _of_attributions(experiment: Experiment) -> dict[str, Any]:
    # batch_size and device are left out: they decide speed, never a number.
    chosen = {name: getattr(experiment, name) for name in ("algorithm", "attr_window", "group", "dtype")}
    chosen |= experiment.method.decisive
    if isinstance(experiment.method, DeepLiftShap) and (heads := _heads_in_float64(experiment)):
        # Until they were float64, an experiment of other models or heads had the numbers that it has now.
        chosen["deep_lift_float64"] = heads
    return chosen


def _heads_in_float64(experiment: Experiment) -> list[str]:
    found = {head for file in experiment.model.values() for head in family_of(file).deep_lift_float64}
    return sorted(found & set(experiment.output))


def _of_effects(experiment: Experiment) -> dict[str, Any]:
    tolerance = experiment.parameters_of(SaturationMutagenesis).tolerance
    return {"in_window": experiment.in_window, "dtype": experiment.dtype, "mutagenesis_tolerance": tolerance}


STEPS: tuple[Step, ...] = (
    Step(
        "one_hot_sequences",
        version=1,
        stage="attribution",
        made_by="cherimoya_assets.assets.one_hot_sequences:one_hot_sequences_",
        stored="cherimoya_assets.analysis.one_hot:SequenceBlock",
        description="One-hot windows around the loci of a chromosome, with the locus table and the loss ledger.",
        kinds=frozenset({"numpy"}),
        reads=(read("genome", of=HERE), read("peaks", of=HERE), read("exclusion_lists", of=HERE)),
        parameters=(Parameters("", ("in_window",), alone=True),),
        packages=("tangermeme",),
        checks=("matches_genome", "every_locus_accounted_for"),
        shown=True,
        fact=_kept_and_lost,
    ),
    Step(
        "attributions",
        version=3,
        stage="attribution",
        made_by="cherimoya_assets.assets.attributions:attributions_asset",
        stored="cherimoya_assets.analysis.attributions:AttributionBlock",
        description="Hypothetical {head} contributions of every base, mean over folds.",
        kinds=frozenset({"pytorch"}),
        reads=(read("one_hot_sequences", of=HERE, given="sequences"), read("model")),
        parameters=(Parameters("", _of_attributions),),
        packages=("cherimoya", "tangermeme", "torch", "numba"),
        checks=lambda e: ("rows_match_sequences", "finite", "folds_complete", *e.method.checks),
        per_head=True,
        together=True,
        gpu=True,
        shown=True,
        unit="loci",
        fact=_rate,
    ),
    Step(
        "seqlet_null",
        version=1,
        stage="nulls_and_backgrounds",
        made_by="cherimoya_assets.assets.seqlets:seqlet_null_",
        stored="cherimoya_assets.analysis.seqlets:SeqletNull",
        description="Distribution of {head} attribution values over all chromosomes: what p-values are relative to.",
        kinds=frozenset({"numpy"}),
        reads=(read("attributions", of=EVERY, given="attributions"),),
        parameters=(Parameters("seqlets", ("max_seqlet_len",), alone=True),),
        pools_chroms=True,
        packages=("tangermeme", "numba"),
        per_head=True,
    ),
    Step(
        "marginalization_backgrounds",
        version=1,
        stage="nulls_and_backgrounds",
        made_by="cherimoya_assets.assets.marginalization:backgrounds",
        stored="cherimoya_assets.analysis.marginalization:Backgrounds",
        description="Background loci that motifs are inserted into, drawn once over all chromosomes.",
        kinds=frozenset({"pandas"}),
        reads=(
            read("negatives", of=EVERY),
            read("genome", of=EVERY),
            read("exclusion_lists", of=EVERY),
            # The first rows of the file are taken then.
            read("negatives", aspect=ORDER, when=lambda e: not e.marginalize.shuffle),
        ),
        parameters=(
            Parameters("marginalize", ("n_loci", "shuffle", "random_state")),
            Parameters("", ("in_window",), alone=True),
        ),
        pools_chroms=True,
        exists=marginalizes,
    ),
    Step(
        "seqlets",
        version=1,
        stage="seqlets_and_effects",
        made_by="cherimoya_assets.assets.seqlets:seqlets",
        stored="cherimoya_assets.analysis.seqlets:SeqletTable",
        description="Spans of high {head} attribution, in genome coordinates, with p-values against the pooled null.",
        kinds=frozenset({"pandas"}),
        reads=(
            read("attributions", of=HERE, given="attributions"),
            read("seqlet_null", given="null"),
            read("genome", of=HERE),
        ),
        parameters=(Parameters("seqlets"),),
        packages=("tangermeme", "numba"),
        checks=("in_window", "matches_genome"),
        per_head=True,
        shown=True,
        fact=counted("dagster/partition_row_count", "{head} seqlet"),
    ),
    Step(
        "annotated_seqlets",
        version=1,
        stage="seqlets_and_effects",
        made_by="cherimoya_assets.assets.annotated_seqlets:annotated_seqlets",
        stored="cherimoya_assets.analysis.annotation:AnnotatedSeqlets",
        description="The {head} seqlets, each with its nearest motif in the database and how near it is.",
        kinds=frozenset({"pandas"}),
        reads=(read("seqlets", of=HERE, given="seqlets"), read("genome", of=HERE), read("motifs")),
        parameters=(
            # n_jobs decides speed, never a result.
            Parameters(
                "annotation", ("n_score_bins", "n_median_bins", "n_target_bins", "n_cache", "reverse_complement")
            ),
        ),
        packages=("memelite", "numba"),
        checks=("rows_match_seqlets",),
        per_head=True,
        exists=has_motifs,
        shown=True,
    ),
    Step(
        "marginalization_effects",
        version=3,
        stage="seqlets_and_effects",
        made_by="cherimoya_assets.assets.marginalization:effects",
        stored="cherimoya_assets.analysis.marginalization:EffectTable",
        description="Predictions before and after each motif is inserted: motif, locus, head, before, after.",
        kinds=frozenset({"pytorch"}),
        reads=(
            read("marginalization_backgrounds", given="backgrounds"),
            read("model"),
            read("genome", of=HERE),
            read("marginalize_motifs"),
        ),
        parameters=(Parameters("", _of_effects, alone=True),),
        packages=("cherimoya", "tangermeme", "torch", "numba"),
        checks=("rows_complete", "finite"),
        gpu=True,
        exists=marginalizes,
        shown=True,
        unit="backgrounds",
        fact=counted("backgrounds", "background"),
    ),
    Step(
        "modisco_patterns",
        version=1,
        stage="patterns_and_reports",
        made_by="cherimoya_assets.assets.modisco:modisco_patterns",
        stored="cherimoya_assets.analysis.modisco:ModiscoPatterns",
        description="TF-MoDISco patterns of the {head} contributions, every seqlet mapped back to the genome.",
        kinds=frozenset({"modisco"}),
        reads=(
            read("attributions", of=EVERY, given="attributions"),
            read("genome", of=EVERY),
            read("peaks", of=EVERY),
        ),
        parameters=(
            Parameters(
                "modisco",
                (
                    "n_seqlets",
                    "n_leiden",
                    "window",
                    "size",
                    "trim_size",
                    "seqlet_flank_size",
                    "initial_flank_to_add",
                    "final_flank_to_add",
                    "random_state",
                ),
            ),
        ),
        packages=("modisco-lite", "numba"),
        checks=("seqlets_match_genome",),
        warnings=("cap_not_hit",),
        per_head=True,
        shown=True,
        fact=counted("patterns", "pattern"),
    ),
    Step(
        "modisco_report",
        version=1,
        stage="patterns_and_reports",
        made_by="cherimoya_assets.assets.modisco:modisco_report_",
        stored="cherimoya_assets.reports.folder:Report",
        description="TF-MoDISco's descriptive report of the {head} patterns.",
        kinds=frozenset({"html"}),
        reads=(read("modisco_patterns", given="patterns"), read("motifs")),
        parameters=(Parameters("modisco", ("n_matches", "trim_threshold", "n_examples")),),
        packages=("modisco-lite", "memelite"),
        per_head=True,
        shown=True,
    ),
    Step(
        "attribution_tracks",
        version=1,
        stage="patterns_and_reports",
        made_by="cherimoya_assets.assets.attribution_tracks:attribution_tracks",
        stored="cherimoya_assets.reports.folder:Report",
        description=(
            "Genome browser files: a bigWig of {head} contributions, BED files of seqlets and of pattern seqlets, "
            "and an IGV session that opens them."
        ),
        kinds=frozenset({"bigwig"}),
        reads=(
            read("attributions", of=EVERY),
            read("annotated_seqlets", "seqlets", of=EVERY),
            read("modisco_patterns", given="patterns"),
            read("genome", of=EVERY),
            read("genome", aspect=CONTIGS),
        ),
        packages=("figwig",),
        per_head=True,
        shown=True,
    ),
    Step(
        "marginalization_report",
        version=1,
        stage="patterns_and_reports",
        made_by="cherimoya_assets.assets.marginalization:report",
        stored="cherimoya_assets.reports.folder:Report",
        description="What inserting each motif does to the predictions, sorted by its mean effect on the counts.",
        kinds=frozenset({"html"}),
        reads=(read("marginalization_effects", of=EVERY, given="effects"), read("marginalize_motifs")),
        parameters=(Parameters("marginalize", ("minimal",), alone=True),),
        exists=marginalizes,
        shown=True,
    ),
    Step(
        "experiment_report",
        version=1,
        stage="patterns_and_reports",
        made_by="cherimoya_assets.assets.experiment_report:experiment_report",
        stored="cherimoya_assets.reports.folder:Report",
        description="One page to open first: what was found, on how many loci, and where it comes from.",
        kinds=frozenset({"html"}),
        reads=(
            read(SHOWN, of=EVERY),
            read("peaks", of=EVERY),
            read("peaks", aspect=ELSEWHERE),
            read("motifs"),
        ),
        parameters=(Parameters("modisco", ("trim_threshold",)),),
        packages=("memelite",),
        warnings=("up_to_date",),
    ),
)


def step(name: str) -> Step:
    """The row of a step.

    Raises:
        ValueError: there is no such step.
    """
    for row in STEPS:
        if row.name == name:
            return row
    raise ValueError(f"{name} is not a step")


def steps_of(experiment: Experiment) -> Iterator[Step]:
    """The steps that an experiment has, in the order of the table."""
    return (row for row in STEPS if row.exists is None or row.exists(experiment))


def inputs_of(experiment: Experiment) -> Iterator[Input]:
    """The inputs that an experiment has."""
    return (row for row in INPUTS if row.files(experiment))

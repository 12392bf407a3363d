"""What may stand in an experiment file, with the field's names and the field's defaults.

What belongs here: keys, types, defaults, and combinations that are impossible whatever the files hold. What does not:
looking at the files (`preflight.py`). Names and defaults are those of cherimoya's parameter JSON, `modisco motifs`,
`modisco report` and `ttl`; where we differ, the class says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from cherimoya_assets.analysis.attribution_method import AttributionMethod
from cherimoya_assets.analysis.methods import METHODS
from cherimoya_assets.analysis.models import FAMILIES
from cherimoya_assets.section import Positive, Section, Unsigned

Head = Literal["counts", "profile"]

Probability = Annotated[float, Field(gt=0, le=1)]

LONGEST_CRON = 100

M = TypeVar("M", bound=AttributionMethod)

NAME = r"^[A-Za-z][A-Za-z0-9_]*$"


LONGEST_FOLD = 100

LONGEST_CHROM = 200
"""Bytes of its escaped form, which names a folder: file systems take 255."""


def not_a_partition(chrom: str) -> str:
    """Why a chromosome's name cannot be a partition key; empty where it can.

    Dagster takes three dots for a range, and control characters for nothing good. A bar is special to keys of several
    dimensions alone.
    """
    if not chrom or "..." in chrom or not chrom.isprintable():
        return f"{chrom!r} cannot be a partition key: no `...` and no control characters"
    if len(quote(chrom)) > LONGEST_CHROM:
        return f"{chrom!r} cannot be a partition key: its name is too long for a folder"
    return ""


def _one_or_many(value: Any) -> Any:
    """A path (or head) alone is a list of one, as in cherimoya's JSON."""
    if value is None:
        return ()
    return (value,) if isinstance(value, (str, Path)) else value


def _at_least_one(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("at least one is needed")
    return value


def _one_of(known: Collection[str]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"must be one of {', '.join(map(repr, known))}")
        return value

    return check


def _threads(value: int) -> int:
    if value != -1 and value < 1:
        raise ValueError("must be 1 or more threads, or -1 for all there are")
    return value


def _cron_schedule(value: str) -> str:
    from dagster._utils.schedules import is_valid_cron_string

    if len(value) > LONGEST_CRON or not is_valid_cron_string(value):
        raise ValueError(
            f"{value!r} is not a cron schedule: minute, hour, day of the month, month and day of the week, "
            "as in `0 3 * * 0`, Sundays at 3, or `@weekly`"
        )
    return value


def _time_zone(value: str) -> str:
    from zoneinfo import available_timezones

    if value not in available_timezones():
        raise ValueError("must be the name of a time zone, as in `Europe/Berlin`, `America/New_York` or `UTC`")
    return value


class ModelFile(Section):
    """One trained model. BPNet and ChromBPNet files are pickled modules and need `trusted` and `sha256`."""

    path: Path
    kind: Annotated[str, AfterValidator(_one_of(FAMILIES))] = "cherimoya"
    trusted: bool = False
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class StepParameters(Section):
    """Parameters of a step, which cherimoya has a JSON file for."""


class SeqletParameters(StepParameters):
    """As in `cherimoya seqlets`."""

    threshold: Probability = 0.01
    min_seqlet_len: Positive = 4
    max_seqlet_len: Positive = 25
    additional_flanks: Unsigned = 3

    @model_validator(mode="after")
    def _lengths(self) -> SeqletParameters:
        if self.min_seqlet_len > self.max_seqlet_len:
            raise ValueError(f"min_seqlet_len {self.min_seqlet_len} > max_seqlet_len {self.max_seqlet_len}")
        return self


class AnnotationParameters(StepParameters):
    """As in cherimoya's annotation step, which is tomtom-lite's `ttl`."""

    n_score_bins: Positive = 100
    n_median_bins: Positive = 1000
    n_target_bins: Positive = 100
    n_cache: Positive = 250
    reverse_complement: bool = True
    n_jobs: Annotated[int, AfterValidator(_threads)] = -1


class ModiscoParameters(StepParameters):
    """As in `modisco motifs` and `modisco report`; `random_state` is the seed that draws loci when the cap bites."""

    n_seqlets: Positive = 100_000
    n_leiden: Positive = 2
    window: Positive = 400
    size: Positive = 20
    trim_size: Positive = 30
    seqlet_flank_size: Unsigned = 5
    initial_flank_to_add: Unsigned = 10
    final_flank_to_add: Unsigned = 0
    random_state: Unsigned = 0
    n_matches: Positive = 3
    trim_threshold: Probability = 0.3
    n_examples: Positive = 10


class MarginalizeParameters(StepParameters):
    """As in `cherimoya marginalize`, but `shuffle` is on: the first loci of a file are its first chromosome's."""

    loci: Annotated[tuple[Path, ...], AfterValidator(_at_least_one)] | None = None
    motifs: Path | None = None
    n_loci: Positive = 100
    shuffle: bool = True
    random_state: Unsigned = 0
    minimal: bool = True
    batch_size: Positive | None = None

    @field_validator("loci", mode="before")
    @classmethod
    def _list_of_loci(cls, value: Any) -> Any:
        return None if value is None else _one_or_many(value)


class Automation(Section):
    """When an experiment recomputes what is out of date by itself: never, at once, or at ticks of a cron schedule.

    `force`, with a schedule only: recompute everything at every tick, whether out of date or not.
    """

    mode: Literal["manual", "eager", "cron"] = "manual"
    cron: Annotated[str, AfterValidator(_cron_schedule)] | None = None
    force: bool = False

    @model_validator(mode="after")
    def _belong_together(self) -> Automation:
        if (self.mode == "cron") != (self.cron is not None) or (self.force and self.cron is None):
            raise ValueError('write `manual`, `eager`, or a schedule as in `{cron: "0 3 * * 0"}`')
        return self


class Experiment(Section):
    """One experiment. Paths are absolute once the file is read.

    Other than in cherimoya's files, the default of `algorithm` is saturation mutagenesis, `chroms` None is every main
    chromosome of the FASTA, `device` is auto, and `batch_size` None is what the free memory holds. `timezone` is
    that of schedules, None the machine's.
    """

    name: Annotated[str, Field(pattern=NAME, max_length=100)]
    sequences: Path
    loci: Annotated[tuple[Path, ...], AfterValidator(_at_least_one)]
    negatives: tuple[Path, ...] = ()
    exclusion_lists: tuple[Path, ...] = ()
    model: Annotated[dict[str, ModelFile], Field(min_length=1)]
    motifs: Path | None = None
    chroms: Annotated[tuple[str, ...], AfterValidator(_at_least_one)] | None = None
    in_window: Positive = 2114
    out_window: Positive | None = None
    attr_window: Positive = 400
    output: Annotated[tuple[Head, ...], AfterValidator(_at_least_one)] = ("counts",)
    group: Unsigned | None = 0
    algorithm: Annotated[str, AfterValidator(_one_of(METHODS))] = "saturation_mutagenesis"
    batch_size: Positive | None = None
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    seqlets: SeqletParameters = SeqletParameters()
    annotation: AnnotationParameters = AnnotationParameters()
    modisco: ModiscoParameters = ModiscoParameters()
    marginalize: MarginalizeParameters = MarginalizeParameters()
    automation: Automation = Automation()
    timezone: Annotated[str, AfterValidator(_time_zone)] | None = None
    source: Path = Path()

    _methods: dict[str, AttributionMethod] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _with_parameters_of_methods(cls, raw: Any, handler: ModelWrapValidatorHandler[Experiment]) -> Experiment:
        """They stand at the first level of the file, those of every method whichever is chosen."""
        methods: dict[str, AttributionMethod] = {}
        problems: list[InitErrorDetails] = []
        keys = method_keys()
        for name, method in METHODS.items():
            own = {field: raw[method.key(field)] for field in method.model_fields if method.key(field) in raw}
            try:
                methods[name] = method.model_validate(own)
            except ValidationError as error:
                problems += _details(error, method.key)
        try:
            experiment = handler({key: value for key, value in raw.items() if key not in keys})
        except ValidationError as error:
            problems = [*_details(error), *problems]
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        experiment._methods = methods
        return experiment

    @field_validator("loci", "negatives", "exclusion_lists", mode="before")
    @classmethod
    def _lists_of_paths(cls, value: Any) -> Any:
        return _one_or_many(value)

    @field_validator("chroms", mode="before")
    @classmethod
    def _chroms_are_text(cls, value: Any) -> Any:
        if value is None:
            return None
        # Chromosomes named 1, 2, ... are numbers to YAML, also one alone.
        found = (value,) if isinstance(value, int) else _one_or_many(value)
        if not isinstance(found, (list, tuple)):
            return found
        return tuple(str(chrom) if isinstance(chrom, int) else chrom for chrom in found)

    @field_validator("chroms", mode="after")
    @classmethod
    def _chroms_are_partition_keys(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for chrom in value or ():
            if refusal := not_a_partition(chrom):
                raise ValueError(refusal)
        if value and len(set(value)) < len(value):
            raise ValueError("a chromosome is named twice")
        return value

    @field_validator("output", mode="before")
    @classmethod
    def _heads(cls, value: Any) -> Any:
        found = _one_or_many(value)
        if not isinstance(found, (list, tuple)):
            return found
        heads = ["counts" if head == "logcounts" else head for head in found]
        return tuple(head for place, head in enumerate(heads) if head not in heads[:place])

    @field_validator("automation", mode="before")
    @classmethod
    def _automation_in_a_word(cls, value: Any) -> Any:
        """`eager`, `manual`, `cron: 0 3 * * 0` as text, or a map with `cron`."""
        if isinstance(value, str):
            word, colon, schedule = value.partition(":")
            value = {"cron": schedule.strip()} if colon and word.strip() == "cron" else {"mode": value}
        if isinstance(value, dict) and "cron" in value:
            value = {"mode": "cron", **value}
        return value

    @field_validator("model", mode="before")
    @classmethod
    def _folds(cls, value: Any) -> Any:
        """A path alone, or the description of one file, is a map of one fold named `model`."""
        if isinstance(value, (str, Path)) or (isinstance(value, dict) and "path" in value):
            value = {"model": value}
        if not isinstance(value, dict):
            raise ValueError("a path, or a map from folds to paths, is needed")
        folds = {str(fold): {"path": file} if isinstance(file, (str, Path)) else file for fold, file in value.items()}
        for fold in folds:
            if not 0 < len(fold) <= LONGEST_FOLD or not fold.isprintable():
                raise ValueError(f"the fold {fold!r} needs a printable name of at most {LONGEST_FOLD} characters")
        return folds

    @model_validator(mode="after")
    def _windows(self) -> Experiment:
        if "attr_window" not in self.model_fields_set:
            # Nobody asked for 400: a model that sees less is attributed as far as it sees.
            object.__setattr__(self, "attr_window", min(self.attr_window, self.in_window))
        if self.attr_window > self.in_window:
            raise ValueError(
                f"attr_window {self.attr_window} is wider than in_window {self.in_window}; only what the model sees "
                "can be attributed. Lower attr_window"
            )
        if "window" not in self.modisco.model_fields_set:
            # Nobody asked for 400: take what there is, and an even number, as modisco-lite wants it.
            window = min(self.modisco.window, self.attr_window // 2 * 2)
            object.__setattr__(self, "modisco", self.modisco.model_copy(update={"window": window}))
        if self.modisco.window > self.attr_window:
            raise ValueError(
                f"modisco.window {self.modisco.window} is wider than attr_window {self.attr_window}; TF-MoDISco can "
                "only see what is attributed. Lower modisco.window or raise attr_window"
            )
        return self

    @property
    def method(self) -> AttributionMethod:
        """How it is attributed, with the parameters of its file."""
        return self._methods[self.algorithm]

    def parameters_of(self, method: type[M]) -> M:
        """The parameters of any method, chosen or not."""
        found = self._methods[method.name]
        assert isinstance(found, method)
        return found

    @property
    def schedule_timezone(self) -> str:
        """The IANA name of the time zone in which its schedules tick."""
        return self.timezone or machine_timezone()

    @property
    def folder(self) -> Path:
        """The folder of the experiment file, which relative paths are relative to."""
        return self.source.parent


def machine_timezone() -> str:
    """The IANA name of this machine's time zone; UTC where it has none, or one that is set up by halves."""
    from zoneinfo import ZoneInfoNotFoundError, available_timezones

    from tzlocal import get_localzone_name

    try:
        name = get_localzone_name()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"
    return name if name in available_timezones() else "UTC"


def method_keys() -> set[str]:
    """What an experiment file calls the parameters of all methods."""
    return {method.key(field) for method in METHODS.values() for field in method.model_fields}


def _details(error: ValidationError, key: Callable[[str], str] = str) -> list[InitErrorDetails]:
    """The problems of a validation as another can have them, under the names of an experiment file."""
    return [
        InitErrorDetails(
            type=PydanticCustomError(detail["type"], "{said}", {"said": detail["msg"]}),
            loc=tuple(key(part) if isinstance(part, str) else part for part in detail["loc"]),
            input=detail["input"],
        )
        for detail in error.errors(include_url=False)
    ]

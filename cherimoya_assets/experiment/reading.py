"""Reading experiment files: YAML, strictly, with every problem of a file said at once.

What belongs here: text to `Experiment`, and sentences for what is wrong. What does not: cherimoya's own JSON
(`cherimoya_json.py`) and looking at the files that are named (`preflight.py`).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from cherimoya_assets.errors import ExperimentError, Problems
from cherimoya_assets.experiment.cherimoya_json import section_from_json, translate
from cherimoya_assets.experiment.model import Experiment, StepParameters, method_keys

YAML_SUFFIXES = (".yaml", ".yml")

PATH_KEYS = ("sequences", "loci", "negatives", "exclusion_lists", "motifs")

MOST_PROBLEMS = 50
"""A file of something else is wrong in every key."""

SECTIONS = tuple(
    name
    for name, field in Experiment.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, StepParameters)
)
"""What may also be the path of cherimoya's JSON file for a step."""

NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
LONGEST_NUMBER = 100
"""Characters."""

DEEPEST = 20
"""Lists and maps in each other; an experiment has four."""

_ADDRESS = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")

_UNENCODABLE = re.compile("[\0\ud800-\udfff]")

LARGEST = 1 << 20
"""An experiment file is a page of text; a megabyte is something else that got its name."""


@dataclass(frozen=True)
class Unreadable:
    """An experiment file that cannot be read or used, and why: a sentence each; its name, where that could be read."""

    source: Path
    problems: tuple[str, ...]
    name: str = ""


def read_experiment(path: str | Path) -> Experiment:
    """Read one experiment file: our YAML, or one of cherimoya's JSON parameter files as it is.

    In YAML, a section (`seqlets`, `annotation`, `modisco`, `marginalize`) may also be the path of cherimoya's JSON
    file for that step. Relative paths are relative to the file.

    Raises:
        Problems: everything that is wrong in the file, a sentence each.
        ExperimentError: the file is missing or is not YAML or JSON at all.
    """
    path = Path(path).resolve()
    raw = _parse(path)
    if path.suffix == ".json":
        raw = translate(raw, path)
    if "source" in raw:
        raise Problems([f"{path.name}: unknown key `source`. Remove it."])
    for section in SECTIONS:
        if isinstance(raw.get(section), str):
            raw[section] = section_from_json(section, _parse(path.parent / raw[section]), path.parent / raw[section])
    problems = [
        f"{path.name}: `{key}`: {address} is an address, and only files are read. Download it and name the file."
        for key, address in _addresses(raw)
    ]
    try:
        experiment = Experiment.model_validate({**_with_absolute_paths(raw, path.parent), "source": path})
    except ValidationError as error:
        details = error.errors()
        problems += [_sentence(path.name, detail) for detail in details[:MOST_PROBLEMS]]
        if len(details) > MOST_PROBLEMS:
            problems.append(f"{path.name}: {len(details) - MOST_PROBLEMS} more problems like these.")
        raise Problems(problems) from None
    if problems:
        raise Problems(problems)
    return experiment


def read_experiments(path: str | Path) -> list[Experiment]:
    """Read an experiment file, or every `*.yaml` and `*.yml` of a folder as one code location.

    Raises:
        Problems: everything that is wrong in any of the files, or two of them with one name.
        ExperimentError: there is no such file, or no experiment file in the folder.
    """
    read, unreadable = read_folder(path)
    if unreadable:
        raise Problems([problem for one in unreadable for problem in one.problems])
    return read


def read_folder(path: str | Path) -> tuple[list[Experiment], list[Unreadable]]:
    """What can be read of an experiment file, or of every `*.yaml` and `*.yml` of a folder, and what cannot.

    Raises:
        ExperimentError: there is no such file, or no experiment file in the folder.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in YAML_SUFFIXES and file.name[0] != ".")
        if not files:
            raise ExperimentError(
                f"{path}: no experiment file (*.yaml) in this folder. `cherimoya-assets init` writes one."
            )
    elif not path.is_file():
        raise ExperimentError(f"{path}: no such experiment file.")
    experiments: dict[str, Experiment] = {}
    unreadable: list[Unreadable] = []
    for file in files:
        try:
            experiment = read_experiment(file)
        except Problems as error:
            unreadable.append(Unreadable(file.resolve(), error.problems))
        except ExperimentError as error:
            unreadable.append(Unreadable(file.resolve(), (str(error),)))
        else:
            if other := experiments.get(experiment.name):
                problem = (
                    f"{experiment.source.name}: the name {experiment.name} is already used by {other.source.name}; "
                    "names are asset keys and must differ. Rename one."
                )
                unreadable.append(Unreadable(experiment.source, (problem,)))
            else:
                experiments[experiment.name] = experiment
    return list(experiments.values()), unreadable


def _parse(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ExperimentError(f"{path}: no such experiment file.")
    if path.stat().st_size > LARGEST:
        raise ExperimentError(f"{path.name}: larger than 1 MB; this is not an experiment file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ExperimentError(
            f"{path.name}: is not text in UTF-8. An experiment file that was saved in another encoding must be saved "
            "as UTF-8; anything else is not an experiment file."
        ) from None
    try:
        raw: Any = (
            json.loads(text, object_pairs_hook=_unique_pairs)
            if path.suffix == ".json"
            else yaml.load(text, Loader=_StrictLoader)
        )
        _check_texts(raw)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ExperimentError(f"{path.name}{line}: is not YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise ExperimentError(f"{path.name}: is not YAML: {str(error).splitlines()[0]}.") from None
    except json.JSONDecodeError as error:
        raise ExperimentError(f"{path.name} line {error.lineno}: is not JSON: {error.msg}.") from None
    except RecursionError:
        raise ExperimentError(f"{path.name}: is nested too deeply for an experiment file.") from None
    except ValueError as error:
        raise ExperimentError(f"{path.name}: {error}.") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # PyYAML answers a tag on a value that it does not fit (`!!bool x`, `!!timestamp x`) with whatever breaks.
        raise ExperimentError(f"{path.name}: is not YAML: a value does not fit its tag ({error!r}).") from None
    if not isinstance(raw, dict):
        raise ExperimentError(f"{path.name}: expected keys and values (`name: ...`), found {type(raw).__name__}.")
    return {str(key): value for key, value in raw.items()}


def _check_texts(value: Any, depth: int = 0) -> None:
    """Refuse what YAML and JSON can spell and no file name can hold, whatever it is meant for, and endless nesting."""
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        for item in (*value, *value.values()):
            _check_texts(item, depth + 1)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            _check_texts(item, depth + 1)
    elif isinstance(value, str) and _UNENCODABLE.search(value):
        raise ValueError(f"the text {value!r} holds a character that no text or path can hold")


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader that refuses a key written twice, instead of taking the last, aliases, and long numbers.

    An alias can hold itself, or a list of lists of lists that is small on disk and endless when it is read. A number of
    a megabyte is refused by Python in decimal only; `0xff...` and `1:1:...` (base 60) would be computed with.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem=f"the alias `*{event.anchor}` is not supported; write its value out",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if node.tag in NUMBERS and len(value) > LONGEST_NUMBER:
            raise yaml.MarkedYAMLError(
                problem=f"a number of {len(value):,} characters is not a valid value",
                problem_mark=node.start_mark,
            )
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.MarkedYAMLError(problem="expected keys and values here", problem_mark=node.start_mark)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int, float, bool)):
                if key in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key `{key}` appears twice", problem_mark=key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key `{key}` appears twice")
        found[key] = value
    return found


def _addresses(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What stands where a path belongs and is an address, some of which cherimoya reads; with its key."""

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for item in value.values() for text in texts(item)]
        if isinstance(value, list):
            return [text for item in value for text in texts(item)]
        return [value] if isinstance(value, str) else []

    places = {key: raw.get(key) for key in (*PATH_KEYS, "model")}
    if isinstance(raw.get("marginalize"), dict):
        places |= {f"marginalize.{key}": raw["marginalize"].get(key) for key in ("loci", "motifs")}
    return [(key, text) for key, value in places.items() for text in texts(value) if _ADDRESS.match(text)]


def _with_absolute_paths(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Every path of the file made absolute; what is no path is left for the model to refuse."""

    def absolute(value: Any) -> Any:
        if isinstance(value, str) and value:
            try:
                return folder / Path(value).expanduser()
            except RuntimeError:
                # `~name` of nobody: a file of that name, then.
                return folder / value
        return [absolute(item) for item in value] if isinstance(value, list) else value

    def of_model(value: Any) -> Any:
        if isinstance(value, dict) and "path" in value:
            return {**value, "path": absolute(value["path"])}
        return {fold: of_model(file) for fold, file in value.items()} if isinstance(value, dict) else absolute(value)

    resolved = {key: absolute(value) if key in PATH_KEYS else value for key, value in raw.items()}
    if "model" in raw:
        resolved["model"] = of_model(raw["model"])
    if isinstance(raw.get("marginalize"), dict):
        resolved["marginalize"] = {
            key: absolute(value) if key in ("loci", "motifs") else value for key, value in raw["marginalize"].items()
        }
    return resolved


def _sentence(file: str, detail: Any) -> str:
    """One sentence for one pydantic error."""
    where = [str(part) for part in detail["loc"]]
    name = ".".join(where)
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], _keys_beside(detail["loc"]), n=1, cutoff=0.5)
        hint = f"Did you mean `{near[0]}`?" if near else "Remove it."
        return f"{file}: unknown key `{name}`. {hint}"
    if detail["type"] == "missing":
        return f"{file}: the key `{name}` is missing. Add it."
    said = detail["msg"].removeprefix("Value error, ")
    if name == "name":
        said = (
            "must start with a letter and hold only letters, digits and `_`, at most 100 of them, because it is an "
            "asset key"
        )
    elif name == "device":
        said = "must be auto, cpu, cuda or cuda:N"
    elif detail["type"] == "path_type":
        said = "a path is needed"
    value = detail.get("input")
    found = f", found {value!r}" if isinstance(value, (str, int, float, bool, type(None))) and name else ""
    return f"{file}: `{name}`: {said}{found}." if name else f"{file}: {said}."


def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    """The valid keys at the place of an unknown one."""
    model: type[BaseModel] = Experiment
    for part in location[:-1]:
        if part == "model":
            from cherimoya_assets.experiment.model import ModelFile

            return list(ModelFile.model_fields)
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    own = method_keys() if model is Experiment else set()
    return [key for key in (*model.model_fields, *sorted(own)) if key != "source"]

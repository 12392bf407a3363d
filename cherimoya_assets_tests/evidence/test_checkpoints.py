"""Model files as people have them: every row of evidence.yaml predicts what it should, or gets its sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.errors import ModelError
from cherimoya_assets.preflight import check_experiment
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences
from cherimoya_assets_tests.evidence.test_evidence import TABLE
from cherimoya_assets_tests.small_models import (
    IN_WINDOW,
    NamedFile,
    basepairnet_file,
    bpnet_file,
    cherimoya_file,
    chrombpnet_file,
)
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

ROWS = [row for row in TABLE if row["kind"] == "checkpoint"]

FAMILIES: dict[str, Callable[[Path], NamedFile]] = {
    "bpnet": bpnet_file,
    "basepairnet": basepairnet_file,
    "chrombpnet": chrombpnet_file,
    "cherimoya": cherimoya_file,
}


def without(*names: str) -> Callable[[Any], None]:
    def change(module: Any) -> None:
        for name in names:
            delattr(module, name)

    return change


def renamed_taps(payload: Any) -> None:
    weights = payload["state_dict"]
    payload["state_dict"] = {name.replace(".conv_weight", ".conv.conv_weight"): weights[name] for name in weights}


@contextmanager
def no_checksums() -> Iterator[None]:
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(True)


CHANGES: dict[str, Callable[[Any], object]] = {
    "without _log, _exp1, _exp2": without("_log", "_exp1", "_exp2"),
    "without irelu, rrelus": without("irelu", "rrelus"),
    "in float64": lambda module: module.double(),
    "with conv.conv_weight": renamed_taps,
    "with single_count_output": lambda payload: payload["config"].update(single_count_output=True),
}
"""Of what is saved; what is not here is saved otherwise."""


def written(row: dict[str, Any], folder: Path) -> tuple[NamedFile, NamedFile]:
    """The file as its library writes it, and as the row has it."""
    own = FAMILIES[row["family"]](folder)
    saved, path = torch.load(own.path, weights_only=False), folder / "model_of_the_row.torch"
    CHANGES.get(row["written"], lambda _: None)(saved)
    if row["written"] == "without checksums":
        with no_checksums():
            torch.save(saved, path)
    else:
        torch.save(saved, path, _use_new_zipfile_serialization=row["written"] != "in the older container")
    return own, NamedFile.trusting(path, own.kind)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_model_predicts_what_it_should_or_gets_its_sentence(row, tmp_path):
    own, file = written(row, tmp_path)
    if "sentence" in row:
        with pytest.raises(ModelError, match=row["sentence"]):
            load_model(file)
        return
    X = random_sequences(3, IN_WINDOW)
    for found, expected in zip(load_model(file).predict(X), load_model(own).predict(X), strict=True):
        assert expected.std() > 0
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_check_says_the_same(row, tmp_path):
    _, file = written(row, tmp_path)
    model = {"path": str(file.path), "kind": file.kind, "trusted": True, "sha256": file.sha256}
    problems = check_experiment(tiny_experiment(tmp_path, {"model": model}), tmp_path / "cache")
    if "sentence" in row:
        assert len(problems) == 1 and re.search(row["sentence"], problems[0]), problems
    else:
        assert problems == []

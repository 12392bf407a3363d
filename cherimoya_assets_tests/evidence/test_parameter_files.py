"""Parameter files as people have them: every row of evidence.yaml says here what it says to its own program."""

from __future__ import annotations

import pytest

from cherimoya_assets.errors import CherimoyaAssetsError
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets_tests.evidence.test_evidence import TABLE, content
from cherimoya_assets_tests.experiment.test_cherimoya_json import at

ROWS = [row for row in TABLE if row["kind"] == "parameters"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_parameter_file_says_what_it_says_to_its_own_program(row, tmp_path):
    path = tmp_path / "parameters.json"
    path.write_bytes(content(row))
    if "sentence" in row:
        with pytest.raises(CherimoyaAssetsError, match=row["sentence"]):
            read_experiment(path)
        return
    experiment = read_experiment(path)
    assert {place: at(experiment, place) for place in row["places"]} == row["places"]

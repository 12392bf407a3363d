"""Files of loci are read once a process, however many chromosomes and steps look at them."""

from __future__ import annotations

from collections import Counter

import dagster as dg
import pytest

from cherimoya_assets.analysis import loci
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.cli.check import facts
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.preflight import check_inputs
from cherimoya_assets_tests.tiny_experiment import CHROMS, tiny_experiment


def test_every_file_of_loci_is_read_once(tmp_path, monkeypatch):
    opened, read = Counter(), loci.read_plain
    monkeypatch.setattr(loci, "read_plain", lambda path: opened.update([path.name]) or read(path))
    monkeypatch.setattr(loci, "read_strictly", lambda *_: pytest.fail("was read line by line"))
    path = tiny_experiment(tmp_path, {"loci": ["peaks.bed", "more.bed"], "exclusion_lists": ["excluded.bed"]})
    (tmp_path / "more.bed").write_text("chrA\t700\t720\n")
    (tmp_path / "excluded.bed").write_text("chrA\t2000\t2100\n")
    experiment = read_experiment(path)
    assert check_inputs(experiment, tmp_path / "cache") == []
    assert facts(ExperimentLineage(experiment, Home(tmp_path / "home")), "cpu")
    defs = build_defs([experiment], tmp_path / "home")
    for chrom in CHROMS:
        selection = [dg.AssetKey(["tiny", "one_hot_sequences"])]
        assert dg.materialize(
            list(defs.assets), selection=selection, resources=dict(defs.resources), partition_key=chrom
        ).success
    assert opened == {"peaks.bed": 1, "more.bed": 1, "negatives.bed": 1, "excluded.bed": 1}

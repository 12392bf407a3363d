"""The time zone of schedules: that of the experiment file, or the machine's."""

from __future__ import annotations

from zoneinfo import ZoneInfoNotFoundError

import pytest
import tzlocal

from cherimoya_assets.errors import Problems
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.experiment.model import machine_timezone
from cherimoya_assets_tests.tiny_experiment import tiny_experiment


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """tzlocal looks once a process."""
    monkeypatch.setattr("tzlocal.unix._cache_tz_name", None)


def test_it_is_that_of_the_file(tmp_path):
    assert read_experiment(tiny_experiment(tmp_path, {"timezone": "Asia/Tokyo"})).schedule_timezone == "Asia/Tokyo"


def test_it_is_the_machines_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert read_experiment(tiny_experiment(tmp_path)).schedule_timezone == "Asia/Tokyo"


@pytest.mark.parametrize("name", ["local", "", None])
def test_a_machine_without_one_that_has_a_name_is_in_utc(monkeypatch, name):
    monkeypatch.setattr(tzlocal, "get_localzone_name", lambda: name)
    assert machine_timezone() == "UTC"


def test_a_machine_with_two_of_them_is_in_utc(monkeypatch):
    def refuse() -> str:
        raise ZoneInfoNotFoundError("Multiple conflicting time zone configurations found")

    monkeypatch.setattr(tzlocal, "get_localzone_name", refuse)
    assert machine_timezone() == "UTC"


@pytest.mark.parametrize("name", ["Berlin", "CEST", "../UTC", "/etc/localtime", "", 1])
def test_another_is_one_sentence(tmp_path, name):
    with pytest.raises(Problems) as raised:
        read_experiment(tiny_experiment(tmp_path, {"timezone": name}))
    (problem,) = raised.value.problems
    assert problem.startswith("tiny.yaml: `timezone`: ")

"""Many backfills through the real daemon and its code server: every partition lands once, and no log complains."""

from __future__ import annotations

import os

import pytest

from cherimoya_assets_tests.backfill_load import (
    complaints,
    contradictions,
    daemon,
    landed,
    prepare,
    submit,
    wait_for,
)
from cherimoya_assets_tests.servers.postgresql import documented_settings, postgresql, programs

pytestmark = pytest.mark.slow

NO_SKIP = os.environ.get("CHERIMOYA_ASSETS_NO_SKIP") == "1"

WITHOUT_WAITING = 2.0
"""Seconds between two looks of the daemon at its backfills; 30 would make five minutes of a graph with four stages."""


def test_whole_graphs_are_made_once_in_the_order_of_their_stages_with_sqlite(tmp_path):
    load = prepare(tmp_path, experiments=2, chromosomes=2)
    with load.instance() as instance:
        with daemon(load, seconds_between_looks=WITHOUT_WAITING) as alive:
            wait_for(instance, submit(load, instance), alive)
        counts = landed(load, instance)
        assert counts == dict.fromkeys(load.cells(), 1)
        assert {"seqlet_null", "modisco_patterns", "experiment_report"} <= {
            key.path[-1] for key, chrom in counts if not chrom
        }
        assert contradictions(load, instance) == []
        assert complaints(load, instance) == []


def test_attributions_land_once_with_postgresql(tmp_path):
    if programs() is None:
        if NO_SKIP:
            pytest.fail("PostgreSQL's server is not installed")
        pytest.skip("PostgreSQL's server is not installed")
    wanted = ("one_hot_sequences", "attributions")
    with postgresql() as server:
        load = prepare(
            tmp_path, experiments=2, chromosomes=3, settings=documented_settings(), environment=server.environment
        )
        with load.instance() as instance:
            with daemon(load, seconds_between_looks=WITHOUT_WAITING) as alive:
                wait_for(instance, submit(load, instance, wanted), alive)
            assert type(instance.run_storage).__name__ == "PostgresRunStorage"
            assert server.environment["DAGSTER_PG_PASSWORD"] not in instance.info_str()
            assert landed(load, instance) == dict.fromkeys(load.cells(wanted), 1)
            assert contradictions(load, instance) == []
            assert complaints(load, instance, server.said()) == []
    assert not list(load.home.dagster.rglob("*.db"))

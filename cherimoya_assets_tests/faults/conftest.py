"""One process to fork from for all faults."""

from __future__ import annotations

import pytest

from cherimoya_assets_tests.faults.warm import warm_process


@pytest.fixture(scope="session")
def warm():
    """The process that forks everything which is killed."""
    with warm_process() as process:
        yield process

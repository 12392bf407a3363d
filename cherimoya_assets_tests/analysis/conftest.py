"""TF-MoDISco takes seconds, so that what it finds in planted motifs is found once."""

from __future__ import annotations

import pytest

from cherimoya_assets_tests.analysis.planted_motifs import Planted
from cherimoya_assets_tests.analysis.planted_motifs import planted as find_planted


@pytest.fixture(scope="session")
def planted(tmp_path_factory) -> Planted:
    return find_planted(tmp_path_factory.mktemp("planted"))

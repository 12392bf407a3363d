"""Where things land: one folder for the Dagster instance, the stored assets and the caches.

What belongs here: the names of the folders below `--home`. What does not: reading or writing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HOME_NAME = "cherimoya_home"


@dataclass(frozen=True)
class Home:
    """The folder in which a code location keeps everything that it makes."""

    root: Path

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: dagster.yaml, run and event storage."""
        return self.root / "dagster"

    @property
    def store(self) -> Path:
        """Stored assets: `store/<key parts>/<partition>/`."""
        return self.root / "store"

    @property
    def cache(self) -> Path:
        """Derived from inputs and safe to delete: decompressed genomes, their indexes, file hashes."""
        return self.root / "cache"


def default_home(experiments: Path) -> Home:
    """The home beside an experiment file, or inside a folder of experiment files."""
    experiments = experiments.resolve()
    folder = experiments if experiments.is_dir() else experiments.parent
    return Home(folder / HOME_NAME)

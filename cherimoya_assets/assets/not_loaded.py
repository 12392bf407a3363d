"""What stands in the lineage for an experiment that cannot be loaded: an asset that says why.

What belongs here: that asset. What does not: finding out why (`experiment/reading.py`, `assets/lineage.py`).
"""

import re
from collections.abc import Collection, Sequence

import dagster as dg

from cherimoya_assets.experiment import Unreadable
from cherimoya_assets.reports.markdown_text import markdown_text

NOT_LOADED = "not_loaded"
"""The last part of its asset key."""


def not_loaded_assets(unreadable: Sequence[Unreadable], taken: Collection[str]) -> list[dg.AssetsDefinition]:
    """One for each of these experiments, under its name or that of its file; `taken` are names of others."""
    found: list[dg.AssetsDefinition] = []
    names = set(taken)
    for one in unreadable:
        name = stem = one.name or re.sub(r"[^A-Za-z0-9_]", "_", one.source.stem)
        number = 1
        while name in names:
            number += 1
            name = f"{stem}_{number}"
        names.add(name)
        found.append(_asset(name, one))
    return found


def _asset(name: str, one: Unreadable) -> dg.AssetsDefinition:
    said = " ".join(one.problems)

    @dg.asset(
        key=[name, NOT_LOADED],
        group_name=name,
        description=f"{markdown_text(f'{one.source}: {said}')}\n\nCorrect it, and reload the code location.",
        metadata={"path": dg.MetadataValue.path(str(one.source))},
        kinds={"yaml"},
    )
    def not_loaded() -> None:
        raise dg.Failure(said, allow_retries=False)

    return not_loaded

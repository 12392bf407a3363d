"""What CONTRIBUTING asks of whoever adds a step, done for a toy: a value, a function, a row.

How many seqlets of each chromosome are in TF-MoDISco's patterns: by chromosome, on what all chromosomes gave together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from cherimoya_assets import steps
from cherimoya_assets.analysis.modisco import ModiscoPatterns
from cherimoya_assets.assets.made import Landing, Making
from cherimoya_assets.steps import HERE, Parameters, Stage, Step, counted, read


@dataclass(frozen=True)
class Toy:
    """Seqlets of one chromosome in the patterns, and of the genome's letters there."""

    n: int

    def write(self, folder: Path) -> None:
        """`toy.txt`."""
        (folder / "toy.txt").write_text(f"{self.n}\n")

    @classmethod
    def read(cls, folder: Path) -> Toy:
        """What `write` wrote."""
        return cls(int((folder / "toy.txt").read_text()))


def toy(making: Making, patterns: ModiscoPatterns) -> Landing:
    """Count them."""
    n = int((patterns.seqlets["chrom"] == making.chrom).sum())
    told = f"{n} seqlets, at most {making.parameters['n_seqlets']}"
    return Landing(
        Toy(n),
        checks=[making.check("few", n <= making.parameters["n_seqlets"], told)],
        metadata={"toys": n},
    )


STAGE = Stage("toys", True, "toys")

ROW = Step(
    "toys",
    version=1,
    stage="toys",
    made_by=f"{__name__}:toy",
    stored=f"{__name__}:Toy",
    description="Toys of the {head} patterns.",
    kinds=frozenset({"pandas"}),
    reads=(read("modisco_patterns", given="patterns"), read("genome", of=HERE)),
    parameters=(Parameters("modisco", ("n_seqlets",)),),
    packages=("pandas",),
    checks=("few",),
    per_head=True,
    fact=counted("toys", "{head} toy"),
)


def add_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on every experiment has it."""
    monkeypatch.setattr(steps, "STAGES", (*steps.STAGES, STAGE))
    monkeypatch.setattr(steps, "STEPS", (*steps.STEPS, ROW))

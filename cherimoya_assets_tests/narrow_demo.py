"""The demo made narrow enough for tests: real genome, peaks and trained model, few loci, a narrow window."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import yaml

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.build import stages
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.instance import open_instance

DEMO = DEMO_EXPERIMENT.parent
HEADS = ("counts", "profile")
CHROMS = ("chrIII", "chrVI", "chrI")
MOTIFS = 6
LOCI_A_CHROMOSOME = 4


def narrow_experiment(folder: Path, changes: Mapping[str, object] | None = None) -> Path:
    """Write a narrow experiment file into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("peaks.narrowPeak", "negatives.bed"):
        (folder / name).write_text(_first_rows((DEMO / name).read_text()))
    meme = (DEMO / "JASPAR2024_CORE_fungi.meme").read_text().split("MOTIF ")
    (folder / "motifs.meme").write_text("MOTIF ".join(meme[: MOTIFS + 1]))
    content = {
        "name": "narrow",
        "sequences": str(DEMO / "sacCer3.fa.gz"),
        "loci": "peaks.narrowPeak",
        "negatives": "negatives.bed",
        "exclusion_lists": [str(DEMO / "exclusion.bed")],
        "model": str(DEMO / "model.torch"),
        "motifs": "motifs.meme",
        "chroms": list(CHROMS),
        "in_window": 718,
        "out_window": 500,
        "attr_window": 60,
        # Dense, so that what stands on it can be compared with the field's commands to rounding.
        "mutagenesis_tolerance": 0,
        "output": list(HEADS),
        "device": "cpu",
        "seqlets": {"threshold": 0.05},
        "modisco": {"window": 60},
        "marginalize": {"n_loci": 6},
        **(changes or {}),
    }
    path = folder / "narrow.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def materialize_everything(experiment_file: Path, home: Path) -> list[dg.AssetCheckEvaluation]:
    """Observe the inputs and run the stage jobs on a persistent instance; returns what every check found."""
    experiment = read_experiment(experiment_file)
    lineage = ExperimentLineage(experiment, Home(home))
    defs = build_defs([experiment], home)
    inputs = [node.key for node in defs.resolve_asset_graph().asset_nodes if node.is_observable]
    evaluations: list[dg.AssetCheckEvaluation] = []
    with open_instance(lineage.home) as instance:
        everything = defs.resolve_implicit_global_asset_job_def()
        assert everything.execute_in_process(instance=instance, asset_selection=inputs).success
        for number, stage in enumerate(stages(lineage), start=1):
            job = defs.resolve_job_def(f"{lineage.name}__{number}_{stage.name}")
            for chrom in lineage.chroms if stage.partitioned else (None,):
                result = job.execute_in_process(instance=instance, partition_key=chrom)
                assert result.success
                evaluations += result.get_asset_check_evaluations()
    return evaluations


def _first_rows(text: str) -> str:
    seen: dict[str, int] = {}
    rows = []
    for line in text.splitlines():
        chrom = line.split("\t", 1)[0]
        seen[chrom] = seen.get(chrom, 0) + 1
        if chrom in CHROMS and seen[chrom] <= LOCI_A_CHROMOSOME:
            rows.append(line)
    return "\n".join(rows) + "\n"

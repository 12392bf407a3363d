"""What stored values and other code stand on: keys, code versions, sources, jobs, stamps and files, as text.

A home that was made yesterday stays fresh for the code of today while these are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import sources
from cherimoya_assets.resources.storage import Manifest
from cherimoya_assets_tests.asset_specs import listed, name

OF_A_RUN = {"seconds", "made", "run_id", "experiment_file", "home", "command", "platform", "packages", "device"}
"""What a stamp says of the run and the machine: other every time."""

EXACT = ("one_hot_sequences", "marginalization_backgrounds")
"""Steps without floating point: their bytes are the same on every processor."""


def graph(lineage: ExperimentLineage, defs: dg.Definitions) -> str:
    """Each asset with its code version and what one partition of it is made from; then the jobs."""
    told = []
    nodes = defs.resolve_asset_graph()
    for key in sorted(nodes.get_all_asset_keys()):
        node = nodes.get(key)
        told.append(f"{name(key)}: code {node.code_version}, {'by chromosome' if node.is_partitioned else 'whole'}")
        if node.is_materializable:
            made_from = sources(lineage, key, lineage.chroms[0] if node.is_partitioned else None)
            told.append(f"  from        {listed(source.name for source in made_from)}")
    for job in sorted(defs.resolve_all_job_defs(), key=lambda job: job.name):
        if not job.name.startswith("__"):
            keys = job.asset_layer.executable_asset_keys
            told.append(f"job {job.name}\n              {listed(map(name, keys))}")
    told += [f"schedule {schedule.name}: {schedule.cron_schedule}" for schedule in defs.schedules or ()]
    told += [f"sensor {sensor.name}" for sensor in defs.sensors or ()]
    return "\n".join(told) + "\n"


def store(lineage: ExperimentLineage, manifests: Iterator[tuple[dg.AssetKey, str | None, Manifest]]) -> str:
    """Each stored value: its stamp without what another run or processor has otherwise, and its files."""
    told = []
    for key, partition, manifest in manifests:
        exact = key.path[-1] in EXACT
        told.append(f"{'/'.join(key.path)}[{partition or ''}]")
        told += [f"  {key:<16}{json.dumps(value)}" for key, value in sorted(_stamp(manifest.stamp.recorded).items())]
        told.append(f"  kind            {manifest.kind}")
        told.append(f"  files           {listed(file.name for file in manifest.files)}")
        if exact:
            told.append(f"  version         {manifest.version}")
    return "\n".join(told) + "\n"


def _stamp(stamp: Mapping[str, Any]) -> dict[str, Any]:
    """Values of floats and of inputs are those of a processor or a file; their names and everything else stay."""
    kept = {key: value for key, value in stamp.items() if key not in OF_A_RUN}
    kept["of a run"] = sorted(OF_A_RUN & stamp.keys())
    kept["packages"] = sorted(stamp["packages"])
    for part in ("inputs", "upstream"):
        kept[part] = sorted(stamp[part])
    if "report" in kept["parameters"]:
        kept["parameters"] = {**kept["parameters"], "report": _names(kept["parameters"]["report"])}
    return kept


def _names(value: Any) -> Any:
    """The keys of a report; what was measured is another matter."""
    return {key: _names(one) for key, one in value.items()} if isinstance(value, Mapping) else "..."

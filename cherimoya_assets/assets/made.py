"""From a row of the table and the function that it names to an asset of Dagster.

What belongs here: what every step does the same way around its own computation: its dependencies, looking at the inputs
before, landing what came out after. What does not: what a step computes (its module), and what it is (`steps.py`).
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pandas as pd

from cherimoya_assets import steps
from cherimoya_assets.assets.landing import Stopwatch, analysis_log, check, land, reader_errors
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import current_inputs, reads_of
from cherimoya_assets.experiment import Experiment
from cherimoya_assets.resources.gpu import GPU_POOL, GPUResource
from cherimoya_assets.resources.storage import Stored
from cherimoya_assets.steps import Step


@dataclass(frozen=True)
class Landing:
    """What a step's function hands over to be checked, stamped and stored.

    Attributes:
        value: of the type that the row names.
        metadata: what the UI shows of it.
        checks: results of the checks that the row names.
        preview: the table whose first rows the UI shows; without one it shows the stored files.
        stamped: what the stamp says beside the parameters: what was measured on the way.
    """

    value: Stored
    metadata: Mapping[str, Any]
    checks: Sequence[dg.AssetCheckResult] = ()
    preview: pd.DataFrame | None = None
    stamped: Mapping[str, Any] = field(default_factory=dict)


class Making:
    """One partition of one asset, while its step's function makes it. What needs a device begins when it has one."""

    def __init__(
        self, lineage: ExperimentLineage, step: Step, key: dg.AssetKey, context: dg.AssetExecutionContext
    ) -> None:
        self.lineage, self.step, self.key, self.context = lineage, step, key, context
        self.partition: str | None = context.partition_key if step.by_chromosome else None
        self.device, self.watch, self.inputs = "cpu", Stopwatch(), dict[str, str]()
        if not step.gpu:
            self.begin()

    @property
    def experiment(self) -> Experiment:
        return self.lineage.experiment

    @property
    def chrom(self) -> str:
        """The chromosome. Not for a pooled step."""
        assert self.partition is not None
        return self.partition

    @property
    def head(self) -> str:
        """The head. Not for a step without heads."""
        return str(self.key.path[1])

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of the row, by name."""
        return self.step.parameter_values(self.experiment)

    def begin(self) -> None:
        """From now on seconds count, and inputs must stay as they are now."""
        self.watch, self.inputs = Stopwatch(), current_inputs(self.lineage, self.key, self.partition)

    @contextmanager
    def leased(self) -> Iterator[GPUResource]:
        """The devices, while one of them is ours: `device` names it. Waiting for it is no part of the work."""
        gpu: GPUResource = self.context.resources.gpu
        with gpu.lease(self.experiment.device, self.context.log.info) as self.device:
            self.begin()
            yield gpu

    def check(self, name: str, passed: bool, description: str, *, warn: bool = False) -> dg.AssetCheckResult:
        """One check's result; `description` says what was seen, in numbers."""
        return check(self.key, name, passed, description, warn=warn)

    def path_for_people(self, file: str) -> dg.MetadataValue:
        """Where a file of the asset stays reachable, whichever version of it is the newest."""
        return dg.MetadataValue.path(self.lineage.store.for_people(tuple(self.key.path), self.partition, file))


def assets_of(lineage: ExperimentLineage, step: Step) -> list[dg.AssetsDefinition]:
    """The assets of a step."""
    module, _, name = step.made_by.partition(":")
    function = getattr(importlib.import_module(module), name)
    if step.together:
        return [function(lineage, step)]
    return [_asset(lineage, step, key, function) for key in lineage.keys_of(step)]


def spec_of(lineage: ExperimentLineage, step: Step, key: dg.AssetKey) -> dict[str, Any]:
    """What Dagster knows of an asset besides its key, its dependencies and its partitions."""
    return {
        "group_name": lineage.name,
        "code_version": lineage.code_version(step),
        "description": step.description.format(head=key.path[1]),
        "kinds": set(step.kinds),
        "tags": {"experiment": lineage.name, "step": step.name},
        "io_manager_key": "store",
    }


def dependencies(lineage: ExperimentLineage, key: dg.AssetKey) -> tuple[dict[str, dg.AssetIn], list[dg.AssetKey]]:
    """What Dagster loads for the step's function, by argument, and what the asset depends on besides."""
    reads = reads_of(lineage, key)
    given = {
        one.given: dg.AssetIn(one.key, partition_mapping=dg.AllPartitionMapping(), metadata={"pooled": True})
        if one.of == steps.EVERY
        else dg.AssetIn(one.key)
        for one in reads
        if one.given
    }
    loaded = {one.key for one in reads if one.given}
    return given, list(dict.fromkeys(one.key for one in reads if one.key not in loaded))


def _asset(
    lineage: ExperimentLineage, step: Step, key: dg.AssetKey, function: Callable[..., Landing]
) -> dg.AssetsDefinition:
    given, deps = dependencies(lineage, key)

    asset: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        key=key,
        ins=given,
        deps=deps,
        check_specs=lineage.check_specs(step, key),
        partitions_def=lineage.partitions if step.by_chromosome else None,
        pool=GPU_POOL if step.gpu else None,
        required_resource_keys={"gpu"} if step.gpu else set(),
        **spec_of(lineage, step, key),
    )

    @asset
    def make(context: dg.AssetExecutionContext, **loaded: Any) -> Iterator[Any]:
        with reader_errors(), analysis_log(context.log):
            making = Making(lineage, step, key, context)
            landing = function(making, **loaded)
        yield from land(
            lineage,
            key,
            landing.value,
            stamp=lineage.stamp(step, making.inputs, landing.stamped, making.device),
            watch=making.watch,
            checks=landing.checks,
            metadata=landing.metadata,
            preview=landing.preview,
        )

    return make

"""A renamed experiment: what is stored under its old name, and taking it over without computing anything.

What belongs here: finding the old name, recording its values in Dagster's event log under the new keys, moving them.
What does not: whether a value is what would be made now (`assets/drift.py`), and how the store moves
(`resources/storage.py`).

Events are recorded first and the store moves last. So whenever this is interrupted, the old name holds everything or
the new one does, and the same call finishes what was not. Stamps keep the name under which a value was made.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Mapping

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from cherimoya_assets.assets.drift import Drift, Freshness
from cherimoya_assets.assets.inputs import DATA_VERSION_TAG, observations, observed_inputs
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import Source, Versions, reads_of
from cherimoya_assets.errors import CherimoyaAssetsError, ExperimentError, StorageError
from cherimoya_assets.instance import open_instance
from cherimoya_assets.resources.chunks import rename_chunks
from cherimoya_assets.resources.layout import path_part
from cherimoya_assets.runs.reaping import UNFINISHED
from cherimoya_assets.runs.run_process import PROCESS_TAG, Life, life_of, process_tag

INPUT_VERSION = "dagster/input_data_version"
INPUT_EVENT = "dagster/input_event_pointer"


def kept_under_another_name(lineage: ExperimentLineage) -> str:
    """A sentence that says where the values of an experiment are that holds none itself; empty where nowhere.

    They count where everything that is stored under the other name is what would be made now.
    """
    if any(lineage.store.partitions(tuple(key.path)) for key in lineage.asset_keys):
        return ""
    for old in dict.fromkeys(key[0] for key, _ in lineage.store.contents()):
        stored: list[Freshness] = []
        try:
            for one in _stored_as(lineage, old):
                if one.own:
                    # One partition tells another experiment; a store may hold thousands of them.
                    stored = []
                    break
                stored.append(one)
        except (CherimoyaAssetsError, OSError):
            return ""
        if stored:
            words = ["rename", str(lineage.experiment.source), old, "--home", str(lineage.home.root)]
            return (
                f"{lineage.store.root / path_part(old)} holds the same: {_count(stored)}, made from the same inputs by "
                f"the same code. If {lineage.name} was named {old} before, this takes them over without computing "
                f"anything: {shlex.join(['cherimoya-assets', *words])}"
            )
    return ""


def take_over(lineage: ExperimentLineage, old: str) -> str:
    """Make everything that is stored under an old name the experiment's own; says what, in a sentence.

    Raises:
        ExperimentError: the experiment has this name.
        StorageError: nothing is stored under the old name, the new one holds other values, one of the two is at work
            in the home, or the values are not those of this experiment.
        InputError, Problems: an input cannot be read.
    """
    if old == lineage.name:
        raise ExperimentError(
            f"{lineage.experiment.source}: the experiment is named {old} in this file. Give it its new name there; the "
            "old one stands on the command line."
        )
    lineage.store.verify_can_rename(old, lineage.name)
    stored = list(_stored_as(lineage, old))
    if others := [one for one in stored if one.own]:
        more = f" (and {len(others) - 1} more)" if others[1:] else ""
        raise StorageError(
            f"{lineage.store.root / path_part(old)}: these are not the values of {lineage.name}: "
            f"{others[0].sentence}{more}. Name it {old} again, run it, then rename."
        )
    if not stored:
        raise StorageError(
            f"{lineage.store.root / path_part(old)}: {lineage.name} has none of the assets and chromosomes that are "
            "stored here. Give the name that it had before."
        )
    with open_instance(lineage.home) as instance:
        _refuse_work(instance, lineage, old)
        _report(instance, lineage, old)
        _refuse_work(instance, lineage, old)
    rename_chunks(lineage.store, old, lineage.name)
    lineage.store.rename(old, lineage.name)
    return f"{lineage.name} has taken over what was stored as {old}: {_count(stored)}. Nothing was computed."


def _named(lineage: ExperimentLineage, name: str) -> ExperimentLineage:
    """The same experiment under another name."""
    return ExperimentLineage(lineage.experiment.model_copy(update={"name": name}), lineage.home)


def _stored_as(lineage: ExperimentLineage, old: str) -> Iterator[Freshness]:
    """The partitions of an experiment that are stored under another name, each compared when it is asked for."""
    drift = Drift(_named(lineage, old))
    for key in drift.lineage.asset_keys:
        for partition in drift.lineage.partitions_of(key):
            if drift.versions.manifest(key, partition) is not None:
                yield drift.of(key, partition)


def _refuse_work(instance: dg.DagsterInstance, lineage: ExperimentLineage, old: str) -> None:
    names = (old, lineage.name)
    runs = [
        run
        for run in instance.get_runs(RunsFilter(statuses=[*UNFINISHED, DagsterRunStatus.QUEUED]))
        if run.tags.get("experiment") in names or any(key.path[0] in names for key in run.asset_selection or ())
    ]
    # A command that walks the chromosomes has no run between two of them, and lives.
    for name in names:
        runs += [
            run
            for run in instance.get_runs(RunsFilter(tags={"experiment": name}), limit=1)
            if life_of(instance, run) is Life.ALIVE and run.tags[PROCESS_TAG] != process_tag()[PROCESS_TAG]
        ]
    if runs:
        raise StorageError(
            f"{lineage.home.root}: {' or '.join(names)} is at work here (run {runs[0].run_id}). Wait for its end, or "
            "stop it, then rename."
        )


def _report(instance: dg.DagsterInstance, lineage: ExperimentLineage, old: str) -> None:
    """Tell Dagster what the experiment has under its new keys: inputs, then everything in the order of the lineage."""
    for key, one in observed_inputs(lineage).items():
        for seen in observations(key, one):
            instance.report_runless_asset_event(seen)
    was = _named(lineage, old)
    versions = Versions(was)
    for key in lineage.asset_keys:
        before = dg.AssetKey([old, *key.path[1:]])
        # As Dagster notes it of a run: the last event that was seen, and the version of what is a whole.
        last, made_from = instance.event_log_storage.get_maximum_record_id(), {}
        for here, there in zip(reads_of(lineage, key), reads_of(was, before), strict=True):
            name = here.key.to_user_string()
            made_from[f"{INPUT_EVENT}/{name}"] = str(last)
            made_from[f"{INPUT_VERSION}/{name}"] = versions.version(Source(there.key, observed=there.observed))
        for partition in lineage.partitions_of(key):
            if (manifest := versions.manifest(before, partition)) is None:
                continue
            tags = {
                DATA_VERSION_TAG: manifest.version,
                "dagster/data_version_is_user_provided": "true",
                "dagster/code_version": manifest.stamp.code_version or "",
                **made_from,
            }
            metadata = _metadata(instance, lineage, before, partition, manifest.version)
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    key, f"Taken over from {old}.", metadata=metadata, partition=partition, tags=tags
                )
            )


def _metadata(
    instance: dg.DagsterInstance, lineage: ExperimentLineage, before: dg.AssetKey, partition: str | None, version: str
) -> Mapping[str, dg.MetadataValue]:
    """What the event says under which a value was recorded first, with the paths that it gets."""
    chosen = dg.AssetRecordsFilter(before, asset_partitions=None if partition is None else [partition])
    for record in instance.fetch_materializations(chosen, limit=1).records:
        event = record.asset_materialization
        if event is not None and (event.tags or {}).get(DATA_VERSION_TAG) == version:
            root = lineage.store.root
            was, now = (f"{root / path_part(name)}/" for name in (before.path[0], lineage.name))
            return {
                name: dg.MetadataValue.path(f"{now}{os.fspath(value.path).removeprefix(was)}")
                if isinstance(value, dg.PathMetadataValue) and os.fspath(value.path or "").startswith(was)
                else value
                for name, value in event.metadata.items()
            }
    return {}


def _count(stored: Collection[Freshness]) -> str:
    return f"{len(stored)} partition" + ("" if len(stored) == 1 else "s")

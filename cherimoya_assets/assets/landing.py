"""How a computed value becomes a materialization: measured, checked, stamped, staged.

What belongs here: what every asset does the same way at its end. What does not: what the numbers mean.

A value whose blocking check fails is never committed: the check's result is recorded, the step fails, and what was
stored before stays.
"""

from __future__ import annotations

import logging
import resource
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pandas as pd

from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.versions import Versions, changed_inputs
from cherimoya_assets.errors import CherimoyaAssetsError
from cherimoya_assets.resources.stamp import Stamp
from cherimoya_assets.resources.storage import Manifest, Stored

PREVIEW_ROWS = 10

ANALYSIS = "cherimoya_assets.analysis"
"""The logger that all modules of the analysis are below."""


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began


def land(
    lineage: ExperimentLineage,
    key: dg.AssetKey,
    value: Stored,
    *,
    stamp: Stamp,
    watch: Stopwatch,
    metadata: Mapping[str, Any],
    preview: pd.DataFrame | None = None,
    checks: Sequence[dg.AssetCheckResult] = (),
    blocking: bool = True,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Yield the events of one materialization, or of one refused materialization.

    `preview` is the table that the UI shows the first rows of; without one it shows the stored files. `checks` are
    results for `key`. With `blocking`, one that did not pass with severity ERROR stops the landing. The `inputs` of the
    stamp are what the value was computed from; they must be what there is now.

    Raises:
        dagster.Failure: an input changed meanwhile, or a blocking check did not pass. Nothing was stored.
    """
    now, partition = Versions(lineage), _partition()
    _refuse_changed_inputs(now, key, partition, stamp.inputs)
    failed = refusals(checks)
    if blocking and failed:
        yield from checks
        reasons = "; ".join(f"{c.check_name}: {c.description}" for c in failed)
        raise dg.Failure(
            f"{key.to_user_string()} was computed but not stored, because a check did not pass. {reasons}",
            allow_retries=False,
        )
    stamp = stamp.model_copy(update={**circumstances(key, stamp), "upstream": now.upstream(key, partition)})
    staged = lineage.store.stage(value, stamp)
    yield dg.MaterializeResult(
        asset_key=key,
        value=staged,
        data_version=dg.DataVersion(staged.manifest.version),
        check_results=list(checks),
        metadata={
            **metadata,
            "seconds": watch.seconds,
            "peak_memory_mb": peak_memory_mb(),
            "device": stamp.device,
            "provenance": dg.MetadataValue.json(stamp.recorded),
            "preview": table(stored_files(staged.manifest) if preview is None else preview),
        },
    )


def circumstances(key: dg.AssetKey, stamp: Stamp) -> dict[str, Any]:
    """What a stamp says about this very run: which one, when, of what, and the command that makes it again."""
    context, partition = dg.AssetExecutionContext.get(), _partition()
    words = ["run", stamp.experiment_file, "--home", stamp.home, "--select", "/".join(key.path[1:])]
    words += ["--chroms", partition] if partition is not None else []
    return {
        "asset": key.to_user_string(),
        "partition": partition,
        "code_version": context.assets_def.code_versions_by_key.get(key),
        "run_id": context.run.run_id,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["cherimoya-assets", *words, "--force"]),
    }


def check(key: dg.AssetKey, name: str, passed: bool, description: str, *, warn: bool = False) -> dg.AssetCheckResult:
    """One check's result; `description` says what was seen, in numbers."""
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=bool(passed),
        description=description,
        severity=dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR,
    )


def refusals(checks: Sequence[dg.AssetCheckResult]) -> list[dg.AssetCheckResult]:
    """Those that stop a landing."""
    return [c for c in checks if not c.passed and c.severity == dg.AssetCheckSeverity.ERROR]


def _partition() -> str | None:
    """The chromosome of the step that is executed, None of a pooled one."""
    context = dg.AssetExecutionContext.get()
    return context.partition_key if context.has_partition_key else None


def _refuse_changed_inputs(now: Versions, key: dg.AssetKey, partition: str | None, inputs: Mapping[str, str]) -> None:
    """Raise a failure that names every input that is not what it was when the computation began."""
    with reader_errors():
        changed = changed_inputs(now, key, partition, inputs)
    if changed:
        name = "/".join(key.path[1:]) + (f"[{partition}]" if partition is not None else "")
        raise dg.Failure(
            f"{' and '.join(changed)} changed while {name} was being computed; nothing was stored. Run it again.",
            allow_retries=False,
        )


@contextmanager
def analysis_log(log: logging.Logger) -> Iterator[None]:
    """While it lasts, what the analysis logs (it knows no Dagster) stands in the log of the step."""
    handler = _Forward(log)
    source = logging.getLogger(ANALYSIS)
    source.addHandler(handler)
    try:
        yield
    finally:
        source.removeHandler(handler)


class _Forward(logging.Handler):
    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, record.getMessage())


def stored_files(manifest: Manifest) -> pd.DataFrame:
    """What a value that is no table consists of."""
    return pd.DataFrame(
        {"file": [file.name for file in manifest.files], "bytes": [file.size for file in manifest.files]}
    )


@contextmanager
def reader_errors() -> Iterator[None]:
    """Turn an error that the user can fix into a step failure that says it in one sentence and is not retried."""
    try:
        yield
    except CherimoyaAssetsError as error:
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error


def table(frame: pd.DataFrame, rows: int = PREVIEW_ROWS) -> dg.TableMetadataValue:
    """The first rows as a table in the Dagster UI."""
    head = frame.head(rows)
    kinds = {"i": "int", "u": "int", "f": "float", "b": "bool"}
    columns = [dg.TableColumn(str(c), kinds.get(head[c].dtype.kind, "string")) for c in head.columns]
    plain = {"int": int, "float": float, "bool": bool, "string": str}
    records = [
        dg.TableRecord({c.name: plain[c.type](value) for c, value in zip(columns, row, strict=True)})
        for row in head.itertuples(index=False)
    ]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def peak_memory_mb() -> float:
    """The most memory that this process held so far, in MB (host memory; a device reports its own)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)

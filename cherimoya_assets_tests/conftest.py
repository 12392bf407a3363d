"""What several test modules stand on: one materialized, narrow demo for all of them."""

from __future__ import annotations

import fcntl
import json
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cherimoya_assets.analysis.child_process import available_cpus

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation

    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets_tests.cli.command import Said


def pytest_configure() -> None:
    """What runs in the background of a script ignores signals, and so does every program that a test starts."""
    for number, own in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, own)


@pytest.fixture
def only_one_locus(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """A model that is asked for more than one locus, as `check` asks, fails the test.

    Gives what is asked for: the file's name and the shape of the sequences.
    """
    import torch

    from cherimoya_assets.analysis.sequence_model import SequenceModel

    asked: list[tuple[str, tuple[int, ...]]] = []
    check, call = SequenceModel.check_prediction, torch.nn.Module.__call__

    def predicting(model: SequenceModel, X: Any, dtype: str) -> None:
        asked.append((model.path.name, X.shape))
        with monkeypatch.context() as allowed:
            allowed.setattr(torch.nn.Module, "__call__", call)
            check(model, X, dtype)

    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_, **__: pytest.fail("a model was run"))
    monkeypatch.setattr(SequenceModel, "check_prediction", predicting)
    return asked


SLOW_FIXTURES = {"narrow_run", "narrow_materialized", "tiny_run", "bucket"}
"""Whole runs, and a server: whatever waits for one is slow."""

WAITING = {"test_load", "test_automation_daemon", "test_killed_daemon", "test_reprocessing", "test_webserver"}
"""Modules that wait for daemons and servers for a minute or more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make quick` leaves out what stands on a whole run or a server, beside what is marked as slow itself.

    Modules that mostly wait come first: while one waits for a daemon, the other processes have the cores to themselves.
    """
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.stem not in WAITING)


@pytest.fixture(autouse=True)
def threads():
    """As many threads as there are cores: numba, which some of the tools use, sets OpenMP's number for good."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(available_cpus())


@dataclass(frozen=True)
class Narrow:
    """The narrow demo with everything made: real genome, peaks and model, few loci. Not to be written to."""

    file: Path
    home: Path

    @property
    def lineage(self) -> ExperimentLineage:
        from cherimoya_assets.assets.lineage import ExperimentLineage
        from cherimoya_assets.experiment import read_experiment
        from cherimoya_assets.home import Home

        return ExperimentLineage(read_experiment(self.file), Home(self.home))


@dataclass(frozen=True)
class NarrowRun(Narrow):
    """Made by `cherimoya-assets run`, and what it said."""

    said: Said


@dataclass(frozen=True)
class NarrowMaterialized(Narrow):
    """Made by Dagster's own jobs, and what every check found."""

    evaluations: list[AssetCheckEvaluation]


@pytest.fixture(scope="session")
def narrow_run(tmp_path_factory, worker_id) -> NarrowRun:
    # Imported here, so that tests of a module without Dagster do not wait for it.
    from cherimoya_assets_tests.cli.command import Said, command
    from cherimoya_assets_tests.narrow_demo import narrow_experiment

    # All processes of the suite have one: who comes first makes it, the others wait.
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "narrow_run"
    folder.mkdir(exist_ok=True)
    said = folder / "said.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = folder / "narrow.yaml"
        if not said.exists():
            file = narrow_experiment(folder)
            said.write_text(json.dumps(asdict(command("run", file, "--home", folder / "home"))))
    return NarrowRun(file, folder / "home", Said(**json.loads(said.read_text())))


@pytest.fixture(scope="session")
def narrow_materialized(tmp_path_factory) -> NarrowMaterialized:
    from cherimoya_assets_tests.narrow_demo import materialize_everything, narrow_experiment

    folder = tmp_path_factory.mktemp("narrow_materialized")
    file = narrow_experiment(folder)
    return NarrowMaterialized(file, folder / "home", materialize_everything(file, folder / "home"))

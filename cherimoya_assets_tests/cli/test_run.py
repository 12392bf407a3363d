"""`cherimoya-assets run` on a tiny experiment: what it makes, what it says, and how it fails."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus, RunsFilter

from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets.runs.run_process import PROCESS_TAG
from cherimoya_assets.walk import COMMAND_TAG
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.tiny_experiment import CHROMS

pytestmark = pytest.mark.slow

COMMAND = "import sys; from cherimoya_assets.cli import main; sys.exit(main(sys.argv[1:]))"
"""The command line in a process of its own, with the arguments that follow."""

REPORTS = ("experiment.html", "report.html", "marginalization.html")


@pytest.fixture
def ran(tiny_run):
    """A complete run: (experiment file, home, what was said)."""
    return tiny_run


@pytest.fixture
def home(ran, tmp_path):
    """A home of its own in which everything is made."""
    shutil.copytree(ran[1], tmp_path / "home", symlinks=True)
    return tmp_path / "home"


def stored(home: Path) -> dict[tuple[str, str | None], str]:
    """The folder of every stored partition by asset and partition; a new materialization has a new folder.

    What is known to be damaged counts as missing.
    """
    store = AssetStore(home / "store")
    found = {}
    for manifest in sorted(store.root.rglob("manifest.json")):
        *key, cell = manifest.parent.relative_to(store.root).parts
        partition = None if cell == "_pooled" else cell
        if (held := store.manifest(tuple(key), partition)) is not None:
            found["/".join(key[1:]), partition] = held.folder
    return found


def remade(before: dict, after: dict) -> set[tuple[str, str | None]]:
    return {cell for cell in after if before.get(cell) != after[cell]}


def damage(home: Path, chrom: str) -> None:
    """Flip a byte of a stored partition, as a dying disk does."""
    folder = AssetStore(home / "store").folder(("tiny", "one_hot_sequences"), chrom)
    file = sorted((folder / "latest").glob("*.npz"))[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_run_makes_everything_and_says_where_the_reports_are(ran):
    _, home, said = ran
    assert (said.code, said.err) == (0, "")
    cells = stored(home)
    assert {chrom for asset, chrom in cells if asset == "counts/attributions"} == set(CHROMS)
    assert ("experiment_report", None) in cells
    pages = [Path(line.strip()) for line in said.out.splitlines() if line.endswith(".html")]
    assert {page.name for page in pages} == set(REPORTS)
    assert all(page.is_file() for page in pages)
    assert pages[0].name == "experiment.html"


def test_the_display_has_a_line_a_chromosome_and_a_table_at_the_end(ran):
    said = ran[2]
    first_stage = said.out.split("1 of 4")[1].split("2 of 4")[0]
    assert [line.split()[0] for line in first_stage.splitlines()[1:] if line] == list(CHROMS)
    assert "2 loci (1 lost)" in first_stage
    table = said.out.split("\nchromosome")[1].splitlines()
    assert table[0].split() == ["loci", "counts", "seqlets", "seconds"]
    assert [row.split()[:2] for row in table[1:5]] == [["chrA", "3"], ["chrB", "2"], ["chrC", "0"], ["total", "5"]]
    assert "dagster -" not in said.out


def test_every_chromosome_is_an_ordinary_run_of_the_stage_jobs(ran):
    with dg.DagsterInstance.from_config(str(ran[1] / "dagster")) as instance:
        runs = instance.get_runs()
        observed = instance.get_latest_data_version_record(dg.AssetKey(["tiny", "peaks"]))
        partitions = instance.get_materialized_partitions(dg.AssetKey(["tiny", "counts", "seqlets"]))
    assert observed is not None
    assert partitions == set(CHROMS)
    jobs = [(run.job_name, run.tags.get("dagster/partition")) for run in runs]
    for number, stage in ((1, "attribution"), (3, "seqlets_and_effects")):
        assert {chrom for job, chrom in jobs if job == f"tiny__{number}_{stage}"} == set(CHROMS)
    assert jobs.count(("tiny__4_patterns_and_reports", None)) == 1
    assert {run.status for run in runs} == {DagsterRunStatus.SUCCESS}
    assert {run.tags["experiment"] for run in runs} == {"tiny"}
    assert len({run.tags[COMMAND_TAG] for run in runs}) == 1
    assert all(run.tags[PROCESS_TAG].split(":")[1] == str(os.getpid()) for run in runs)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (["seqlets"], {("counts/seqlets", chrom) for chrom in CHROMS}),
        (
            ["tiny/counts/seqlet_null", "marginalization_report"],
            {("counts/seqlet_null", None), ("marginalization_report", None)},
        ),
        (["counts/seqlets", "--chroms", "chrB"], {("counts/seqlets", "chrB")}),
    ],
)
def test_select_makes_only_what_it_names(ran, home, selection, expected):
    before = stored(home)
    said = command("run", ran[0], "--home", home, "--force", "--select", *selection)
    assert said.code == 0, said
    assert remade(before, stored(home)) == expected


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--select", "seqlet"], "--select seqlet: tiny has no such asset; the nearest name is seqlets."),
        (["--select", "profile/seqlets"], "--select profile/seqlets: tiny has no such asset"),
        (["--chroms", "chrD"], "--chroms chrD: tiny has no such chromosome; the nearest name is chr"),
        (["--device", "gpu"], "gpu"),
    ],
)
def test_a_wrong_argument_is_said_before_anything_is_made(ran, tmp_path, arguments, sentence):
    said = command("run", ran[0], "--home", tmp_path / "home", *arguments)
    assert said.code == 2
    assert sentence in said.err
    assert not (tmp_path / "home" / "store").exists()


def test_force_does_not_pool_what_is_out_of_date(ran, home):
    """A longer seqlet makes the null another one: seqlets against the old null would be out of date at once."""
    file = ran[0].with_name("longer.yaml")
    file.write_text(ran[0].read_text() + "seqlets: {max_seqlet_len: 24}\n")
    before = stored(home)
    said = command("run", file, "--home", home, "--force", "--select", "seqlets")
    assert said.code == 1
    assert re.search(r"counts/seqlets +skipped: counts/seqlet_null is out of date", said.out)
    assert "Nothing was made, for the reasons above, after" in said.out
    assert "Done" not in said.out
    assert stored(home) == before
    assert command("run", file, "--home", home, "--force", "--select", "seqlet_null", "seqlets").code == 0
    made = {("counts/seqlet_null", None), *(("counts/seqlets", chrom) for chrom in CHROMS)}
    assert remade(before, stored(home)) == made
    drift = command("drift", file, "--home", home).out
    assert "seqlet_null" not in drift and not re.search(r"^counts/seqlets", drift, re.MULTILINE)


def test_some_chromosomes_leave_pooled_assets_to_a_later_run(ran, tmp_path):
    home = tmp_path / "home"
    everything = ("one_hot_sequences", "attributions", "seqlet_null", "seqlets")

    def run(*chroms: str, select: tuple[str, ...] = everything):
        return command("run", ran[0], "--home", home, "--select", *select, "--chroms", *chroms)

    said = run("chrA")
    assert said.code == 0
    assert re.search(
        r"counts/seqlet_null +skipped: it pools every chromosome, "
        r"and counts/attributions has not been made yet for chrB, chrC\n",
        said.out,
    )
    assert set(stored(home)) == {("one_hot_sequences", "chrA"), ("counts/attributions", "chrA")}
    assert run("chrB", select=("attributions",)).code == 1, "its one_hot_sequences are not there"
    assert run("chrC", "chrB").code == 0
    assert {cell for cell in stored(home) if cell[0] in ("counts/seqlet_null", "counts/seqlets")} == {
        ("counts/seqlet_null", None),
        ("counts/seqlets", "chrB"),
        ("counts/seqlets", "chrC"),
    }
    assert run("chrA", select=("seqlets",)).code == 0
    assert ("counts/seqlets", "chrA") in stored(home)


def test_a_failed_chromosome_does_not_stop_the_others_and_nothing_is_pooled_without_it(ran, home):
    damage(home, "chrB")
    before = stored(home)
    said = command("run", ran[0], "--home", home, "--force", "--select", "attributions", "seqlet_null", "seqlets")
    assert said.code == 1
    assert remade(before, stored(home)) == {("counts/attributions", "chrA"), ("counts/attributions", "chrC")}
    assert re.search(r"chrB +failed at counts/attributions: StorageError: .*damaged", said.out)
    assert re.search(
        r"seqlet_null +skipped: it pools every chromosome, and counts/attributions was not made for chrB", said.out
    )
    assert re.search(r"counts/seqlets +skipped: counts/seqlet_null was not made", said.out)
    assert "Traceback" not in said.out + said.err
    assert not (home / "tracebacks.txt").exists()


def test_what_stands_on_a_failed_step_of_the_same_run_says_so(ran, home, monkeypatch):
    monkeypatch.setattr("cherimoya_assets.assets.modisco.modisco_report", lambda *_, **__: 1 / 0)
    said = command("run", ran[0], "--home", home, "--force", "--select", "modisco_report", "experiment_report")
    assert said.code == 1
    assert re.search(r"counts/modisco_report +failed: ZeroDivisionError", said.out)
    assert re.search(r"experiment_report +skipped: counts/modisco_report was not made", said.out)
    assert "ZeroDivisionError" in (home / "tracebacks.txt").read_text()
    assert str(home / "tracebacks.txt") in said.out


def test_an_interrupt_ends_the_run_in_good_order(ran, tmp_path):
    command_line = [sys.executable, "-c", COMMAND, "run", ran[0], "--home", tmp_path]
    process = subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "1 of 4" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("Interrupted.")
    assert "Traceback" not in err
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        assert not instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))


def test_a_terminal_gets_moving_lines(ran, home):
    """In a pseudo-terminal: cursor movements, bars, and the same last words."""
    import pty

    controller, terminal = pty.openpty()
    command_line = [
        sys.executable,
        "-c",
        COMMAND,
        "run",
        ran[0],
        "--home",
        home,
        "--force",
        "--select",
        "one_hot_sequences",
    ]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(command_line, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    seen = b""
    while True:
        try:
            chunk = os.read(controller, 65536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    assert process.wait(timeout=60) == 0
    text = seen.decode()
    assert "━" in text
    assert "\x1b[" in text
    assert "Done after" in text
    assert " - DEBUG - " not in text

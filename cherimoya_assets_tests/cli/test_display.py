"""What a run looks like: plain lines in a file, moving lines on a terminal."""

from __future__ import annotations

import io
import re

import dagster as dg
import pytest
from rich.console import Console

from cherimoya_assets.build import Stage
from cherimoya_assets.cli.display import PLAIN_EVERY_S, Display
from cherimoya_assets.progress import Advance
from cherimoya_assets.walk import Failure, Made, Skipped

LOCI = {"chrIV": 30, "chrXV": 10}


def key(*parts: str) -> dg.AssetKey:
    return dg.AssetKey(["x", *parts])


ATTRIBUTION = Stage("attribution", True, (key("one_hot_sequences"), key("counts", "attributions")), job="")
POOLED = Stage("nulls_and_backgrounds", False, (key("counts", "seqlet_null"),), job="")


class Watch:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Watch()


@pytest.fixture
def plain(clock):
    return Display(Console(file=io.StringIO(), width=200, highlight=False), LOCI, clock)


@pytest.fixture
def terminal(clock):
    return Display(Console(file=io.StringIO(), width=120, force_terminal=True, highlight=False), LOCI, clock)


def said(display: Display) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", display.console.file.getvalue())


def made(partition="chrIV", metadata=None, **rest) -> Made:
    return Made(ATTRIBUTION if partition else POOLED, partition, "run", 75.0, metadata or {}, **rest)


def begin(display: Display) -> None:
    display.stage_begins(1, 4, ATTRIBUTION, list(LOCI))
    display.run_begins(ATTRIBUTION, "chrIV")
    display.step_begins({key("counts", "attributions")})


def test_a_finished_chromosome_is_one_line_with_its_numbers(plain):
    begin(plain)
    numbers = {
        key("one_hot_sequences"): {"dagster/partition_row_count": 1200, "loci": 1203},
        key("counts", "attributions"): {"loci_per_second": 1.234},
        key("profile", "attributions"): {"loci_per_second": 1.219},
    }
    plain.run_ends(made(metadata=numbers))
    assert "\n  chrIV  1,200 loci (3 lost), 1.23 loci/s  1 min 15 s\n" in said(plain)


def test_a_file_gets_progress_seldom_and_with_both_etas(plain, clock):
    begin(plain)
    before = said(plain)
    plain.advances(Advance("attributions", "chrIV", 3, 30, 3.0))
    assert said(plain) == before
    clock.now = PLAIN_EVERY_S
    plain.advances(Advance("attributions", "chrIV", 15, 30, 15.0))
    told = said(plain).removeprefix(before)
    assert told.splitlines()[0] == "  chrIV   50%  15/30 loci  1.00/s  15 s left"
    # 15.5 of 42 (a locus each, and one for each chromosome's overhead) took 15 s.
    assert re.fullmatch(r"  all +37%  0 of 2 chromosomes  26 s left", told.splitlines()[1])
    plain.advances(Advance("attributions", "chrIV", 16, 30, 16.0))
    assert said(plain).count("loci") == 1


def test_a_terminal_shows_the_chromosome_at_work_and_all_of_them(terminal, clock):
    begin(terminal)
    clock.now = 10.0
    terminal.advances(Advance("attributions", "chrIV", 10, 30, 10.0))
    moving = terminal._moving_lines().plain.splitlines()
    terminal.stage_ends()
    assert moving[0].startswith("  chrIV  ━━━━")
    assert moving[0].endswith("10/30 loci  1.00/s  20 s left")
    assert moving[1].startswith("  all    ━━━━")
    assert "0 of 2 chromosomes" in moving[1]


def test_between_progress_the_step_at_work_is_named(terminal, clock):
    begin(terminal)
    terminal.advances(Advance("attributions", "chrIV", 30, 30, 10.0))
    terminal.step_begins({key("counts", "seqlets")})
    clock.now = 7.0
    moving = terminal._moving_lines().plain.splitlines()
    terminal.stage_ends()
    assert moving[0] == "  chrIV  counts/seqlets  7 s"
    # What is done of the chromosome stays done.
    assert "━" in moving[1]


def test_what_is_waited_for_is_said(plain):
    begin(plain)
    plain.waits("waiting for a device since 0 s: GPU-a is held by pid 12")
    assert "  note  waiting for a device since 0 s: GPU-a is held by pid 12\n" in re.sub(
        " +note +", "  note  ", said(plain)
    )


def test_failures_warnings_and_what_is_skipped_say_why(plain):
    begin(plain)
    failure = Failure((key("counts", "attributions"),), "ModelError: no fold")
    plain.run_ends(made(failures=(failure,), warnings=("counts/modisco_patterns, cap_not_hit: seen",)))
    plain.stage_ends()
    plain.stage_begins(2, 4, POOLED, [])
    plain.skipped(Skipped(key("counts", "seqlet_null"), "counts/attributions was not made", True))
    text = said(plain)
    assert "  chrIV  failed at counts/attributions: ModelError: no fold\n" in text
    assert "note   counts/modisco_patterns, cap_not_hit: seen" in text
    assert "  counts/seqlet_null  skipped: counts/attributions was not made\n" in text


def test_pooled_assets_are_a_line_each(plain):
    plain.stage_begins(2, 4, POOLED, [None])
    plain.run_begins(POOLED, None)
    plain.run_ends(made(None, {key("counts", "modisco_patterns"): {"patterns": 19, "seconds": 31.0}}))
    assert "counts/modisco_patterns  19 patterns  31 s" in said(plain)


@pytest.mark.parametrize("total", [0, 5])
def test_a_chromosome_without_loci_has_no_eta_and_no_error(plain, clock, total):
    begin(plain)
    clock.now = 100.0
    plain.advances(Advance("attributions", "chrIV", 0, total, 0.0))
    assert "left" not in said(plain).splitlines()[-2]


def test_markup_in_names_is_text(plain):
    plain.stage_begins(1, 4, ATTRIBUTION, ["[red]chr"])
    plain.run_ends(made("[red]chr", failures=(Failure((), "[bold]x[/bold]"),)))
    assert "[red]chr" in said(plain)
    assert "[bold]x[/bold]" in said(plain)

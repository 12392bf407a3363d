"""How far, how fast, how long still: also where a part was there already."""

from __future__ import annotations

import time

import pytest

from cherimoya_assets.progress import LOG_EVERY_S, Advance, Progress, watching


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_the_speed_and_what_is_left_come_from_what_was_done(clock):
    told: list[Advance] = []
    with watching(told.append):
        progress = Progress(lambda _: None, "attributions", "chrI", "loci")
        clock[0] += 10
        progress(20, 100)
    assert (told[0].rate, told[0].eta) == (2.0, 40.0)


def test_what_was_there_already_is_done_and_counts_for_no_speed(clock):
    told: list[Advance] = []
    said: list[str] = []
    with watching(told.append):
        progress = Progress(said.append, "attributions", "chrI", "loci")
        # Reading it took a while, too.
        clock[0] += 7
        progress.resumed(60, 100)
        clock[0] += LOG_EVERY_S
        progress(70, 100)
    assert [(advance.done, advance.total) for advance in told] == [(60, 100), (70, 100)]
    assert told[0].eta is None
    assert (told[1].rate, told[1].eta) == (1.0, 30.0)
    assert said == ["70 of 100 loci, 1.00 a second, 30 s left"]

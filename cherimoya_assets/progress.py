"""Progress of long work: how far, how fast, how long still.

What belongs here: turning `progress(done, total)` calls of `analysis/` into log lines with an ETA, and telling whoever
watches (the command line draws one line a chromosome). What does not: drawing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LOG_EVERY_S = 10.0
"""Each log line is a row in Dagster's event database: seldom enough not to fill it, often enough to see life."""


@dataclass(frozen=True)
class Advance:
    """How far one asset partition has come; `eta` is in seconds, None before it can be known.

    `resumed` of the `done` items were there already when the `seconds` began.
    """

    asset: str
    partition: str | None
    done: int
    total: int
    seconds: float
    resumed: int = 0

    @property
    def rate(self) -> float:
        """Items a second so far."""
        return (self.done - self.resumed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta(self) -> float | None:
        return (self.total - self.done) / self.rate if self.rate else None


_watchers: list[Callable[[Advance], None]] = []


@contextmanager
def watching(watcher: Callable[[Advance], None]) -> Iterator[None]:
    """Call `watcher` with every advance made in this process."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


class Progress:
    """A `progress(done, total)` callback that logs seldom and tells watchers always."""

    def __init__(self, log: Callable[[str], None], asset: str, partition: str | None, unit: str) -> None:
        self._log, self._asset, self._partition, self._unit = log, asset, partition, unit
        self._began = self._logged = time.perf_counter()
        self._resumed = 0

    def resumed(self, done: int, total: int) -> None:
        """So much was there already: it counts as done, and not for the speed. The clock begins now."""
        self._resumed, self._began = done, time.perf_counter()
        self(done, total)

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        advance = Advance(self._asset, self._partition, done, total, now - self._began, self._resumed)
        for watcher in _watchers:
            watcher(advance)
        if now - self._logged >= LOG_EVERY_S:
            self._logged = now
            eta = "" if advance.eta is None else f", {duration(advance.eta)} left"
            self._log(f"{done} of {total} {self._unit}, {advance.rate:.2f} a second{eta}")


def duration(seconds: float) -> str:
    """`75` as `1 min 15 s`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"

"""What a run looks like while it runs: one line a chromosome, how fast, how long still.

What belongs here: drawing what `walk.py` tells. On a terminal the chromosome at work is redrawn in place; elsewhere
(a log file, CI) there are plain lines, seldom enough to read. What does not: deciding anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cherimoya_assets.printable import printable
from cherimoya_assets.progress import Advance, duration
from cherimoya_assets.steps import step

if TYPE_CHECKING:
    from dagster import AssetKey

    from cherimoya_assets.build import Stage
    from cherimoya_assets.walk import Made, Skipped

PLAIN_EVERY_S = 15.0
BAR_WIDTH = 24
ALL = "all"


@dataclass
class Display:
    """A `walk.Watcher` that draws. `weights` says how much work each chromosome is (its loci)."""

    console: Console
    weights: Mapping[str, int]
    clock: Callable[[], float] = time.monotonic
    _partitions: Sequence[str | None] = ()
    _done: list[str | None] = field(default_factory=list)
    _width: int = 0
    _now: str | None = None
    _step: str = ""
    _advance: Advance | None = None
    _reached: float = 0.0
    _began: dict[str, float] = field(default_factory=dict)
    _live: Live | None = None

    @classmethod
    def on(cls, stream: TextIO, weights: Mapping[str, int]) -> Display:
        """A display for a terminal or a file."""
        return cls(Console(file=stream, highlight=False, soft_wrap=not stream.isatty()), weights)

    def stage_begins(self, number: int, of: int, stage: Stage, partitions: Sequence[str | None]) -> None:
        self._partitions, self._done = partitions, []
        self._began["stage"] = self._began["said"] = self.clock()
        names = [ALL, *self.weights] if stage.partitioned else [_name(key) for key in stage.keys]
        self._width = max(len(name) for name in names)
        title = f"{number} of {of}  {stage.name.replace('_', ' ')}"
        how = "one run a chromosome" if stage.partitioned else "all chromosomes together"
        self.console.print(Text.assemble("\n", (title, "bold"), f", {how}"))
        if self.console.is_terminal and partitions:
            self._live = Live(
                get_renderable=self._moving_lines,
                console=self.console,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def run_begins(self, stage: Stage, partition: str | None) -> None:
        self._now, self._step, self._advance, self._reached = partition, "starting", None, 0.0
        self._began["step"] = self.clock()

    def step_begins(self, keys: Collection[AssetKey]) -> None:
        self._step, self._advance = ", ".join(sorted(map(_name, keys))), None
        self._began["step"] = self.clock()

    def waits(self, sentence: str) -> None:
        self._row("note", sentence, style="yellow")

    def advances(self, advance: Advance) -> None:
        self._advance = advance
        self._reached = advance.done / advance.total if advance.total else 0.0
        if not self.console.is_terminal and self.clock() - self._began["said"] >= PLAIN_EVERY_S:
            self._began["said"] = self.clock()
            for line in self._lines():
                self.console.print(line)

    def run_ends(self, made: Made) -> None:
        if made.partition not in self._done:
            # A chromosome has a second run where it is seen after the first what follows from it.
            self._done.append(made.partition)
        self._now, self._step, self._advance, self._reached = None, "", None, 0.0
        for line in self._finished(made):
            self.console.print(line)
        for failure in made.failures:
            what = ", ".join(map(_name, failure.keys))
            if made.partition is None:
                self._row(what or made.stage.name, f"failed: {failure.message}", style="bold red")
            else:
                self._row(made.partition, f"failed at {what}: {failure.message}", style="bold red")
        for warning in made.warnings:
            self._row("note", warning, style="yellow")

    def made_elsewhere(self, partition: str | None, sentence: str) -> None:
        self._done.append(partition)
        self._row(partition or ALL, sentence)

    def skipped(self, skipped: Skipped) -> None:
        self._row(_name(skipped.key), f"skipped: {skipped.reason}", style="yellow")

    def stage_ends(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _row(self, name: str, *parts: str | Text, style: str = "") -> None:
        # On a terminal this goes above the live lines, which stay at the bottom.
        self.console.print(self._line(name, *parts, style=style))

    def _line(self, name: str, *parts: str | Text, style: str = "") -> Text:
        filled = [Text(printable(part)) if isinstance(part, str) else part for part in parts if part]
        return Text("  ").join([Text(""), Text(printable(f"{name:<{self._width}}"), style=style), *filled])

    def _moving_lines(self) -> Text:
        return Text("\n").join(self._lines())

    def _lines(self) -> list[Text]:
        """The run at work, and all chromosomes of the stage where there are several."""
        # Drawn from a thread of its own: the state is read once.
        lines, advance, working = [], self._advance, self._step
        if advance is not None:
            lines.append(self._working(advance))
        elif working:
            lines.append(self._starting(working))
        if len(self._partitions) > 1:
            fraction, seconds = self._fraction(), self.clock() - self._began["stage"]
            left = f"{duration(seconds / fraction - seconds)} left" if fraction > 0 else ""
            count = f"{len(self._done)} of {len(self._partitions)} chromosomes"
            lines.append(self._line(ALL, self._bar(fraction), count, left, style="bold"))
        return lines

    def _starting(self, working: str) -> Text:
        name, seconds = self._now, duration(self.clock() - self._began["step"])
        return self._line(name or working, Text(working if name else "", style="cyan"), seconds)

    def _working(self, advance: Advance) -> Text:
        amount = f"{advance.done:,}/{advance.total:,} {step(advance.asset).unit}".rstrip()
        left = "" if advance.eta is None else f"{duration(advance.eta)} left"
        return self._line(self._now or "", self._bar(self._reached), amount, f"{advance.rate:.2f}/s", left)

    def _finished(self, made: Made) -> list[Text]:
        if made.partition is None:
            return [
                self._line(_name(key), key_fact(key, metadata), _took(number(metadata, "seconds") or 0.0))
                for key, metadata in made.metadata.items()
            ]
        facts: dict[str, str] = {}
        for key, metadata in made.metadata.items():
            # Heads that are made together have one fact: their rate.
            facts.setdefault(key.path[-1] if step(key.path[-1]).together else _name(key), key_fact(key, metadata))
        words = ", ".join(filter(None, facts.values()))
        if made.failures:
            return [self._line(made.partition, words)] if words else []
        bar = self._bar(1.0) if self.console.is_terminal else ""
        return [self._line(made.partition, bar, words, _took(made.seconds))]

    def _fraction(self) -> float:
        """How much of the stage's work is done, the run at work included."""
        weights = {partition: 1 + self.weights.get(partition or "", 0) for partition in self._partitions}
        done = sum(weights[partition] for partition in self._done)
        return (done + weights.get(self._now, 0) * self._reached) / sum(weights.values())

    def _bar(self, fraction: float) -> Text:
        if not self.console.is_terminal:
            return Text(f"{fraction:4.0%}")
        block = "━" if self.console.encoding.startswith("utf") else "#"
        filled = round(BAR_WIDTH * min(max(fraction, 0.0), 1.0))
        empty = block if block != "#" else "."
        return Text.assemble((block * filled, "green"), (empty * (BAR_WIDTH - filled), "bright_black"))


def key_fact(key: AssetKey, metadata: Mapping[str, Any]) -> str:
    """The one number of a materialization that is worth a word on a line; empty where there is none."""
    return step(key.path[-1]).fact({name: number(metadata, name) for name in metadata}, key.path[1])


def number(metadata: Mapping[str, Any], name: str) -> Any:
    """A value of a materialization's metadata, or None."""
    value = metadata.get(name)
    return getattr(value, "value", value)


def _took(seconds: float) -> str:
    """A duration with a tenth of a second where that is something."""
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def _name(key: AssetKey) -> str:
    """An asset's name within its experiment."""
    return "/".join(key.path[1:])

"""The lineage of an experiment as a small inline SVG: inputs on the left, reports on the right.

What belongs here: placing boxes and lines. What does not: knowing which assets there are; the caller hands over the
graph that Dagster has.

A layered drawing after Sugiyama: columns by the longest way from an input, rows ordered by the mean of their
neighbours' places, a line that passes a column gets a free slot there, and lines that say nothing new (an asset that
is already reached another way) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

INPUT, BY_CHROMOSOME, POOLED = "input", "by chromosome", "pooled"

BOX_WIDTH, BOX_HEIGHT, COLUMN_GAP, ROW_GAP, SLOT_HEIGHT, MARGIN = 128, 38, 30, 14, 10, 4
"""Pixels of the drawing before it is scaled to the page."""

LONGEST_NAME = 21
"""Letters that fit into a box."""

SWEEPS = 12
"""Passes of the ordering; the demo's graph is stable after four."""


@dataclass(frozen=True)
class Step:
    """A box: `name` is shown, `note` is the small line below it, `after` names the boxes that it is made from."""

    name: str
    kind: str
    note: str
    after: tuple[str, ...]


@dataclass
class _Slot:
    name: str
    step: Step | None
    y: float = 0.0

    @property
    def height(self) -> int:
        return BOX_HEIGHT if self.step is not None else SLOT_HEIGHT


def lineage_svg(steps: Sequence[Step]) -> Markup:
    """Draw the steps, which must not depend on each other in a circle. An unknown name in `after` is ignored."""
    known = {step.name: step for step in steps}
    parents = _without_shortcuts({name: [p for p in step.after if p in known] for name, step in known.items()})
    column = _columns(known, parents)
    columns, lines = _slots(known, parents, column)
    _order(columns, lines)
    width = MARGIN * 2 + len(columns) * (BOX_WIDTH + COLUMN_GAP) - COLUMN_GAP if columns else 0
    height = MARGIN * 2 + max((_stack_height(slots) for slots in columns), default=0)
    for slots in columns:
        y = (height - _stack_height(slots)) / 2
        for slot in slots:
            slot.y, y = y, y + slot.height + ROW_GAP
    place = {
        slot.name: (MARGIN + i * (BOX_WIDTH + COLUMN_GAP), slot) for i, slots in enumerate(columns) for slot in slots
    }
    parts = [_line(*place[a], *place[b]) for a, b in lines]
    parts += [_box(x, slot) for x, slot in place.values()]
    title = escape(f"Lineage: {', '.join(known)}")
    return Markup(
        f'<svg class="lineage" viewBox="0 0 {width} {height:g}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    )


def _without_shortcuts(parents: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Leave out a parent that another parent already stands on."""
    ancestors: dict[str, set[str]] = {}

    def above(name: str) -> set[str]:
        if name not in ancestors:
            ancestors[name] = set(parents[name]).union(*(above(parent) for parent in parents[name]))
        return ancestors[name]

    return {
        name: [p for p in own if not any(p in above(other) for other in own if other != p)]
        for name, own in parents.items()
    }


def _columns(known: Mapping[str, Step], parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    column: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in column:
            column[name] = max((depth(parent) + 1 for parent in parents[name]), default=0)
        return column[name]

    for name in known:
        depth(name)
    for name, step in known.items():
        # An input stands right before its first use and not at the far left.
        users = [column[other] for other in known if name in parents[other]]
        if step.kind == INPUT and users:
            column[name] = min(users) - 1
    return column


def _slots(
    known: Mapping[str, Step], parents: Mapping[str, Sequence[str]], column: Mapping[str, int]
) -> tuple[list[list[_Slot]], list[tuple[str, str]]]:
    """Boxes and pass-through slots of each column, and the lines between neighbouring columns."""
    columns: list[list[_Slot]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    lines: list[tuple[str, str]] = []
    for name, step in known.items():
        columns[column[name]].append(_Slot(name, step))
    for name in known:
        for parent in parents[name]:
            previous = parent
            for passed in range(column[parent] + 1, column[name]):
                # One slot for all lines of a parent: they part only where they must.
                slot = f"{parent}\0{passed}"
                if slot not in {s.name for s in columns[passed]}:
                    columns[passed].append(_Slot(slot, None))
                if (previous, slot) not in lines:
                    lines.append((previous, slot))
                previous = slot
            lines.append((previous, name))
    return columns, lines


def _order(columns: Sequence[list[_Slot]], lines: Sequence[tuple[str, str]]) -> None:
    left: dict[str, list[str]] = {}
    right: dict[str, list[str]] = {}
    for a, b in lines:
        left.setdefault(b, []).append(a)
        right.setdefault(a, []).append(b)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        neighbours = left if forward else right
        for slots in columns if forward else reversed(columns):
            place = {slot.name: (number + 0.5) / len(other) for other in columns for number, slot in enumerate(other)}
            mean = {
                slot.name: sum(place[n] for n in near) / len(near)
                if (near := neighbours.get(slot.name))
                else place[slot.name]
                for slot in slots
            }
            slots.sort(key=lambda slot: (mean[slot.name], slot.name))


def _stack_height(slots: Sequence[_Slot]) -> int:
    return sum(slot.height for slot in slots) + ROW_GAP * (len(slots) - 1)


def _line(x1: int, a: _Slot, x2: int, b: _Slot) -> str:
    start, y1, y2 = x1 + BOX_WIDTH, a.y + a.height / 2, b.y + b.height / 2
    middle = (start + x2) / 2
    through = f"M{x1} {y1:.1f}H{start}" if a.step is None else f"M{start} {y1:.1f}"
    return f'<path class="line" d="{through}C{middle:g} {y1:.1f} {middle:g} {y2:.1f} {x2} {y2:.1f}"/>'


def _box(x: int, slot: _Slot) -> str:
    step = slot.step
    if step is None:
        return ""
    kind = {INPUT: "in", BY_CHROMOSOME: "chrom", POOLED: "pool"}[step.kind]
    name = step.name.replace("_", " ")
    lines = [("", name), ("note", step.note)]
    if len(name) > LONGEST_NAME and not step.note:
        lines = [("", part) for part in name.rsplit(" ", 1)]
    texts = "".join(
        f'<text class="{style}" x="{x + BOX_WIDTH / 2:g}" y="{slot.y + y:.1f}">{escape(_short(text))}</text>'
        for y, (style, text) in zip((16, 29), lines, strict=False)
    )
    return (
        f'<g class="{kind}"><title>{escape(f"{name}: {step.note or step.kind}")}</title>'
        f'<rect x="{x}" y="{slot.y:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5"/>{texts}</g>'
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"

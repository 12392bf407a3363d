"""The lineage picture taken apart: boxes do not overlap, lines run from left to right and say nothing twice."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from cherimoya_assets.reports.lineage_picture import BOX_WIDTH, BY_CHROMOSOME, INPUT, POOLED, Step, lineage_svg

DIAMOND = [
    Step("a", INPUT, "a.fa", ()),
    Step("b", BY_CHROMOSOME, "", ("a",)),
    Step("c", POOLED, "", ("a", "b")),
    Step("d", POOLED, "counts, profile", ("b",)),
    Step("e", POOLED, "", ("c", "d", "a")),
    Step("f", INPUT, "", ()),
    Step("g", POOLED, "", ("e", "f", "unknown")),
]
NEEDED = {("a", "b"), ("b", "c"), ("b", "d"), ("c", "e"), ("d", "e"), ("e", "g"), ("f", "g")}
"""Edges of DIAMOND that no other way implies."""


def drawn(steps):
    """{name: (x, y, width, height)} and [((x1, y1), (x2, y2))]."""
    root = ElementTree.fromstring(str(lineage_svg(steps)))
    boxes = {}
    for group in root.iter("g"):
        box = group.find("rect")
        name = group.find("title").text.split(":")[0].replace(" ", "_")
        boxes[name] = tuple(float(box.get(side)) for side in ("x", "y", "width", "height"))
    lines = []
    for path in root.findall("path"):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d"))]
        lines.append(((numbers[0], numbers[1]), (numbers[-2], numbers[-1])))
    return boxes, lines, root


def test_every_step_is_a_box_right_of_what_it_is_made_from():
    boxes, _, _ = drawn(DIAMOND)
    assert set(boxes) == {step.name for step in DIAMOND}
    for step in DIAMOND:
        for parent in step.after:
            if parent in boxes:
                assert boxes[parent][0] + BOX_WIDTH < boxes[step.name][0]


def test_boxes_do_not_overlap_and_lie_in_the_picture():
    boxes, _, root = drawn(DIAMOND)
    _, _, width, height = map(float, root.get("viewBox").split())
    places = list(boxes.values())
    for i, (x, y, w, h) in enumerate(places):
        assert x >= 0
        assert x + w <= width
        assert y >= 0
        assert y + h <= height
        for x2, y2, w2, h2 in places[:i]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_lines_join_exactly_the_pairs_that_no_other_way_implies():
    boxes, lines, _ = drawn(DIAMOND)
    after = {}
    for start, end in lines:
        after.setdefault(start, set()).add(end)

    def reached(start):
        # A line that ends where no box begins goes on from there.
        boxes_here = {
            name for name, (x, y, _, h) in boxes.items() if abs(x - start[0]) < 1 and abs(y + h / 2 - start[1]) < 1
        }
        return boxes_here or set().union(*(reached(end) for end in after.get(start, ())))

    joined = set()
    for name, (x, y, w, h) in boxes.items():
        for start, ends in after.items():
            if abs(start[0] - x - w) < 1 and abs(start[1] - y - h / 2) < 1:
                joined |= {(name, other) for end in ends for other in reached(end)}
    assert joined == NEEDED


def test_names_are_escaped():
    _, _, root = drawn([Step("<script>", INPUT, '"&<b>', ())])
    assert {text.text for text in root.iter("text")} == {"<script>", '"&<b>'}


@pytest.mark.parametrize("steps", [[], [Step("alone", POOLED, "", ())]])
def test_small_graphs_are_drawn(steps):
    boxes, lines, _ = drawn(steps)
    assert len(boxes) == len(steps)
    assert lines == []


def test_the_same_graph_gives_the_same_picture():
    assert lineage_svg(DIAMOND) == lineage_svg(list(DIAMOND))

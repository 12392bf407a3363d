"""Logos taken apart: every letter has the height and the place that its contribution asks for."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from cherimoya_assets.reports.contribution_logo import COLUMN, HEIGHT, LETTERS, THINNEST, contribution_logo

TRANSFORM = re.compile(r"translate\((\S+) (\S+)\)scale\((\S+) (\S+)\)")


def letters(matrix, label="x"):
    """[(base, column, upper edge, lower edge, upside down)] in pixels, and the line at zero."""
    root = ElementTree.fromstring(str(contribution_logo(np.array(matrix), label)))
    found = []
    for use in root.iter("use"):
        x, edge, _, scale = map(float, TRANSFORM.fullmatch(use.get("transform")).groups())
        edges = sorted((edge, edge + 100 * scale))
        found.append((use.get("href").removeprefix("#base"), round(x / COLUMN), *edges, scale < 0))
    axis = float(re.match(r"M0 (\S+)H", root.find("path").get("d")).group(1))
    return found, axis, root


def test_heights_are_proportional_and_columns_stand_on_the_line():
    matrix = np.random.default_rng(0).normal(size=(12, 4))
    found, axis, _ = letters(matrix)
    scale = HEIGHT / (np.clip(matrix, 0, None).sum(1).max() + np.clip(-matrix, 0, None).sum(1).max())
    for base, column, upper, lower, upside_down in found:
        value = matrix[column, "ACGT".index(base)]
        assert lower - upper == pytest.approx(abs(value) * scale, abs=0.2)
        assert upside_down == (value < 0)
        assert (upper >= axis - 0.2) == (value < 0)
    drawn = {(base, column) for base, column, *_ in found}
    assert drawn == {("ACGT"[b], c) for c, b in np.argwhere(np.abs(matrix) * scale >= THINNEST).tolist()}


def test_letters_of_a_column_touch_and_the_largest_is_outermost():
    found, axis, _ = letters([[1.0, 3.0, 2.0, -1.0], [-2.0, -0.5, 0.25, 0.5]])
    for column in (0, 1):
        up = sorted((entry for entry in found if entry[1] == column and not entry[4]), key=lambda entry: -entry[3])
        down = sorted((entry for entry in found if entry[1] == column and entry[4]), key=lambda entry: entry[2])
        for stack, inner, outer in ((up, 3, 2), (down, 2, 3)):
            assert stack[0][inner] == pytest.approx(axis, abs=0.2)
            for below, above in itertools.pairwise(stack):
                assert below[outer] == pytest.approx(above[inner], abs=0.2)
            heights = [entry[3] - entry[2] for entry in stack]
            assert heights == sorted(heights)
    assert min(entry[2] for entry in found) == pytest.approx(0, abs=0.2)
    assert max(entry[3] for entry in found) == pytest.approx(HEIGHT, abs=0.2)


@pytest.mark.parametrize("matrix", [np.zeros((0, 4)), np.zeros((5, 4))])
def test_nothing_to_draw_is_a_valid_empty_logo(matrix):
    assert letters(matrix)[0] == []


def test_label_is_escaped():
    assert letters([[1.0, 0, 0, 0]], '<script>"&')[2].get("aria-label") == '<script>"&'


def test_every_letter_that_is_used_is_defined():
    root = ElementTree.fromstring(str(LETTERS))
    assert {path.get("id") for path in root.iter("path")} == {f"base{base}" for base in "ACGT"}

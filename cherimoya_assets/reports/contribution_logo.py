"""Sequence logos of contributions as inline SVG: sharp at any size, about 60 bytes a letter.

What belongs here: letters of given heights. What does not: which matrix to draw.

As in the field's logos (logomaker, TF-MoDISco's reports), the largest letter of a column stands outermost, and letters
of negative contributions hang upside down below the line. A page includes `LETTERS` once; every logo refers to it.
"""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

ALPHABET = "ACGT"

OUTLINES = {
    "A": "M69 82L31 82L25 100L0 100L35 0L65 0L100 100L75 100L69 82ZM37 63L63 63L50 23L37 63Z",
    "C": "M100 93Q92 96 83 98Q74 100 64 100Q34 100 17 87Q0 73 0 50Q0 27 17 13Q34 0 64 0Q74 0 83 2Q92 4 100 7L100 27"
    "Q92 22 83 20Q75 18 66 18Q50 18 41 27Q31 35 31 50Q31 65 41 73Q50 82 66 82Q75 82 83 80Q92 78 100 73L100 93Z",
    "G": "M100 91Q90 95 79 98Q68 100 57 100Q31 100 15 87Q0 73 0 50Q0 27 16 13Q31 0 58 0Q69 0 78 2Q88 4 96 7L96 27"
    "Q87 23 79 20Q70 18 61 18Q45 18 37 26Q28 35 28 50Q28 65 36 74Q45 82 60 82Q64 82 68 82Q72 81 74 80L74 61L58 61"
    "L58 45L100 45L100 91Z",
    "T": "M0 0L100 0L100 20L64 20L64 100L36 100L36 20L0 20L0 0Z",
}
"""Outlines of DejaVu Sans Bold, each stretched to a box of 100 x 100."""

COLUMN, HEIGHT = 15, 66
"""Pixels of a column's width and of the whole logo."""

THINNEST = 0.4
"""Letters lower than this many pixels are left out: nobody sees them, and they are most of the bytes."""

LETTERS = Markup('<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>{}</defs></svg>').format(
    Markup("").join(Markup('<path id="base{}" d="{}"/>').format(base, path) for base, path in OUTLINES.items())
)
"""The letters that every logo refers to."""


def contribution_logo(matrix: NDArray[np.float64], label: str) -> Markup:
    """Draw a matrix (w, 4), columns A, C, G, T; the logo is as high as its highest column. `label` is its alt text."""
    matrix = np.asarray(matrix, dtype=np.float64)
    up, down = np.clip(matrix, 0, None).sum(axis=1), np.clip(-matrix, 0, None).sum(axis=1)
    highest, lowest = (float(stack.max()) if len(stack) else 0.0 for stack in (up, down))
    scale = HEIGHT / (highest + lowest) if highest + lowest > 0 else 0.0
    zero = highest * scale
    letters = []
    for column, heights in enumerate(matrix * scale):
        for sign in (1, -1):
            edge = zero
            for base in np.argsort(sign * heights, kind="stable"):
                size = sign * float(heights[base])
                if size <= 0:
                    continue
                edge -= sign * size
                if size >= THINNEST:
                    letters.append(_letter(ALPHABET[base], column * COLUMN, edge, sign * size))
    return Markup(
        '<svg class="logo" width="{}" height="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">'
        '<path class="axis" d="M0 {:.1f}H{}"/>{}</svg>'
    ).format(
        len(matrix) * COLUMN,
        HEIGHT,
        len(matrix) * COLUMN,
        HEIGHT,
        label,
        zero,
        len(matrix) * COLUMN,
        Markup("").join(letters),
    )


def _letter(base: str, x: int, edge: float, height: float) -> Markup:
    # The outline starts at its top; a negative scale turns the letter over, and its top is then the lower edge.
    return Markup('<use href="#base{}" class="{}" transform="translate({} {:.1f})scale({} {:.3f})"/>').format(
        base, base, x, edge, COLUMN / 100, height / 100
    )

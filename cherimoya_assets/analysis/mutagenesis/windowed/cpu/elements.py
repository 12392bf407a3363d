"""Loops over the elements of a row: GELU and its difference, the convolution of three taps.

What lives here: formulas, an element at a time. What must not: rows and positions (`rows.py`).

GELU here is torch's `approximate="tanh"` form, which is u * sigmoid(z(u)) with z(u) = 2 sqrt(2/pi) (u + 0.044715 u^3).
With s the reference's sigmoid and w = z(u + d) - z(u), which has no cancellation when it is written out in d,

    sigmoid(z + w) - s = s (1 - s) expm1(w) / (1 + s expm1(w)),

so that gelu(u + d) - gelu(u) keeps its relative precision however small d is. Its denominator is (1 - s) + s exp(w), a
sum of positive numbers. Where |w| > FAR the two sigmoids are subtracted instead, lest one of them underflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cherimoya_assets.analysis.mutagenesis.compiled.kept import compiled
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import Vector, table_loop, vector_loop
from cherimoya_assets.analysis.mutagenesis.windowed.gelu import CUBIC, FAR, LARGEST_EXPONENT, SLOPE

CUBE = SLOPE * CUBIC


@table_loop(shared=4, writes=1, scalars=3)
def gelu_difference(
    x: Vector, u: Vector, gate: Vector, shut: Vector, column: Vector, stretch: Vector, scale: Vector, moved: Vector
) -> Any:
    """gelu(u + d) - gelu(u) with d = stretch u + scale x - moved column; the largest |w|."""
    d = (-moved).times(column, stretch.times(u, scale * x))
    v = u + d
    bend = u * (3 * CUBE)
    w = d * d.times(d.times(CUBE, bend), bend.times(u, SLOPE))
    growth, grown = w.exponential()
    turned = v * (gate * shut) * growth / gate.times(grown, shut)
    return (d.times(gate, turned),), (w.absolute(),)


@compiled()
def mend_far_differences(
    x: Any, changes: Any, table: Any, column: Any, stretch: float, scale: float, moved: float
) -> None:
    """What `gelu_difference` wrote where it overflowed or may have, of one row; `table` is the reference's (3, H)."""
    for j in range(len(x)):
        u, gate = np.float64(table[0, j]), np.float64(table[1, j])
        d = stretch * u + scale * x[j] - moved * column[j]
        v = u + d
        if not abs(d * (SLOPE + CUBE * (3 * u * v + d * d))) <= FAR:
            changes[j] = d * gate + v * (1 / (1 + np.exp(-v * (SLOPE + CUBE * v * v))) - gate)


@vector_loop(reads=1, writes=2)
def gates(u: Vector) -> Any:
    """The sigmoid of z(u), and one less it; 1 - gate would lose its digits where the gate is near 1."""
    z = (u * (u * u).times(CUBE, SLOPE)).at_most(LARGEST_EXPONENT).at_least(-LARGEST_EXPONENT)
    _, up = z.exponential()
    _, down = (-z).exponential()
    one = z * 0.0 + 1.0
    return (one / (down + 1.0), one / (up + 1.0)), ()


@vector_loop(reads=3, writes=1, scalars=1)
def gelu_slope(u: Vector, gate: Vector, shut: Vector, factor: Vector) -> Any:
    """The derivative of GELU at u, times a factor."""
    return (gate * (u * shut).times((u * u).times(3 * CUBE, SLOPE), 1.0) * factor,), ()


@vector_loop(reads=2, writes=1)
def product(x: Vector, y: Vector) -> Any:
    return (x * y,), ()


@vector_loop(reads=6, writes=1)
def convolved(a: Vector, b: Vector, c: Vector, left: Vector, middle: Vector, right: Vector) -> Any:
    return (left.times(a, middle.times(b, right * c)),), ()


@vector_loop(reads=9, writes=3)
def convolved_and_summed(
    a: Vector,
    b: Vector,
    c: Vector,
    left: Vector,
    middle: Vector,
    right: Vector,
    centred: Vector,
    one: Vector,
    two: Vector,
) -> Any:
    """h, and to what was summed before, h and h (2 centred + h)."""
    h = left.times(a, middle.times(b, right * c))
    return (h, one + h, h.times(centred + centred + h, two)), ()


@compiled(fastmath=frozenset({"reassoc", "contract"}))
def dot(a: Any, b: Any) -> float:
    """Of two rows."""
    found = np.float32(0)
    for k in range(len(a)):
        found += a[k] * b[k]
    return np.float64(found)


@compiled(fastmath=frozenset({"reassoc", "contract"}))
def sum_of(a: Any) -> float:
    """Of a row."""
    found = np.float32(0)
    for k in range(len(a)):
        found += a[k]
    return np.float64(found)

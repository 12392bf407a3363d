"""The inner loops compiled for float32 on a CPU: one pass over memory each, no GIL, no threads of their own.

What lives here: loops of `arithmetic.py` again, element for element. What must not: anything else. The caller runs
several sequences at once, each in a thread; a loop here stays in the one that called it.

The exponential is written out because LLVM makes vectors of multiplications and bit shifts but not of calls to a
libm: Cody-Waite reduction and a polynomial of degree 6 (Cephes' expf), about two units in the last place.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from cherimoya_assets.analysis.mutagenesis.windowed import arithmetic

SLOPE = np.float32(arithmetic.SLOPE)
CUBE = np.float32(arithmetic.SLOPE * arithmetic.CUBIC)
THREE_CUBES = np.float32(3 * arithmetic.SLOPE * arithmetic.CUBIC)
LARGEST, FAR = np.float32(arithmetic.LARGEST_EXPONENT), np.float32(arithmetic.FAR)
LOG2E = np.float32(1.44269504)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
P0, P1, P2, P3, P4, P5 = (
    np.float32(p)
    for p in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
ONE, HALF, TWO = np.float32(1), np.float32(0.5), np.float32(2)
BIAS, MANTISSA = np.int32(127), np.int32(23)

# Sums in any order make vectors; NaN and infinity keep their meaning. Where a difference must not be rounded away
# (exp(w) - 1 from exp(w), for one), the order stays.
FAST, IN_ORDER = {"contract", "reassoc"}, {"contract"}


@intrinsic
def _as_float(typing_context: Any, bits: Any) -> Any:
    """The float32 with these bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@numba.njit(inline="always", fastmath=IN_ORDER)
def _exponential(w: Any) -> Any:
    """exp(w) - 1 and exp(w) for |w| <= LARGEST, float32."""
    n = np.floor(w * LOG2E + HALF)
    f = (w - n * LN2_HIGH) - n * LN2_LOW
    p = ((((P0 * f + P1) * f + P2) * f + P3) * f + P4) * f + P5
    small = p * f * f + f
    power: Any = _as_float((np.int32(n) + BIAS) << MANTISSA)  # type: ignore[call-arg]
    return power * small + (power - ONE), power * small + power


@numba.njit(nogil=True, fastmath=IN_ORDER, error_model="numpy", cache=True)
def difference(
    change: Any,
    before: Any,
    gate: Any,
    shut: Any,
    first: int,
    factors: Any,
    column: Any,
) -> None:
    """See `arithmetic.difference_`."""
    width, edits, hidden = change.shape
    moved = np.empty(hidden, dtype=np.float32)
    for p in range(width):
        us, ss, ts = before[first + p], gate[first + p], shut[first + p]
        for e in range(edits):
            row = change[p, e]
            a, b, c = factors[0, e], factors[1, e], factors[2, e]
            far = np.int32(0)
            for j in range(hidden):
                u, s, t = us[j], ss[j], ts[j]
                d = a * u + b * row[j] - c * column[j]
                moved[j] = d
                v = u + d
                w = d * (SLOPE + CUBE * d * d + THREE_CUBES * u * v)
                far += np.int32(abs(w) > FAR)
                growth, grown = _exponential(w)
                row[j] = d * s + v * (s * t * growth / (t + s * grown))
            if far:
                for j in range(hidden):
                    u, s, d = us[j], ss[j], moved[j]
                    v = u + d
                    if abs(d * (SLOPE + CUBE * d * d + THREE_CUBES * u * v)) > FAR:
                        # What stands there overflowed, or may have.
                        z = v * (SLOPE + CUBE * v * v)
                        _, grown = _exponential(min(max(z, -LARGEST), LARGEST))
                        row[j] = d * s + v * (grown / (grown + ONE) - s)


@numba.njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def convolve(x: Any, offset: int, dilation: int, taps: Any, h: Any) -> None:
    """Row q of h, (W, E, C), from the rows q + offset and `dilation` before and behind it, where x has them."""
    n, edits, channels = x.shape
    zero = np.zeros(channels, dtype=np.float32)
    left, middle, right = taps[0], taps[1], taps[2]
    for q in range(len(h)):
        i = q + offset
        for e in range(edits):
            a = x[i - dilation, e] if 0 <= i - dilation < n else zero
            b = x[i, e] if 0 <= i < n else zero
            c = x[i + dilation, e] if 0 <= i + dilation < n else zero
            out = h[q, e]
            for k in range(channels):
                out[k] = left[k] * a[k] + middle[k] * b[k] + right[k] * c[k]


@numba.njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def add_sums(h: Any, centred: Any, first: int, totals: Any) -> None:
    """Add the sums of h and of h (2 centred + h) over positions and channels to `totals`, float64 (2, E)."""
    width, edits, channels = h.shape
    for q in range(width):
        reference = centred[first + q]
        for e in range(edits):
            row = h[q, e]
            one = np.float32(0)
            two = np.float32(0)
            for k in range(channels):
                one += row[k]
                two += row[k] * (TWO * reference[k] + row[k])
            totals[0, e] += one
            totals[1, e] += two


@numba.njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def add_diagonals(parts: Any, first: int, logits: Any) -> None:
    """Add part k of position p, (W, E, outputs, taps), to logit first + p + k, (E, outputs, length), if there is."""
    width, edits, outputs, taps = parts.shape
    length = logits.shape[2]
    for p in range(width):
        start = max(0, -(first + p))
        end = min(taps, length - (first + p))
        for e in range(edits):
            for o in range(outputs):
                row, part, shift = logits[e, o], parts[p, e, o], first + p
                for k in range(start, end):
                    row[shift + k] += part[k]


@numba.njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def coefficients(shifts: Any, nodes: Any, weights: Any, out: Any, rounded: Any) -> None:
    """See `outside.Level.coefficients`: into `out`, float64 (E, m), and `rounded`, float32."""
    edits, linear = shifts.shape
    values = np.empty(len(nodes), dtype=np.float64)
    for e in range(edits):
        for j in range(linear):
            out[e, j] = shifts[e, j]
        for k in range(len(nodes)):
            g = 0.0
            for j in range(linear):
                g += shifts[e, j] * nodes[k, j]
            values[k] = g * g * (1 + g)
            out[e, linear + k] = 0.0
        for k in range(len(nodes)):
            for j in range(len(nodes)):
                out[e, linear + j] += values[k] * weights[k, j]
        for f in range(out.shape[1]):
            rounded[e, f] = out[e, f]


@numba.njit(nogil=True, error_model="numpy", cache=True)
def next_shifts(totals: Any, size: int, rstd: float, shifts: Any, after: Any, factors: Any) -> None:
    """See `statistics.next_shifts`: into `after`, float64 (E, 2i + 2), and `factors`, float32 (3, E)."""
    edits, linear = shifts.shape
    for e in range(edits):
        mean = totals[0, e] / size
        variance = totals[1, e] / size - mean * mean
        stretch = np.expm1(-0.5 * np.log1p(variance * rstd * rstd))
        for j in range(linear):
            after[e, j] = shifts[e, j]
        after[e, linear], after[e, linear + 1] = mean, stretch
        scale = (1 + stretch) * rstd
        factors[0, e], factors[1, e], factors[2, e] = stretch, scale, scale * mean


@numba.njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def add_outside(
    totals: Any, first: Any, cross: Any, gram: Any, start: int, end: int, coefficients: Any, shifts: Any
) -> None:
    """Add to the two sums, float64 (2, E), what the model says of the positions not in [start, end)."""
    edits, linear = shifts.shape
    fields = first.shape[1]
    one, two = np.empty(fields), np.empty(fields)
    for f in range(fields):
        one[f] = first[-1, f] - first[end, f] + first[start, f]
        two[f] = cross[-1, f] - cross[end, f] + cross[start, f]
    products = np.empty((linear, linear))
    for i in range(linear):
        for j in range(linear):
            products[i, j] = gram[-1, i, j] - gram[end, i, j] + gram[start, i, j]
    for e in range(edits):
        for f in range(fields):
            totals[0, e] += coefficients[e, f] * one[f]
            totals[1, e] += coefficients[e, f] * two[f]
        for i in range(linear):
            row = 0.0
            for j in range(linear):
                row += products[i, j] * shifts[e, j]
            totals[1, e] += shifts[e, i] * row


@numba.njit(nogil=True, error_model="numpy", cache=True)
def through_block(
    buffer: Any,
    base: int,
    window: tuple[int, int],
    dense: bool,
    fields: Any,
    nodes: Any,
    weights: Any,
    first: Any,
    cross: Any,
    gram: Any,
    shifts: Any,
    dilation: int,
    taps: Any,
    centred: Any,
    rstd: float,
    after: Any,
    factors: Any,
) -> Any:
    """A block of `sweep.sweep` up to its layers without leaving compiled code: halo, convolution, statistics.

    The buffer holds the changes from position `base` on, (n, E, C), valid in `window`; `after` and `factors` are
    written as in `next_shifts`. Returns the window as it has grown, and the convolved changes there.
    """
    low, high = window
    length, channels = centred.shape
    edits = buffer.shape[1]
    reach = length if dense else dilation
    start, end = max(low - 2 * reach, 0), min(high + 2 * reach, length)
    exact = np.empty((edits, fields.shape[1]))
    rounded = np.empty((edits, fields.shape[1]), dtype=np.float32)
    if not dense:
        coefficients(shifts, nodes, weights, exact, rounded)
    for p in range(start, end):
        if low <= p < high:
            continue
        if dense or not fields.shape[1]:
            buffer[p - base] = 0
        else:
            np.dot(rounded, fields[p], buffer[p - base])
    low, high = max(low - reach, 0), min(high + reach, length)
    h = np.empty((high - low, edits, channels), dtype=np.float32)
    convolve(buffer[start - base : end - base], low - start, dilation, taps, h)
    totals = np.zeros((2, edits))
    add_sums(h, centred, low, totals)
    if not dense and fields.shape[1]:
        add_outside(totals, first, cross, gram, low, high, exact, shifts)
    next_shifts(totals, length * channels, rstd, shifts, after, factors)
    return low, high, h

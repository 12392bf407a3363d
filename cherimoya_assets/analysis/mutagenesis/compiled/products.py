"""Matrix products of float32 with few rows, at the speed of a library's large ones.

What lives here: C = A B and C += A B on row-major memory. A tile of C stays in registers while the columns of A and the
rows of B go by, so that a product of some dozens of rows, made where it is needed, costs no call, no packing and no
thread. A row of C has the same bits whatever rows are computed with it: every sum runs over k, in order.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from cherimoya_assets.analysis.mutagenesis.compiled.kept import compiled
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import (
    ADDRESS,
    FLOAT,
    LANES,
    VECTOR,
    constant,
    instruction,
    load,
    splat,
    store,
)

ROWS = 6
"""Of a tile. With four vectors of 16 lanes, or two of 8, its sums fill three quarters of the registers."""

WIDE = 4 if LANES == 16 else 2


def _tile_of(
    typing_context: Any, rows: Any, vectors: Any, a: Any, lda: Any, b: Any, ldb: Any, c: Any, ldc: Any, k: Any, add: Any
) -> Any:
    """One tile of a product; addresses in bytes, strides in floats, k > 0. `rows` and `vectors` are literals."""
    n_rows, n_vectors = rows.literal_value, vectors.literal_value
    signature = types.void(rows, vectors, *[types.intp] * 7, types.boolean)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        a, lda, b, ldb, c, ldc, k, add = arguments[2:]
        left, right, out = (builder.inttoptr(address, FLOAT.as_pointer()) for address in (a, b, c))
        starts = [builder.gep(left, [builder.mul(lda, ADDRESS(row))]) for row in range(n_rows)]
        entry, loop, done = builder.block, *(builder.append_basic_block(name) for name in ("product", "product_done"))
        builder.branch(loop)
        builder.position_at_end(loop)
        at, below = builder.phi(ADDRESS), builder.phi(FLOAT.as_pointer())
        at.add_incoming(ADDRESS(0), entry)
        below.add_incoming(right, entry)
        sums = [[builder.phi(VECTOR) for _ in range(n_vectors)] for _ in range(n_rows)]
        columns = [load(builder, builder.gep(below, [ADDRESS(v * LANES)])) for v in range(n_vectors)]
        after = []
        for start, row in zip(starts, sums, strict=True):
            factor = splat(builder, builder.load(builder.gep(start, [at])))
            after.append(
                [instruction(builder, "fma", factor, column, s) for column, s in zip(columns, row, strict=True)]
            )
        following = builder.add(at, ADDRESS(1))
        at.add_incoming(following, loop)
        below.add_incoming(builder.gep(below, [ldb]), loop)
        for row, new in zip(sums, after, strict=True):
            for s, value in zip(row, new, strict=True):
                s.add_incoming(constant(0.0), entry)
                s.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, k), loop, done)
        builder.position_at_end(done)
        for r, row in enumerate(after):
            start = builder.gep(out, [builder.mul(ldc, ADDRESS(r))])
            for v, value in enumerate(row):
                place = builder.gep(start, [ADDRESS(v * LANES)])
                before = builder.select(add, load(builder, place), constant(0.0))
                store(builder, builder.fadd(before, value), place)
        return context.get_dummy_value()

    return signature, generate


_tile: Any = intrinsic(prefer_literal=True)(_tile_of)


def _column_of_tiles(vectors: int) -> Any:
    """A product that is `vectors` vectors wide."""

    @compiled()
    def product(rows: int, k: int, a: int, lda: int, b: int, ldb: int, c: int, ldc: int, add: bool) -> None:
        row = 0
        while row + ROWS <= rows:
            _tile(ROWS, vectors, a + 4 * row * lda, lda, b, ldb, c + 4 * row * ldc, ldc, k, add)
            row += ROWS
        while row + 2 <= rows:
            _tile(2, vectors, a + 4 * row * lda, lda, b, ldb, c + 4 * row * ldc, ldc, k, add)
            row += 2
        if row < rows:
            _tile(1, vectors, a + 4 * row * lda, lda, b, ldb, c + 4 * row * ldc, ldc, k, add)

    return product


_one, _two, _three, _four = (_column_of_tiles(vectors) for vectors in (1, 2, 3, 4))


@compiled()
def multiply(rows: int, k: int, columns: int, a: int, lda: int, b: int, ldb: int, c: int, ldc: int, add: bool) -> None:
    """C = A B, or C += A B with `add`.

    Args:
        rows, k, columns: A is rows x k, B k x columns, C rows x columns; k > 0, and columns are a multiple of the
            padding.
        a, b, c: addresses of float32. lda, ldb, ldc: floats from one row to the next.
    """
    column = 0
    while column < columns:
        left = (columns - column) // LANES
        if left >= WIDE and WIDE == 4:
            _four(rows, k, a, lda, b + 4 * column, ldb, c + 4 * column, ldc, add)
            column += 4 * LANES
        elif left == 3 and WIDE == 4:
            _three(rows, k, a, lda, b + 4 * column, ldb, c + 4 * column, ldc, add)
            column += 3 * LANES
        elif left >= 2:
            _two(rows, k, a, lda, b + 4 * column, ldb, c + 4 * column, ldc, add)
            column += 2 * LANES
        else:
            _one(rows, k, a, lda, b + 4 * column, ldb, c + 4 * column, ldc, add)
            column += LANES

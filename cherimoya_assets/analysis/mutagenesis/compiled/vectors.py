"""Loops over vectors of float32, written as Python functions of one vector.

What lives here: vectors with arithmetic, the exponential, and the loop around a function of vectors. What must not:
what is computed with them.

A loop has the bits that its function gives, whatever stands before or behind in memory: each element is computed by
itself, and sums run over the lanes first, then over their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from cherimoya_assets.analysis.mutagenesis.compiled.kept import compiled

LANES = 16 if llvm.get_host_cpu_features().get("avx512f", False) else 8
"""Of a vector. Eight are one register with AVX2, and two of an Arm processor's."""

PADDING = 16
"""Rows of memory are a multiple of this many floats wide, so that a loop has no remainder on any processor."""

FLOAT, DOUBLE, INT, ADDRESS = ir.FloatType(), ir.DoubleType(), ir.IntType(32), ir.IntType(64)

LOG2E, LN2 = 1.44269504, 0.69314718
"""One subtraction of a multiple of float32's ln 2 is off by 2e-9 of the multiple, nothing beside the rounding."""

EXPONENTIAL = (1.3882516641e-3, 8.3665472988e-3, 4.1667200715e-2, 1.6666543423e-1, 4.9999998150e-1)
"""Of (exp(f) - 1 - f) / f^2 for |f| <= ln 2 / 2, highest power first: the polynomial of least largest error, 1.4e-8 of
exp(f) - 1, found by Lawson's iteration."""


def padded(n: int) -> int:
    """The next multiple of `PADDING`."""
    return -(-n // PADDING) * PADDING


def spread(width: int) -> int:
    """Floats from one row of a matrix to the next: rows a power of two apart would share few places of a cache."""
    return width + PADDING if width % 64 == 0 else width


class Vector:
    """A vector of `LANES` floats in the code that is being written; a Python number is one in all lanes."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Operand) -> Vector:
        return Vector(self.builder, self.builder.fadd(self.value, self._of(other)))

    def __sub__(self, other: Operand) -> Vector:
        return Vector(self.builder, self.builder.fsub(self.value, self._of(other)))

    def __mul__(self, other: Operand) -> Vector:
        return Vector(self.builder, self.builder.fmul(self.value, self._of(other)))

    def __truediv__(self, other: Operand) -> Vector:
        return Vector(self.builder, self.builder.fdiv(self.value, self._of(other)))

    def __neg__(self) -> Vector:
        return Vector(self.builder, self.builder.fneg(self.value))

    def times(self, factor: Operand, addend: Operand) -> Vector:
        """self * factor + addend, rounded once."""
        return self._call("fma", factor, addend)

    def absolute(self) -> Vector:
        return self._call("fabs")

    def at_least(self, least: Operand) -> Vector:
        """The larger of two; the other where one is no number."""
        return self._call("maxnum", least)

    def at_most(self, most: Operand) -> Vector:
        return self._call("minnum", most)

    def exponential(self) -> tuple[Vector, Vector]:
        """exp - 1, with its relative precision, and exp; up to 85 on either side of 0."""
        nearest = (self * LOG2E)._call("rint")
        rest = nearest.times(-LN2, self)
        series = rest.times(EXPONENTIAL[0], EXPONENTIAL[1])
        for coefficient in EXPONENTIAL[2:]:
            series = series.times(rest, coefficient)
        small = (series * rest).times(rest, rest)
        power = nearest._power_of_two()
        return power.times(small, power - 1.0), power.times(small, power)

    def _power_of_two(self) -> Vector:
        integer = ir.VectorType(INT, LANES)
        bias, mantissa = (ir.Constant(integer, [number] * LANES) for number in (127, 23))
        exponent = self.builder.add(self.builder.fptosi(self.value, integer), bias)
        return Vector(self.builder, self.builder.bitcast(self.builder.shl(exponent, mantissa), self.value.type))

    def _of(self, other: Operand) -> Any:
        return other.value if isinstance(other, Vector) else constant(other)

    def _call(self, name: str, *others: Operand) -> Vector:
        return Vector(self.builder, instruction(self.builder, name, self.value, *(self._of(other) for other in others)))


Operand = Vector | float

VECTOR = ir.VectorType(FLOAT, LANES)


def constant(number: float) -> Any:
    """A number in all lanes."""
    return ir.Constant(VECTOR, [float(number)] * LANES)


def instruction(builder: Any, name: str, *vectors: Any) -> Any:
    """One of LLVM's own, of vectors to a vector."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * len(vectors))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), vectors)


def splat(builder: Any, scalar: Any) -> Any:
    """A float of the code that is being written, in all lanes."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, INT(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT, LANES), [0] * LANES))


def load(builder: Any, pointer: Any) -> Any:
    """The vector at a pointer to floats."""
    loaded = builder.load(builder.bitcast(pointer, VECTOR.as_pointer()))
    loaded.align = 4
    return loaded


def store(builder: Any, value: Any, pointer: Any) -> None:
    """Write a vector to a pointer to floats."""
    builder.store(value, builder.bitcast(pointer, VECTOR.as_pointer())).align = 4


@compiled()
def address(array: Any) -> int:
    """Where the memory of an array begins.

    It is gone with the last mention of what it belongs to: an array that is made in compiled code and afterwards has
    nothing but its address named is freed before. So whatever has its address taken is an argument of the function.
    """
    place: int = np.int64(array.ctypes.data)  # type: ignore[assignment]
    return place


Loop = Callable[..., tuple[Sequence[Vector], Sequence[Vector]]]


def vector_loop(reads: int, writes: int, scalars: int = 0, sums: int = 0) -> Callable[[Loop], Any]:
    """Make a function of vectors a loop over a row, for numba.

    The function takes `reads` vectors and `scalars` floats, each in all lanes; it returns `writes` vectors and `sums`
    vectors. The loop takes addresses (`array.ctypes.data`) of rows of floats to read and to write, in this order, then
    the scalars, the address of float64 sums, to which those over the elements are added, and how many elements there
    are, a multiple of `PADDING`. Rows to write may be rows that are read.
    """

    def made(body: Loop) -> Any:
        wanted = [*[types.intp] * (reads + writes), *[types.float32] * scalars, types.intp, types.intp]

        def generate(context: Any, builder: Any, arguments: Any) -> None:
            pointers = [builder.inttoptr(address, FLOAT.as_pointer()) for address in arguments[: reads + writes]]
            known = [Vector(builder, splat(builder, scalar)) for scalar in arguments[reads + writes : -2]]
            with _Counting(builder, arguments[-1], LANES, sums) as loop:
                places = [builder.gep(pointer, [loop.at]) for pointer in pointers]
                results, terms = body(*(Vector(builder, load(builder, place)) for place in places[:reads]), *known)
                for result, place in zip(results, places[reads:], strict=True):
                    store(builder, result.value, place)
                loop.after = [builder.fadd(old, term.value) for old, term in zip(loop.before, terms, strict=True)]
            for k, vector in enumerate(loop.after):
                place = builder.gep(builder.inttoptr(arguments[-2], DOUBLE.as_pointer()), [ADDRESS(k)])
                builder.store(builder.fadd(builder.load(place), _over_lanes(builder, vector, "fadd")), place)

        return _for_numba(generate, wanted)

    return made


def table_loop(shared: int, writes: int, scalars: int) -> Callable[[Loop], Any]:
    """Make a function of vectors a loop over the rows of a table, all of which meet the same other rows.

    The function takes one vector of the table, `shared` ones of the other rows, and `scalars` floats of the table's
    row, each in all lanes; it returns `writes` vectors and one more. The loop takes the address of the table, of the
    shared rows, and of the tables to write, of which the first may be the one that is read; of float32 arrays, a
    scalar a row; of a float64, which becomes the largest element of that one more, at least 0; then the number of
    rows, of elements in a row, a multiple of `PADDING`, and of floats from one row to the next. What depends on
    shared rows alone is computed once for all rows.
    """

    def made(body: Loop) -> Any:
        wanted = [types.intp] * (1 + shared + writes + scalars + 4)

        def generate(context: Any, builder: Any, arguments: Any) -> None:
            pointers = [builder.inttoptr(address, FLOAT.as_pointer()) for address in arguments[:-4]]
            others, outs, factors = (
                pointers[1 : 1 + shared], pointers[1 + shared : 1 + shared + writes], pointers[1 + shared + writes :]
            )  # fmt: skip
            largest, n_rows, columns, stride = arguments[-4:]
            with _Counting(builder, columns, LANES, 1) as column:
                known = [Vector(builder, load(builder, builder.gep(other, [column.at]))) for other in others]
                with _Counting(builder, n_rows, 1, 1, column.before) as row:
                    here = builder.add(builder.mul(row.at, stride), column.at)
                    x = Vector(builder, load(builder, builder.gep(pointers[0], [here])))
                    own = [splat(builder, builder.load(builder.gep(factor, [row.at]))) for factor in factors]
                    results, (term,) = body(x, *known, *(Vector(builder, scalar) for scalar in own))
                    for result, out in zip(results, outs, strict=True):
                        store(builder, result.value, builder.gep(out, [here]))
                    row.after = [term.at_least(Vector(builder, row.before[0])).value]
                column.after = row.after
            place = builder.inttoptr(largest, DOUBLE.as_pointer())
            builder.store(_over_lanes(builder, column.after[0], "fmax"), place)

        return _for_numba(generate, wanted)

    return made


class _Counting:
    """A loop that is being written: `at` counts to a limit, at least one step; vectors are carried from turn to
    turn."""

    def __init__(self, builder: Any, limit: Any, step: int, carried: int, begin: Sequence[Any] | None = None) -> None:
        self.builder, self.limit, self.step = builder, limit, step
        self.begin = begin or [constant(0.0)] * carried
        self.after: list[Any] = []

    def __enter__(self) -> _Counting:
        entry, self.block = self.builder.block, self.builder.append_basic_block("counting")
        self.builder.branch(self.block)
        self.builder.position_at_end(self.block)
        self.at = self.builder.phi(ADDRESS)
        self.at.add_incoming(ADDRESS(0), entry)
        self.before = [self.builder.phi(VECTOR) for _ in self.begin]
        for old, first in zip(self.before, self.begin, strict=True):
            old.add_incoming(first, entry)
        return self

    def __exit__(self, *error: object) -> None:
        last, done = self.builder.block, self.builder.append_basic_block("counted")
        following = self.builder.add(self.at, ADDRESS(self.step))
        self.at.add_incoming(following, last)
        for old, new in zip(self.before, self.after, strict=True):
            old.add_incoming(new, last)
        self.builder.cbranch(self.builder.icmp_signed("<", following, self.limit), self.block, done)
        self.builder.position_at_end(done)


def _for_numba(generate: Callable[[Any, Any, Any], None], wanted: Sequence[Any]) -> Any:
    """A function that numba's code calls; its arguments become what is wanted."""

    def code(context: Any, builder: Any, signature: Any, packed: Any) -> Any:
        given = zip(cgutils.unpack_tuple(builder, packed[0]), signature.args[0], wanted, strict=True)
        generate(context, builder, [context.cast(builder, value, kind, want) for value, kind, want in given])
        return context.get_dummy_value()

    @intrinsic
    def looped(typing_context: Any, *arguments: Any) -> Any:
        return types.void(types.StarArgTuple(arguments)), code

    return looped


def _over_lanes(builder: Any, vector: Any, how: str) -> Any:
    begin = [FLOAT(0.0)] if how == "fadd" else []
    kind = ir.FunctionType(FLOAT, [*(FLOAT for _ in begin), VECTOR])
    reduce = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.{how}.v{LANES}f32")
    return builder.fpext(builder.call(reduce, [*begin, vector], fastmath=["reassoc"]), DOUBLE)

"""More of :mod:`.vectors`: what works on several vectors, on blocks of a picture, and on lists.

Sixteen numbers are thought of as four quarters of four: in a block of pixels a quarter is a row.
Orders are chosen so that each takes one cheap instruction where a register is four such quarters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import FLAGS, WIDTH, Vector, constant, llvm_type, place, shuffled

_QUARTERS = range(0, WIDTH, 4)
_COMPRESSES = binding.llvm_version_info[0] >= 19  # has llvm.experimental.vector.compress
_INT, _INTS, _BITS = ir.IntType(32), ir.VectorType(ir.IntType(32), WIDTH), ir.IntType(WIDTH)


def _spread_in_quarters(column: int) -> Any:
    @intrinsic
    def spread_column(typing_context, vector):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            order = [quarter + column for quarter in _QUARTERS for _ in range(4)]
            return shuffled(builder, arguments[0], arguments[0], order)

        return vector(vector), generate

    return spread_column


column0, column1, column2, column3 = map(_spread_in_quarters, range(4))
"""Each quarter's number of that place, four times."""


def _transposed(builder: Any, rows: Sequence[Any]) -> list[Any]:
    low = [q + k + side for q in _QUARTERS for k in (0, 1) for side in (0, WIDTH)]
    high = [k + 2 for k in low]
    ab, ab2 = (shuffled(builder, rows[0], rows[1], order) for order in (low, high))
    cd, cd2 = (shuffled(builder, rows[2], rows[3], order) for order in (low, high))
    first = [q + k + side for q in _QUARTERS for side in (0, WIDTH) for k in (0, 1)]
    second = [k + 2 for k in first]
    return [
        shuffled(builder, one, two, order)
        for one, two in ((ab, cd), (ab2, cd2))
        for order in (first, second)
    ]


@intrinsic
def transposed(typing_context, vectors):  # type: ignore[no-untyped-def]
    """Four vectors (a tuple) whose quarters are transposed: number j of a quarter of vector k
    becomes number k of that quarter of vector j.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        rows = [builder.extract_value(arguments[0], k) for k in range(4)]
        columns = _transposed(builder, rows)
        return context.make_tuple(builder, signature.return_type, columns)

    return types.UniTuple(vectors.dtype, 4)(vectors), generate


@intrinsic
def quarters_summed(typing_context, vectors):  # type: ignore[no-untyped-def]
    """One vector of a tuple of four: quarter k is the sum of vector k's quarters."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        def halved(a: Any, b: Any, first: list[int], step: int) -> Any:
            second = [k + step for k in first]
            one, two = (shuffled(builder, a, b, order) for order in (first, second))
            return builder.fadd(one, two, flags=FLAGS)

        a, b, c, d = (builder.extract_value(arguments[0], k) for k in range(4))
        halves = [*range(8), *range(WIDTH, WIDTH + 8)]
        evens = [q + k for q in (0, 8, WIDTH, WIDTH + 8) for k in range(4)]
        return halved(halved(a, b, halves, 8), halved(c, d, halves, 8), evens, 4)

    return vectors.dtype(vectors), generate


# --- blocks of a picture ------------------------------------------------------------------------


def _row(context: Any, builder: Any, kind: types.Array, arguments: Any, k: int) -> Any:
    array, index, stride = arguments
    at = builder.add(index, builder.mul(stride, ir.Constant(index.type, k)))
    data = context.make_array(kind)(context, builder, array).data
    row = ir.VectorType(llvm_type(kind.dtype).element, 4)
    return builder.bitcast(builder.gep(data, [at]), row.as_pointer())


@intrinsic
def load_block(typing_context, array, index, stride):  # type: ignore[no-untyped-def]
    """The block of 4 x 4 numbers whose rows begin at ``index`` and then every ``stride``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        size = array.dtype.bitwidth // 8
        a, b, c, d = (
            builder.load(_row(context, builder, array, arguments, k), align=size) for k in range(4)
        )
        upper, lower = (shuffled(builder, x, y, range(8)) for x, y in ((a, b), (c, d)))
        return shuffled(builder, upper, lower, range(WIDTH))

    return Vector(array.dtype)(array, types.intp, types.intp), generate


@intrinsic
def store_block(typing_context, array, index, stride, vector):  # type: ignore[no-untyped-def]
    """Write a block where :func:`load_block` would read it."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        for k in range(4):
            part = shuffled(builder, arguments[3], arguments[3], range(4 * k, 4 * k + 4))
            at = _row(context, builder, array, arguments[:3], k)
            builder.store(part, at, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), generate


# --- of single vectors ---------------------------------------------------------------------------


@intrinsic
def widened(typing_context, vector):  # type: ignore[no-untyped-def]
    """A vector as float64."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        if vector.element == types.float64:
            return arguments[0]
        return builder.fpext(arguments[0], llvm_type(types.float64))

    return Vector(types.float64)(vector), generate


@intrinsic
def all_zero(typing_context, vector):  # type: ignore[no-untyped-def]
    """Whether all 16 numbers are zero."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        none = constant([0] * WIDTH, arguments[0].type)
        other = builder.fcmp_unordered("!=", arguments[0], none, flags=FLAGS)
        return builder.icmp_unsigned("==", builder.bitcast(other, _BITS), ir.Constant(_BITS, 0))

    return types.boolean(vector), generate


# --- sixteen rows of a table -------------------------------------------------------------------


def _turned(builder: Any, rows: list[Any]) -> list[Any]:
    """Rows and columns of 16 vectors exchanged: blocks of 8 x 8, then of 4 x 4, 2 x 2 and 1."""
    for step in (8, 4, 2, 1):
        kept = [k if k & step == 0 else WIDTH + k - step for k in range(WIDTH)]
        moved = [k + step if k & step == 0 else WIDTH + k for k in range(WIDTH)]
        for k in range(WIDTH):
            if k & step == 0:
                a, b = rows[k], rows[k + step]
                rows[k], rows[k + step] = (shuffled(builder, a, b, o) for o in (kept, moved))
    return rows


def _lines(context: Any, builder: Any, kind: types.Array, array: Any, starts: Any) -> list[Any]:
    return [place(context, builder, kind, array, start) for start in starts]


def _chosen(context: Any, builder: Any, kind: types.Array, array: Any, offset: Any) -> list[Any]:
    """The 16 numbers of an integer array plus an offset each."""
    data = context.make_array(kind)(context, builder, array).data
    numbers = (builder.load(builder.gep(data, [ir.Constant(_INT, k)])) for k in range(WIDTH))
    return [builder.add(number, offset) for number in numbers]


def _evenly(builder: Any, first: Any) -> list[Any]:
    return [builder.add(first, ir.Constant(first.type, WIDTH * k)) for k in range(WIDTH)]


@intrinsic
def gather_columns(typing_context, table, starts, offset, out, at):  # type: ignore[no-untyped-def]
    """Column k of the 16 rows ``table[starts[n] + offset :][:16]`` into ``out[at + 16 k:][:16]``,
    for all 16.

    ``starts`` (16,) int64; the arrays are flat, unchecked.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        table_, starts_, offset_, out_, at_ = arguments
        size = table.dtype.bitwidth // 8
        sources = _chosen(context, builder, starts, starts_, offset_)
        lines = _lines(context, builder, table, table_, sources)
        turned = _turned(builder, [builder.load(line, align=size) for line in lines])
        targets = _lines(context, builder, out, out_, _evenly(builder, at_))
        for column, line in zip(turned, targets, strict=True):
            builder.store(column, line, align=size)
        return context.get_dummy_value()

    return types.void(table, starts, types.intp, out, types.intp), generate


@intrinsic
def scatter_columns(typing_context, source, at, table, starts, offset):  # type: ignore[no-untyped-def]
    """The inverse of :func:`gather_columns`: from ``source[at:]`` into ``table``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source_, at_, table_, starts_, offset_ = arguments
        size = table.dtype.bitwidth // 8
        lines = _lines(context, builder, source, source_, _evenly(builder, at_))
        turned = _turned(builder, [builder.load(line, align=size) for line in lines])
        chosen = _chosen(context, builder, starts, starts_, offset_)
        for row, line in zip(turned, _lines(context, builder, table, table_, chosen), strict=True):
            builder.store(row, line, align=size)
        return context.get_dummy_value()

    return types.void(source, types.intp, table, starts, types.intp), generate


@intrinsic
def load_pixels(typing_context, array, index):  # type: ignore[no-untyped-def]
    """Red, green, blue and alpha of 16 pixels, 0..255, from ``array[index : index + 64]`` (uint8),
    as float32 vectors.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        bytes_ = ir.VectorType(ir.IntType(8), 4 * WIDTH)
        at = place(context, builder, array, *arguments, bytes_)
        pixels = builder.load(at, align=1)
        parts = (shuffled(builder, pixels, None, range(c, 4 * WIDTH, 4)) for c in range(4))
        vectors = [builder.uitofp(part, llvm_type(types.float32)) for part in parts]
        return context.make_tuple(builder, signature.return_type, vectors)

    return types.UniTuple(Vector(types.float32), 4)(array, types.intp), generate


# --- masks and lists ----------------------------------------------------------------------------


@intrinsic
def bits_reached(typing_context, test, bound):  # type: ignore[no-untyped-def]
    """A number whose bit k says whether ``test[k] >= bound``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        bounds = shuffled(
            builder,
            builder.insert_element(
                ir.Constant(arguments[0].type, ir.Undefined), arguments[1], ir.Constant(_INT, 0)
            ),
            None,
            [0] * WIDTH,
        )
        reached = builder.fcmp_ordered(">=", arguments[0], bounds, flags=FLAGS)
        return builder.zext(builder.bitcast(reached, _BITS), ir.IntType(64))

    return types.int64(test, test.element), generate


@intrinsic
def append_marked(typing_context, row, count, masks, first, bit, step):  # type: ignore[no-untyped-def]
    """Write ``step * n`` for each n of ``first`` .. ``first + 15`` whose ``masks[n]`` has that bit
    to ``row[count]`` and on; returns the new count. Up to ``row[count + 15]`` may be overwritten.

    ``row`` and ``masks`` are int32 arrays; there is no branch.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array, count_, marks, first_, bit_, step_ = arguments
        found = builder.load(place(context, builder, masks, marks, first_, _INTS), align=4)
        wide = [
            _ints(builder, builder.trunc(x, _INT))
            for x in (builder.shl(ir.Constant(bit_.type, 1), bit_), first_, step_)
        ]
        numbers = builder.add(
            wide[1], ir.Constant(_INTS, [ir.Constant(_INT, k) for k in range(16)])
        )
        places = builder.mul(numbers, wide[2])
        marked = builder.icmp_unsigned("!=", builder.and_(found, wide[0]), ir.Constant(_INTS, None))
        if not _COMPRESSES:
            return _append_singly(context, builder, row, array, count_, places, marked)
        kind = ir.FunctionType(_INTS, [_INTS, marked.type, _INTS])
        name = f"llvm.experimental.vector.compress.v{WIDTH}i32"
        compress = cgutils.get_or_insert_function(builder.module, kind, name)
        packed = builder.call(compress, [places, marked, ir.Constant(_INTS, ir.Undefined)])
        builder.store(packed, place(context, builder, row, array, count_, _INTS), align=4)
        more = builder.ctpop(builder.zext(builder.bitcast(marked, _BITS), count_.type))
        return builder.add(count_, more)

    return types.intp(row, types.intp, masks, types.intp, types.intp, types.intp), generate


def _ints(builder: Any, number: Any) -> Any:
    none = ir.Constant(_INTS, ir.Undefined)
    return shuffled(
        builder, builder.insert_element(none, number, ir.Constant(_INT, 0)), None, [0] * WIDTH
    )


def _append_singly(
    context: Any, builder: Any, kind: types.Array, array: Any, count: Any, places: Any, marked: Any
) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    for k in range(WIDTH):
        at = ir.Constant(_INT, k)
        builder.store(builder.extract_element(places, at), builder.gep(data, [count]))
        one = builder.zext(builder.extract_element(marked, at), count.type)
        count = builder.add(count, one)
    return count

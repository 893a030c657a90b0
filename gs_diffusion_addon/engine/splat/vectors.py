"""Vectors inside kernels: 16 numbers that the processor handles at once.

A numba kernel works on single numbers, and whether the compiler turns a loop over them into vector
instructions hangs on details of its own. Here a vector is a type of its own, compiled to LLVM's
``<16 x float>``: one register with AVX-512, two with AVX2, four with NEON. ``+ - * /`` take
vectors and single floats; products and sums of one expression become fused multiply-adds. float64
works, too, for the gradient tests.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, typing
from numba.core.datamodel import models, register_default
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin

WIDTH = 16
BLOCK_X, BLOCK_Y = 4, 4  # the same 16 as a block of pixels, row by row

# What may be rounded differently than written: a * b + c in one step, and signs of zeros.
FLAGS = ("contract", "nsz", "nnan")
_INDEX = ir.IntType(32)
_PLACES = ir.VectorType(_INDEX, WIDTH)


class Vector(types.Type):
    """Numba's type of a vector; ``element`` is float32 or float64."""

    def __init__(self, element: types.Float) -> None:
        self.element = element
        super().__init__(f"Vector({element})")


@register_default(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, llvm_type(kind.element))


def llvm_type(element: types.Float) -> ir.VectorType:
    """LLVM's type of a vector of these."""
    return ir.VectorType(ir.FloatType() if element == types.float32 else ir.DoubleType(), WIDTH)


def constant(values: Sequence[float], kind: ir.VectorType) -> ir.Constant:
    """The vector of these 16 numbers."""
    return ir.Constant(kind, [ir.Constant(kind.element, float(v)) for v in values])


def _broadcast(builder: Any, number: Any) -> Any:
    kind = ir.VectorType(number.type, WIDTH)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(_INDEX, 0))
    zeros = ir.Constant(ir.VectorType(_INDEX, WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)


def _wide(context: Any, builder: Any, value: Any, kind: types.Type, element: types.Float) -> Any:
    """A vector as it is; a single number (made an ``element`` first) in every place."""
    if isinstance(kind, Vector):
        return value
    return _broadcast(builder, context.cast(builder, value, kind, element))


# --- arithmetic ---------------------------------------------------------------------------------


def _element(arguments: Sequence[types.Type]) -> types.Float | None:
    """The vectors' element among operands that are vectors and single floats, else None."""
    found = [a.element for a in arguments if isinstance(a, Vector)]
    rest = [a for a in arguments if not isinstance(a, Vector)]
    if not found or not all(isinstance(a, types.Float) for a in rest):
        return None
    return found[0]


def _declare(function: Callable[..., Any], emit: Callable[[Any, Any, Any], Any]) -> None:
    """Teach numba ``function`` of two operands, at least one of them a vector."""

    @infer_global(function)
    class _Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, arguments: Any, keywords: Any) -> Any:
            element = _element(arguments) if len(arguments) == 2 else None
            return element and typing.signature(Vector(element), *arguments)

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = signature.return_type.element
        wide = [
            _wide(context, builder, a, kind, element)
            for a, kind in zip(arguments, signature.args, strict=True)
        ]
        return emit(builder, *wide)

    for operands in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(function, *operands)(lowered)


def smaller(a, b):  # type: ignore[no-untyped-def]
    """The smaller one, number by number."""
    return min(a, b)


def greater(a, b):  # type: ignore[no-untyped-def]
    """The greater one, number by number."""
    return max(a, b)


def _choose(order: str) -> Callable[[Any, Any, Any], Any]:
    def emit(builder: Any, a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered(order, a, b, flags=FLAGS), a, b)

    return emit


_declare(operator.add, lambda builder, a, b: builder.fadd(a, b, flags=FLAGS))
_declare(operator.sub, lambda builder, a, b: builder.fsub(a, b, flags=FLAGS))
_declare(operator.mul, lambda builder, a, b: builder.fmul(a, b, flags=FLAGS))
# By the processor's estimate of the reciprocal and one step of Newton's, where it has that: within
# 2e-7 (relative), in a third of the time.
_declare(operator.truediv, lambda builder, a, b: builder.fdiv(a, b, flags=(*FLAGS, "arcp", "afn")))
_declare(smaller, _choose("<"))
_declare(greater, _choose(">"))


# --- between arrays and vectors -----------------------------------------------------------------


def place(
    context: Any, builder: Any, kind: types.Array, array: Any, index: Any, of: Any = None
) -> Any:
    """Pointer to WIDTH elements of a one-dimensional array; ``of`` for other than floats."""
    data = context.make_array(kind)(context, builder, array).data
    pointer = builder.gep(data, [index])
    return builder.bitcast(pointer, (of or llvm_type(kind.dtype)).as_pointer())


@intrinsic
def take(typing_context, array, index):  # type: ignore[no-untyped-def]
    """``array[index]`` of a contiguous array, unchecked: numba tests for negative indices, which
    count from the end, at every access.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(array)(context, builder, arguments[0]).data
        return builder.load(builder.gep(data, [arguments[1]]))

    return array.dtype(array, types.intp), generate


@intrinsic
def load(typing_context, array, index):  # type: ignore[no-untyped-def]
    """The vector ``array[index : index + 16]`` of a contiguous array, unchecked."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        at = place(context, builder, signature.args[0], *arguments)
        return builder.load(at, align=array.dtype.bitwidth // 8)

    return Vector(array.dtype)(array, types.intp), generate


@intrinsic
def store(typing_context, array, index, vector):  # type: ignore[no-untyped-def]
    """Write ``vector`` to ``array[index : index + 16]``, unchecked."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        at = place(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], at, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def load_some(typing_context, array, index, count):  # type: ignore[no-untyped-def]
    """The vector ``array[index : index + count]``, zero behind; nothing else is read. Slow where
    the processor has no such instruction.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        at = place(context, builder, signature.args[0], *arguments[:2])
        kind = llvm_type(array.dtype)
        inside = _first(builder, arguments[2])
        size = ir.Constant(_INDEX, array.dtype.bitwidth // 8)
        masked = _masked(builder, "load", kind, kind, (at.type, _INDEX, inside.type, kind))
        return builder.call(masked, [at, size, inside, constant([0] * WIDTH, kind)])

    return Vector(array.dtype)(array, types.intp, types.intp), generate


@intrinsic
def store_some(typing_context, array, index, count, vector):  # type: ignore[no-untyped-def]
    """Write the first ``count`` numbers of ``vector`` to ``array[index : index + count]``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        at = place(context, builder, signature.args[0], *arguments[:2])
        kind = llvm_type(array.dtype)
        inside = _first(builder, arguments[2])
        size = ir.Constant(_INDEX, array.dtype.bitwidth // 8)
        masked = _masked(
            builder, "store", ir.VoidType(), kind, (kind, at.type, _INDEX, inside.type)
        )
        builder.call(masked, [arguments[3], at, size, inside])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), generate


def _masked(builder: Any, name: str, result: Any, kind: Any, arguments: Any) -> Any:
    """LLVM's load or store of some places of a vector."""
    element = "f32" if isinstance(kind.element, ir.FloatType) else "f64"
    name = f"llvm.masked.{name}.v{WIDTH}{element}.p0"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _first(builder: Any, count: Any) -> Any:
    """Which of the 16 places are below ``count``."""
    numbers = ir.Constant(_PLACES, [ir.Constant(_INDEX, k) for k in range(WIDTH)])
    count = builder.insert_element(
        ir.Constant(_PLACES, ir.Undefined), builder.trunc(count, _INDEX), ir.Constant(_INDEX, 0)
    )
    zeros = ir.Constant(_PLACES, [0] * WIDTH)
    counts = builder.shuffle_vector(count, ir.Constant(_PLACES, ir.Undefined), zeros)
    return builder.icmp_signed("<", numbers, counts)


@intrinsic
def first_of(typing_context, vector, count):  # type: ignore[no-untyped-def]
    """``vector`` in its first ``count`` places, zero behind."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        inside = _first(builder, arguments[1])
        return builder.select(inside, arguments[0], constant([0] * WIDTH, arguments[0].type))

    return vector(vector, types.intp), generate


@intrinsic
def spread(typing_context, number):  # type: ignore[no-untyped-def]
    """The vector with ``number`` in every place."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _broadcast(builder, arguments[0])

    return Vector(number)(number), generate


def fixed(values: Sequence[float]) -> Any:
    """A function that gives the vector of these 16; its argument only says of which type."""

    @intrinsic
    def numbers(typing_context, number):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return constant(values, llvm_type(number))

        return Vector(number)(number), generate

    return numbers


# Columns and rows of the pixels of a block.
columns = fixed([k % BLOCK_X for k in range(WIDTH)])
rows = fixed([k // BLOCK_X for k in range(WIDTH)])


# --- what compositing needs ---------------------------------------------------------------------


@intrinsic
def where_reached(typing_context, value, test, bound):  # type: ignore[no-untyped-def]
    """``value`` where ``test >= bound``, else zero."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        bounds = _wide(context, builder, arguments[2], bound, value.element)
        reached = builder.fcmp_ordered(">=", arguments[1], bounds, flags=FLAGS)
        return builder.select(reached, arguments[0], constant([0] * WIDTH, arguments[0].type))

    return value(value, test, bound), generate


@intrinsic
def where_below(typing_context, value, test, bound):  # type: ignore[no-untyped-def]
    """``value`` where ``test < bound``, else zero."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        bounds = _wide(context, builder, arguments[2], bound, value.element)
        below = builder.fcmp_ordered("<", arguments[1], bounds, flags=FLAGS)
        return builder.select(below, arguments[0], constant([0] * WIDTH, arguments[0].type))

    return value(value, test, bound), generate


# Minimax polynomial of 2^f on -0.5..0.5, highest power first; relative error 3e-6.
_POWER = (9.5700966e-3, 5.5917859e-2, 2.4024744e-1, 6.9312179e-1, 9.9999928e-1)
# Added to a small number it leaves no bits for a fraction: the sum's last bits are the nearest
# whole number, and its low nine, the only ones that matter below, are nothing else.
_ROUNDING = 1.5 * 2.0**23


@intrinsic
def power_of_two(typing_context, exponent):  # type: ignore[no-untyped-def]
    """2^x: exact for float64; for float32 within 3e-6 (relative) where x is -125 to 127, and
    anything elsewhere.

    2^x = 2^n * 2^(x - n) with n the whole number nearest to x: the exponent's bits and a
    polynomial, without a branch or a conversion.
    """

    def exact(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = arguments[0].type
        x = builder.fmul(arguments[0], constant([0.6931471805599453] * WIDTH, kind))
        return llvm_function(builder, "exp", x)

    def quick(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind, bits = arguments[0].type, ir.VectorType(_INDEX, WIDTH)
        rounding = constant([_ROUNDING] * WIDTH, kind)
        near = builder.fadd(arguments[0], rounding, flags=FLAGS)
        whole = builder.fsub(near, rounding, flags=FLAGS)
        f = builder.fsub(arguments[0], whole, flags=FLAGS)
        p = constant([_POWER[0]] * WIDTH, kind)
        for c in _POWER[1:]:
            p = builder.fadd(
                builder.fmul(p, f, flags=FLAGS), constant([c] * WIDTH, kind), flags=FLAGS
            )
        shift = ir.Constant(bits, [ir.Constant(_INDEX, 23)] * WIDTH)
        exponents = builder.shl(builder.bitcast(near, bits), shift)
        return builder.bitcast(builder.add(builder.bitcast(p, bits), exponents), kind)

    return exponent(exponent), quick if exponent.element == types.float32 else exact


def llvm_function(builder: Any, name: str, x: Any) -> Any:
    """LLVM's mathematical function of that name, number by number."""
    element = "f32" if isinstance(x.type.element, ir.FloatType) else "f64"
    kind = ir.FunctionType(x.type, [x.type])
    name = f"llvm.{name}.v{WIDTH}{element}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [x])


@intrinsic
def highest(typing_context, vector):  # type: ignore[no-untyped-def]
    """The greatest of the 16 numbers."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        v = arguments[0]
        for half in (8, 4, 2, 1):
            v = _choose(">")(builder, v, _moved(builder, v, half))
        return builder.extract_element(v, ir.Constant(_INDEX, 0))

    return vector.element(vector), generate


@intrinsic
def summed(typing_context, vector):  # type: ignore[no-untyped-def]
    """The sum of the 16 numbers."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        v = arguments[0]
        for half in (8, 4, 2, 1):
            v = builder.fadd(v, _moved(builder, v, half), flags=FLAGS)
        return builder.extract_element(v, ir.Constant(_INDEX, 0))

    return vector.element(vector), generate


def _moved(builder: Any, v: Any, by: int) -> Any:
    """Places ``by`` .. 15 of a vector, in front."""
    return shuffled(builder, v, v, [min(k + by, WIDTH - 1) for k in range(WIDTH)])


def shuffled(builder: Any, a: Any, b: Any, order: Sequence[int]) -> Any:
    """The numbers ``order`` of ``a`` and, counted on, ``b`` (None: of ``a`` alone)."""
    b = b or ir.Constant(a.type, ir.Undefined)
    kind = ir.VectorType(_INDEX, len(order))
    return builder.shuffle_vector(a, b, ir.Constant(kind, [ir.Constant(_INDEX, k) for k in order]))

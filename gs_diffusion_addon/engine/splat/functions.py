"""Still more of :mod:`.vectors`: roots, exponentials and logarithms of float64 vectors.

numba has no vector library of its own (Intel's is not on every machine), and a call to the C
library for every number would cost more than all else that projection does. Accurate to some
1e-15 (relative).

Every instruction has its FLAGS: numba gives those without any all of its own, which would let sums
be regrouped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .vectors import FLAGS, WIDTH, constant, llvm_function

_LONG = ir.IntType(64)
_LONGS = ir.VectorType(_LONG, WIDTH)
_SERIES = tuple(1 / math.factorial(k) for k in range(12, -1, -1))  # e^r for |r| < ln(2) / 2
_AREA = tuple(2 / (2 * k + 1) for k in range(10, -1, -1))  # ln((1 + s) / (1 - s)) / s by s^2
_LN2 = 0.6931471805599453
_LN2_HIGH = 0.693147180369123816490  # its first bits, whose multiples are exact, and the rest
_LN2_LOW = 1.90821492927058770002e-10
_SHIFTER = 1.5 * 2.0**52  # added to a float64 it leaves the nearest whole number in the last bits
_HALF_ROOT = 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)


def _longs(number: int) -> ir.Constant:
    return ir.Constant(_LONGS, [ir.Constant(_LONG, number)] * WIDTH)


def _polynomial(builder: Any, x: Any, coefficients: Sequence[float]) -> Any:
    """Highest power first."""
    result = constant([coefficients[0]] * WIDTH, x.type)
    for c in coefficients[1:]:
        product = builder.fmul(result, x, flags=FLAGS)
        result = builder.fadd(product, constant([c] * WIDTH, x.type), flags=FLAGS)
    return result


@intrinsic
def root(typing_context, vector):  # type: ignore[no-untyped-def]
    """The square roots."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return llvm_function(builder, "sqrt", arguments[0])

    return vector(vector), generate


@intrinsic
def whole_below(typing_context, vector):  # type: ignore[no-untyped-def]
    """The greatest whole numbers that are not above."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return llvm_function(builder, "floor", arguments[0])

    return vector(vector), generate


@intrinsic
def exponential(typing_context, vector):  # type: ignore[no-untyped-def]
    """e^x; x counts as -150 at least and 150 at most, so that no product of some overflows.

    e^x = 2^n e^r with the whole number n nearest to x / ln 2: exponent bits and a series.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        def all_of(number: float) -> Any:
            return constant([number] * WIDTH, arguments[0].type)

        x = arguments[0]
        for order, limit in ((">", all_of(-150.0)), ("<", all_of(150.0))):
            x = builder.select(builder.fcmp_ordered(order, x, limit, flags=FLAGS), x, limit)
        shifted = builder.fmul(x, all_of(1 / _LN2), flags=FLAGS)
        shifted = builder.fadd(shifted, all_of(_SHIFTER), flags=FLAGS)
        n = builder.fsub(shifted, all_of(_SHIFTER), flags=FLAGS)
        r = builder.fsub(x, builder.fmul(n, all_of(_LN2_HIGH), flags=FLAGS), flags=FLAGS)
        r = builder.fsub(r, builder.fmul(n, all_of(_LN2_LOW), flags=FLAGS), flags=FLAGS)
        power = builder.bitcast(_polynomial(builder, r, _SERIES), _LONGS)
        exponents = builder.shl(builder.bitcast(shifted, _LONGS), _longs(52))
        return builder.bitcast(builder.add(power, exponents), x.type)

    return (vector(vector), generate) if vector.element == types.float64 else None


@intrinsic
def logarithm(typing_context, vector):  # type: ignore[no-untyped-def]
    """The natural logarithms of positive numbers.

    ln x = n ln 2 + ln m with m between sqrt(1/2) and sqrt(2), and ln m = 2 artanh((m - 1) / (m +
    1)).
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        x = arguments[0]

        def all_of(number: float) -> Any:
            return constant([number] * WIDTH, x.type)

        bits = builder.bitcast(x, _LONGS)
        # n + 1024, which is positive: unsigned shifts of 64 bits exist everywhere.
        above = builder.add(builder.sub(bits, _longs(_HALF_ROOT)), _longs(1024 << 52))
        whole = builder.lshr(above, _longs(52))
        power = builder.shl(builder.sub(whole, _longs(1024)), _longs(52))
        m = builder.bitcast(builder.sub(bits, power), x.type)
        # 2^52 + n + 1024 as a float64 has n + 1024 in its last bits.
        counted = builder.bitcast(builder.or_(whole, _longs(0x433 << 52)), x.type)
        n = builder.fsub(counted, all_of(2.0**52 + 1024), flags=FLAGS)
        less, more = (f(m, all_of(1.0), flags=FLAGS) for f in (builder.fsub, builder.fadd))
        s = builder.fdiv(less, more, flags=FLAGS)
        series = _polynomial(builder, builder.fmul(s, s, flags=FLAGS), _AREA)
        part = builder.fmul(series, s, flags=FLAGS)
        return builder.fadd(builder.fmul(n, all_of(_LN2), flags=FLAGS), part, flags=FLAGS)

    return (vector(vector), generate) if vector.element == types.float64 else None

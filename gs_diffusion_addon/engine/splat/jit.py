"""The one way kernels are compiled, and the constants of splatting.

``kernel`` functions take ``(first, last, ...)``: a range of jobs, so that threads can share the
work (:class:`.runtime.Workers`). They are written once and compiled for float32 (production) or
float64 (gradient tests), following the arrays they get.
"""

from __future__ import annotations

import math

import numpy as np

from . import runtime

runtime.prepare()

import numba  # noqa: E402
from llvmlite import ir  # noqa: E402
from numba import types  # noqa: E402
from numba.extending import intrinsic, overload  # noqa: E402

kernel = numba.njit(fastmath=True, error_model="numpy", cache=True, nogil=True)

# For what a kernel calls once a splat with arrays: a real call would pass every array in a dozen
# words
# and count its references with locked instructions, which costs more than the work and does not
# scale.
inlined = numba.njit(fastmath=True, error_model="numpy", nogil=True, inline="always")

TILE_X, TILE_Y = 32, 16  # pixels of a tile; 16 x 16, 32 x 32 and 64 x 16 were slower here
LANES = 8  # a splat's part of a row is a multiple of this many pixels, and may begin anywhere
DILATION = 0.3  # px^2 added to the projected covariance (Kerbl et al. 2023, their EWA low-pass)
JACOBIAN_LIMIT = 0.3  # the Jacobian is clamped this share of tan(fov/2) beyond the picture's border

# float32 on purpose: in a float64 kernel they are promoted, in a float32 one nothing may be.
ALPHA_MIN = np.float32(1.0 / 255.0)  # fainter contributions are skipped
ALPHA_MAX = np.float32(0.99)  # no splat is fully opaque, so that 1/(1 - alpha) stays finite
OPAQUE = np.float32(1e-4)  # a tile is finished when less light than this passes everywhere
ZERO, ONE, HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)

# Columns of ``projected`` (N, 11): pixel position, conic (inverse covariance: xx, xy, yy), opacity,
# color, squared radius at which alpha falls below ALPHA_MIN, and camera depth.
U, V, CONIC_XX, CONIC_XY, CONIC_YY, OPACITY, RED, GREEN, BLUE, REACH, DEPTH = range(11)
PROJECTED = 11
GRADIENTS = 9  # of the first nine columns

# Entries of ``camera`` (20,): world-to-camera rotation row by row, translation, camera position,
# focal lengths, principal point (pixel indices, not OpenCV's half-pixel ones), near plane.
ROTATION, TRANSLATION, POSITION, FX, FY, CX, CY, NEAR = 0, 9, 12, 15, 16, 17, 18, 19
CAMERA = 20


@intrinsic
def _float_of_bits(typing_context, bits):  # type: ignore[no-untyped-def]
    """The float32 whose bit pattern is an int32."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


def exponential(x):  # type: ignore[no-untyped-def]
    """exp(x) for x <= 0: exact for float64, within 2e-6 (relative) for float32."""
    return math.exp(x)


@overload(exponential, inline="always", jit_options={"fastmath": True})
def _exponential(x):  # type: ignore[no-untyped-def]
    if x != types.float32:
        return lambda x: math.exp(x)

    def polynomial(x):  # type: ignore[no-untyped-def]
        # 2^t = 2^floor(t) * 2^(t - floor(t)): the exponent's bits and a minimax polynomial of
        # degree
        # 5. No call and no branch, so that the loop around it becomes vector instructions.
        t = max(x * np.float32(1.4426950408889634), np.float32(-126.0))
        whole = math.floor(t)
        f = np.float32(t - whole)
        p = np.float32(1.8775767e-3)
        p = p * f + np.float32(8.9893397e-3)
        p = p * f + np.float32(5.5826318e-2)
        p = p * f + np.float32(2.4015361e-1)
        p = p * f + np.float32(6.9315308e-1)
        p = p * f + np.float32(0.99999994)
        bits = (np.int32(whole) + np.int32(127)) << np.int32(23)
        return p * _float_of_bits(np.int32(bits))

    return polynomial

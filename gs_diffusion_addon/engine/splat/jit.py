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

kernel = numba.njit(fastmath=True, error_model="numpy", cache=True, nogil=True)

# For what a kernel calls once a splat with arrays: a real call would pass every array in a dozen
# words
# and count its references with locked instructions, which costs more than the work and does not
# scale.
inlined = numba.njit(fastmath=True, error_model="numpy", nogil=True, inline="always")

TILE_X, TILE_Y = 32, 16  # pixels of a tile; 16 x 16, 32 x 32 and 64 x 16 were slower here
DILATION = 0.3  # px^2 added to the projected covariance (Kerbl et al. 2023, their EWA low-pass)
JACOBIAN_LIMIT = 0.3  # the Jacobian is clamped this share of tan(fov/2) beyond the picture's border

# float32 on purpose: in a float64 kernel they are promoted, in a float32 one nothing may be.
ALPHA_MAX = np.float32(0.99)  # no splat is fully opaque, so that 1/(1 - alpha) stays finite
OPAQUE = np.float32(1e-4)  # a tile is finished when less light than this passes everywhere
LOG2_MIN = np.float32(math.log2(1.0 / 255.0))
LOG2_E = np.float32(math.log2(math.e))
ZERO, ONE, HALF, TWO = np.float32(0.0), np.float32(1.0), np.float32(0.5), np.float32(2.0)

# Columns of ``projected`` (N, 11): pixel position, conic (inverse covariance: xx, xy, yy), opacity,
# color, squared radius at which alpha falls below 1/255, and camera depth.
U, V, CONIC_XX, CONIC_XY, CONIC_YY, OPACITY, RED, GREEN, BLUE, REACH, DEPTH = range(11)
PROJECTED = 11
GRADIENTS = 9  # of the first nine columns

# Entries of ``camera`` (20,): world-to-camera rotation row by row, translation, camera position,
# focal lengths, principal point (pixel indices, not OpenCV's half-pixel ones), near plane.
ROTATION, TRANSLATION, POSITION, FX, FY, CX, CY, NEAR = 0, 9, 12, 15, 16, 17, 18, 19
CAMERA = 20

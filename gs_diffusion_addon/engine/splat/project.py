"""Splats to the screen: position, conic, opacity, color and the exact box of pixels of each
splat.

A splat touches a pixel when opacity * exp(-power) >= 1/255, so its extent depends on its
opacity: the ellipse d^T conic d <= 2 ln(255 opacity), whose box has the half sides sqrt(2 ln(255
opacity) variance). Sixteen splats are projected at once, number by number in vectors. Geometry is
float64, whatever the arrays hold: long splats lose half their digits in the determinant, and the
box must never miss a pixel. Colors are computed as the arrays are.
"""

from __future__ import annotations

import numpy as np

from .blocks import (
    BASIS,
    COEFFICIENTS,
    COLOR,
    LOGIT,
    LOOK,
    MEAN,
    PARAMETERS,
    QUATERNION,
    SCALE,
    color_work,
    gather_coefficients,
    gather_parameters,
    get,
    put,
)
from .functions import exponential, logarithm, root, whole_below
from .geometry import (
    clamped_slope,
    direction_from,
    inverse_norm4,
    rotation_matrix,
    screen_map,
    to_camera,
    to_pixel,
)
from .groups import scatter_columns
from .harmonics import basis
from .jit import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    CX,
    CY,
    DEPTH,
    DILATION,
    FX,
    FY,
    NEAR,
    OPACITY,
    PROJECTED,
    REACH,
    RED,
    U,
    V,
    inlined,
    kernel,
)
from .vectors import WIDTH, greater, load, smaller, spread, store_some, where_below, where_reached

# Rows of a block's results, behind the columns of ``projected``: whether it is drawn, the box,
# and the viewing direction.
_DRAWN, _LEFT, _RIGHT, _TOP, _BOTTOM, _DIRECTION = (PROJECTED + k for k in range(6))
_RESULTS = PROJECTED + 8


@kernel
def project(
    first, last, means, quats, scales, opacities, sh, degree, camera, width, height, projected, box
):  # type: ignore[no-untyped-def]
    """Project the splats ``first`` .. ``last - 1``.

    ``means`` (N, 3) world; ``quats`` (N, 4) wxyz, any length; ``scales`` (N, 3) natural
    logarithms; ``opacities`` (N,) logits; ``sh`` (N, K, 3), the first (degree + 1)^2 used;
    ``camera`` (20,). Writes ``projected`` (N, 11) and ``box`` (N, 4) int32: first and
    past-the-last column, first and past-the-last row. An empty box (all zero) marks a splat that
    is not drawn: behind ``near``, outside the picture, or too faint.
    """
    chosen = np.empty(WIDTH, np.int64)
    parameters = np.empty(PARAMETERS * WIDTH, np.float64)
    results = np.empty(_RESULTS * WIDTH, np.float64)
    work = np.empty(color_work(sh), sh.dtype)
    table, starts = np.empty(2 * WIDTH * WIDTH, sh.dtype), np.arange(WIDTH) * WIDTH
    for begin in range(first, last, WIDTH):
        count = min(WIDTH, last - begin)
        for lane in range(WIDTH):
            i = begin + min(lane, count - 1)  # the last splat fills the block up
            chosen[lane] = i
            parameters[LOGIT * WIDTH + lane] = opacities[i]
        gather_parameters(chosen, means, quats, scales, parameters)
        _geometry(parameters, camera, width, height, results)
        _colors(chosen, results, sh, degree, work)
        _write(begin, count, results, table, starts, projected, box)


@kernel
def _geometry(parameters, camera, width, height, results):  # type: ignore[no-untyped-def]
    """All but the colors, rows of 16 of ``results``. What is not drawn may be anything there."""
    x, y, z = get(parameters, MEAN), get(parameters, MEAN + 1), get(parameters, MEAN + 2)
    px, py, pz = to_camera(camera, x, y, z)
    depth = greater(pz, camera[NEAR])  # so that there are numbers behind it, too
    u, v = to_pixel(camera, px, py, depth)
    opacity = 1.0 / (1.0 + exponential(0.0 - get(parameters, LOGIT)))
    xx, xy, yy = _covariance(parameters, camera, px / depth, py / depth, depth, width, height)
    determinant = xx * yy - xy * xy
    reach = logarithm(greater(opacity * 255.0, 1.0)) * 2.0
    put(results, U, u)
    put(results, V, v)
    put(results, DEPTH, pz)
    put(results, CONIC_XX, yy / determinant)
    put(results, CONIC_XY, 0.0 - xy / determinant)
    put(results, CONIC_YY, xx / determinant)
    put(results, OPACITY, opacity)
    put(results, REACH, reach)
    drawn = where_below(
        where_below(spread(1.0), spread(0.0 + camera[NEAR]), pz), reach * 0.0, reach
    )
    drawn = where_below(drawn, determinant * 0.0, determinant)
    drawn = _sides(drawn, u, root(reach * xx), width, results, _LEFT, _RIGHT)
    drawn = _sides(drawn, v, root(reach * yy), height, results, _TOP, _BOTTOM)
    put(results, _DRAWN, drawn)
    dx, dy, dz, _ = direction_from(camera, x, y, z)
    put(results, _DIRECTION, dx)
    put(results, _DIRECTION + 1, dy)
    put(results, _DIRECTION + 2, dz)


@inlined
def _sides(drawn, middle, reach, size, results, low, high):  # type: ignore[no-untyped-def]
    """First and past-the-last pixel of an axis into the rows ``low`` and ``high``; ``drawn``, but
    zero where there is none, or where the reach is far beyond any picture.
    """
    first = greater(0.0 - whole_below(reach - middle), 0.0)
    last = smaller(whole_below(middle + reach), size - 1.0)
    put(results, low, first)
    put(results, high, last + 1.0)
    return where_below(where_reached(drawn, last, first), reach, 1e8)


@inlined
def _covariance(parameters, camera, slope_x, slope_y, depth, width, height):  # type: ignore[no-untyped-def]
    """Screen covariance (xx, xy, yy) in px^2, dilated."""
    w, x = get(parameters, QUATERNION), get(parameters, QUATERNION + 1)
    y, z = get(parameters, QUATERNION + 2), get(parameters, QUATERNION + 3)
    norm = inverse_norm4(w, x, y, z)
    r = rotation_matrix(w * norm, x * norm, y * norm, z * norm)
    clamped_x, _ = clamped_slope(slope_x, camera[FX], camera[CX], width)
    clamped_y, _ = clamped_slope(slope_y, camera[FY], camera[CY], height)
    t = screen_map(camera, clamped_x, clamped_y, depth)
    s0, s1 = exponential(get(parameters, SCALE)), exponential(get(parameters, SCALE + 1))
    s2 = exponential(get(parameters, SCALE + 2))
    a0 = (t[0] * r[0] + t[1] * r[3] + t[2] * r[6]) * s0
    a1 = (t[0] * r[1] + t[1] * r[4] + t[2] * r[7]) * s1
    a2 = (t[0] * r[2] + t[1] * r[5] + t[2] * r[8]) * s2
    b0 = (t[3] * r[0] + t[4] * r[3] + t[5] * r[6]) * s0
    b1 = (t[3] * r[1] + t[4] * r[4] + t[5] * r[7]) * s1
    b2 = (t[3] * r[2] + t[4] * r[5] + t[5] * r[8]) * s2
    return (
        a0 * a0 + a1 * a1 + a2 * a2 + DILATION,
        a0 * b0 + a1 * b1 + a2 * b2,
        b0 * b0 + b1 * b1 + b2 * b2 + DILATION,
    )


@inlined
def _colors(chosen, results, sh, degree, work):  # type: ignore[no-untyped-def]
    """Colors seen from the direction, never below black."""
    for k in range(3 * WIDTH):
        work[LOOK * WIDTH + k] = results[_DIRECTION * WIDTH + k]
    basis(get(work, LOOK), get(work, LOOK + 1), get(work, LOOK + 2), degree, work[BASIS * WIDTH :])
    gather_coefficients(chosen, sh, work)
    for c in range(3):
        color = spread(sh.dtype.type(0.5))
        for k in range((degree + 1) * (degree + 1)):
            color = color + get(work, BASIS + k) * get(work, COEFFICIENTS + 3 * k + c)
        put(work, COLOR + c, greater(color, 0.0))
    for k in range(3 * WIDTH):
        results[RED * WIDTH + k] = work[COLOR * WIDTH + k]


@inlined
def _write(begin, count, results, table, starts, projected, box):  # type: ignore[no-untyped-def]
    """A block's results as rows ``begin`` and on of the arrays.

    ``table`` (512,): working space, whose second half gets the results splat by splat.
    """
    for k in range(WIDTH * WIDTH):
        table[k] = results[k]
    scatter_columns(table, 0, table, starts, WIDTH * WIDTH)
    flat = projected.reshape(-1)
    for lane in range(count):
        i, at = begin + lane, WIDTH * WIDTH + lane * WIDTH
        store_some(flat, i * PROJECTED, PROJECTED, load(table, at))
        drawn = table[at + _DRAWN] > 0
        for k in range(4):
            box[i, k] = np.int32(table[at + _LEFT + k]) if drawn else np.int32(0)

"""Backward pass of the projection: gradients on the screen -> gradients of the splats'
parameters.

The rasterizer leaves one row of gradients for each (tile, splat) pair. Here every splat adds up
its own rows in a fixed order, in float64, so the sum does not depend on threads. The totals go
through the chain rule sixteen splats at a time; a splat behind others has no gradient at all, and
such are half of a closed surface, so blocks are filled with those that have. Symbols as in
:mod:`.geometry`: T = J W, Q = T R S, covariance = Q Q^T + dilation, conic its inverse.
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
    scatter_coefficients,
)
from .functions import exponential, root
from .geometry import (
    clamped_slope,
    direction_from,
    inverse_norm4,
    rotate_back,
    rotation_matrix,
    screen_map,
    to_camera,
)
from .groups import all_zero, gather_columns, scatter_columns, widened
from .harmonics import basis, basis_backward
from .jit import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    CX,
    CY,
    DILATION,
    FX,
    FY,
    GRADIENTS,
    OPACITY,
    RED,
    ROTATION,
    U,
    V,
    inlined,
    kernel,
)
from .vectors import WIDTH, load, load_some, spread, store

# Rows of a block's gradients (float64): by the first nine columns of ``projected``, and those
# columns from the opacity on; then by the parameters, and the length of the one by (u, v).
_SHOWN, _FOUND = GRADIENTS - OPACITY, WIDTH
_D_MEAN, _D_QUATERNION, _D_SCALE = _FOUND + MEAN, _FOUND + QUATERNION, _FOUND + SCALE
_D_LOGIT, _LENGTH = _FOUND + LOGIT, _FOUND + PARAMETERS


@kernel
def project_backward(
    first, last, means, quats, scales, sh, degree, camera, width, height, projected, box,
    offsets, pair_gradients, d_means, d_quats, d_scales, d_opacities, d_sh, screen,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Gradients of the splats ``first`` .. ``last - 1``.

    Rows ``offsets[i]`` .. ``offsets[i + 1] - 1`` of ``pair_gradients`` (P, 9) belong to splat i:
    gradients by u, v, conic xx, xy, yy, opacity, red, green, blue. Writes ``d_means`` ..
    ``d_sh`` (shapes of the parameters, zero for splats not drawn) and ``screen`` (N,): length of
    the gradient by (u, v).
    """
    chosen, rows = np.empty(WIDTH, np.int64), np.arange(WIDTH) * WIDTH
    table, g = np.zeros(WIDTH * WIDTH, np.float64), np.zeros(2 * WIDTH * WIDTH, np.float64)
    parameters = np.empty(PARAMETERS * WIDTH, np.float64)
    work, d_work = np.empty(color_work(sh), sh.dtype), np.zeros(color_work(sh), sh.dtype)
    flat = pair_gradients.reshape(-1)
    count = 0
    for i in range(first, last):
        total = spread(0.0)
        if box[i, 1] > box[i, 0]:
            for row in range(offsets[i], offsets[i + 1]):
                total = total + widened(load_some(flat, row * GRADIENTS, GRADIENTS))
        if all_zero(total):
            _clear(i, d_means, d_quats, d_scales, d_opacities, d_sh, screen)
        else:
            store(table, count * WIDTH, total)
            for c in range(OPACITY, GRADIENTS):
                table[count * WIDTH + _SHOWN + c] = projected[i, c]
            chosen[count] = i
            count += 1
        if count == WIDTH or (count and i == last - 1):
            for lane in range(count, WIDTH):  # the last splat fills the block up
                chosen[lane] = chosen[count - 1]
                store(table, lane * WIDTH, load(table, (count - 1) * WIDTH))
            gather_columns(table, rows, 0, g, 0)
            gather_parameters(chosen, means, quats, scales, parameters)
            gather_coefficients(chosen, sh, work)
            _shape_backward(g, parameters, camera, width, height)
            _color_backward(g, parameters, degree, camera, work, d_work)
            scatter_coefficients(d_work, chosen, d_sh)
            scatter_columns(g, _FOUND * WIDTH, table, rows, 0)
            for lane in range(count):
                _write(chosen[lane], lane, table, d_means, d_quats, d_scales, d_opacities, screen)
            count = 0


@inlined
def _clear(i, d_means, d_quats, d_scales, d_opacities, d_sh, screen):  # type: ignore[no-untyped-def]
    """Splat i does not matter to the loss."""
    for c in range(3):
        d_means[i, c] = d_scales[i, c] = 0.0
    for c in range(4):
        d_quats[i, c] = 0.0
    for k in range(d_sh.shape[1]):
        d_sh[i, k, 0] = d_sh[i, k, 1] = d_sh[i, k, 2] = 0.0
    d_opacities[i] = 0.0
    screen[i] = 0.0


@inlined
def _write(i, lane, table, d_means, d_quats, d_scales, d_opacities, screen):  # type: ignore[no-untyped-def]
    """Row ``lane`` of what was found, splat by splat, into row ``i`` of the arrays."""
    at = lane * WIDTH
    for c in range(3):
        d_means[i, c] = table[at + MEAN + c]
        d_scales[i, c] = table[at + SCALE + c]
    for c in range(4):
        d_quats[i, c] = table[at + QUATERNION + c]
    d_opacities[i] = table[at + LOGIT]
    screen[i] = table[at + PARAMETERS]


@kernel
def _shape_backward(g, parameters, camera, width, height):  # type: ignore[no-untyped-def]
    """Gradients by u, v, the conic and opacity -> position, rotation, scales, logit."""
    opacity = get(g, _SHOWN + OPACITY)
    put(g, _D_LOGIT, get(g, OPACITY) * opacity * (1.0 - opacity))
    put(g, _LENGTH, root(get(g, U) * get(g, U) + get(g, V) * get(g, V)))
    px, py, pz = to_camera(
        camera, get(parameters, MEAN), get(parameters, MEAN + 1), get(parameters, MEAN + 2)
    )
    sx, free_x = clamped_slope(px / pz, camera[FX], camera[CX], width)
    sy, free_y = clamped_slope(py / pz, camera[FY], camera[CY], height)
    t = screen_map(camera, sx, sy, pz)
    w, x = get(parameters, QUATERNION), get(parameters, QUATERNION + 1)
    y, z = get(parameters, QUATERNION + 2), get(parameters, QUATERNION + 3)
    norm = inverse_norm4(w, x, y, z)
    w, x, y, z = w * norm, x * norm, y * norm, z * norm
    r = rotation_matrix(w, x, y, z)
    s0, s1 = exponential(get(parameters, SCALE)), exponential(get(parameters, SCALE + 1))
    s2 = exponential(get(parameters, SCALE + 2))
    # P = T R, so that Q = P S
    p0 = t[0] * r[0] + t[1] * r[3] + t[2] * r[6]
    p1 = t[0] * r[1] + t[1] * r[4] + t[2] * r[7]
    p2 = t[0] * r[2] + t[1] * r[5] + t[2] * r[8]
    p3 = t[3] * r[0] + t[4] * r[3] + t[5] * r[6]
    p4 = t[3] * r[1] + t[4] * r[4] + t[5] * r[7]
    p5 = t[3] * r[2] + t[4] * r[5] + t[5] * r[8]
    q0, q1, q2, q3, q4, q5 = p0 * s0, p1 * s1, p2 * s2, p3 * s0, p4 * s1, p5 * s2
    xx, xy, yy = _covariance_gradient(
        g,
        q0 * q0 + q1 * q1 + q2 * q2 + DILATION,
        q0 * q3 + q1 * q4 + q2 * q5,
        q3 * q3 + q4 * q4 + q5 * q5 + DILATION,
    )
    # dQ = 2 dCov Q; scales: dS = P^T dQ; then e = dP = dQ S
    e0, e3 = (xx * p0 + xy * p3) * s0 * 2.0, (xy * p0 + yy * p3) * s0 * 2.0
    e1, e4 = (xx * p1 + xy * p4) * s1 * 2.0, (xy * p1 + yy * p4) * s1 * 2.0
    e2, e5 = (xx * p2 + xy * p5) * s2 * 2.0, (xy * p2 + yy * p5) * s2 * 2.0
    put(g, _D_SCALE, (e0 * p0 + e3 * p3) * s0)
    put(g, _D_SCALE + 1, (e1 * p1 + e4 * p4) * s1)
    put(g, _D_SCALE + 2, (e2 * p2 + e5 * p5) * s2)
    e0, e1, e2, e3, e4, e5 = e0 * s0, e1 * s1, e2 * s2, e3 * s0, e4 * s1, e5 * s2
    # dR = T^T dP
    _rotation_backward(
        w, x, y, z, norm,
        t[0] * e0 + t[3] * e3, t[0] * e1 + t[3] * e4, t[0] * e2 + t[3] * e5,
        t[1] * e0 + t[4] * e3, t[1] * e1 + t[4] * e4, t[1] * e2 + t[4] * e5,
        t[2] * e0 + t[5] * e3, t[2] * e1 + t[5] * e4, t[2] * e2 + t[5] * e5,
        g,
    )  # fmt: skip
    # dT = dP R^T
    d0 = e0 * r[0] + e1 * r[1] + e2 * r[2]
    d1 = e0 * r[3] + e1 * r[4] + e2 * r[5]
    d2 = e0 * r[6] + e1 * r[7] + e2 * r[8]
    d3 = e3 * r[0] + e4 * r[1] + e5 * r[2]
    d4 = e3 * r[3] + e4 * r[4] + e5 * r[5]
    d5 = e3 * r[6] + e4 * r[7] + e5 * r[8]
    _position_backward(g, camera, px, py, pz, sx, sy, free_x, free_y, d0, d1, d2, d3, d4, d5)


@inlined
def _covariance_gradient(g, xx, xy, yy):  # type: ignore[no-untyped-def]
    """dCov = -K dK K for the conic K, the inverse of the covariance (xx, xy, yy); the off-diagonal
    gradient counts for both its places.

    The drawn conic would do, but its float32 digits cancel where a splat is large and thin.
    """
    scale = 1.0 / (xx * yy - xy * xy)
    a, b, c = yy * scale, 0.0 - xy * scale, xx * scale
    ga, gb, gc = get(g, CONIC_XX), get(g, CONIC_XY) * 0.5, get(g, CONIC_YY)
    h00, h01 = ga * a + gb * b, ga * b + gb * c
    h10, h11 = gb * a + gc * b, gb * b + gc * c
    return 0.0 - (a * h00 + b * h10), 0.0 - (a * h01 + b * h11), 0.0 - (b * h01 + c * h11)


@inlined
def _rotation_backward(w, x, y, z, norm, d00, d01, d02, d10, d11, d12, d20, d21, d22, g):  # type: ignore[no-untyped-def]
    """Gradient by the rotation matrix -> by the quaternion before it was normalized."""
    dw = (z * (d10 - d01) + y * (d02 - d20) + x * (d21 - d12)) * 2.0
    dx = (y * (d01 + d10) + z * (d02 + d20) + w * (d21 - d12) - x * (d11 + d22) * 2.0) * 2.0
    dy = (x * (d01 + d10) + w * (d02 - d20) + z * (d12 + d21) - y * (d00 + d22) * 2.0) * 2.0
    dz = (w * (d10 - d01) + x * (d02 + d20) + y * (d12 + d21) - z * (d00 + d11) * 2.0) * 2.0
    along = dw * w + dx * x + dy * y + dz * z  # normalization removes the radial part
    put(g, _D_QUATERNION, (dw - w * along) * norm)
    put(g, _D_QUATERNION + 1, (dx - x * along) * norm)
    put(g, _D_QUATERNION + 2, (dy - y * along) * norm)
    put(g, _D_QUATERNION + 3, (dz - z * along) * norm)


@inlined
def _position_backward(g, camera, px, py, pz, sx, sy, free_x, free_y, d0, d1, d2, d3, d4, d5):  # type: ignore[no-untyped-def]
    """Gradients by (u, v) and by T = J W (d0 .. d5, row by row) -> position."""
    q = ROTATION
    fx, fy = camera[FX], camera[FY]
    # J = [fx/z, 0, -fx sx/z; 0, fy/z, -fy sy/z] with the clamped slopes sx, sy
    j_xx = d0 * camera[q] + d1 * camera[q + 1] + d2 * camera[q + 2]
    j_xz = d0 * camera[q + 6] + d1 * camera[q + 7] + d2 * camera[q + 8]
    j_yy = d3 * camera[q + 3] + d4 * camera[q + 4] + d5 * camera[q + 5]
    j_yz = d3 * camera[q + 6] + d4 * camera[q + 7] + d5 * camera[q + 8]
    near = 1.0 / pz
    # The Jacobian reaches x and z through the slope x/z, too, unless that was clamped.
    by_x = (get(g, U) - j_xz * free_x * near) * fx * near
    by_y = (get(g, V) - j_yz * free_y * near) * fy * near
    by_z = ((sx * j_xz - j_xx) * fx + (sy * j_yz - j_yy) * fy) * near * near
    by_z = by_z - (by_x * px + by_y * py) * near
    wx, wy, wz = rotate_back(camera, by_x, by_y, by_z)
    put(g, _D_MEAN, wx)
    put(g, _D_MEAN + 1, wy)
    put(g, _D_MEAN + 2, wz)


@kernel
def _color_backward(g, parameters, degree, camera, work, d_work):  # type: ignore[no-untyped-def]
    """Gradients by the color -> coefficients, and position through the viewing direction.

    ``work`` holds the coefficients and ``d_work`` gets their gradients (:mod:`.blocks`).
    """
    x, y, z, near = direction_from(
        camera, get(parameters, MEAN), get(parameters, MEAN + 1), get(parameters, MEAN + 2)
    )
    put(parameters, MEAN, x)
    put(parameters, MEAN + 1, y)
    put(parameters, MEAN + 2, z)
    for k in range(3 * WIDTH):
        work[LOOK * WIDTH + k] = parameters[MEAN * WIDTH + k]
        # A color that was clamped at black does not change.
        shown = g[(_SHOWN + RED) * WIDTH + k] > 0.0
        work[COLOR * WIDTH + k] = g[RED * WIDTH + k] if shown else 0.0
    lx, ly, lz = get(work, LOOK), get(work, LOOK + 1), get(work, LOOK + 2)
    basis(lx, ly, lz, degree, work[BASIS * WIDTH :])
    red, green, blue = get(work, COLOR), get(work, COLOR + 1), get(work, COLOR + 2)
    for k in range((degree + 1) * (degree + 1)):
        value, c = get(work, BASIS + k), COEFFICIENTS + 3 * k
        put(d_work, c, value * red)
        put(d_work, c + 1, value * green)
        put(d_work, c + 2, value * blue)
        by = get(work, c) * red + get(work, c + 1) * green + get(work, c + 2) * blue
        put(d_work, BASIS + k, by)
    basis_backward(lx, ly, lz, degree, d_work[BASIS * WIDTH :], d_work[LOOK * WIDTH :])
    for k in range(3 * WIDTH):
        g[RED * WIDTH + k] = d_work[LOOK * WIDTH + k]
    by_x, by_y, by_z = get(g, RED), get(g, RED + 1), get(g, RED + 2)
    along = by_x * x + by_y * y + by_z * z
    put(g, _D_MEAN, get(g, _D_MEAN) + (by_x - x * along) * near)
    put(g, _D_MEAN + 1, get(g, _D_MEAN + 1) + (by_y - y * along) * near)
    put(g, _D_MEAN + 2, get(g, _D_MEAN + 2) + (by_z - z * along) * near)

"""Backward pass of the projection: gradients on the screen -> gradients of the splats'
parameters.

The rasterizer leaves one row of gradients for each (tile, splat) pair. Here every splat adds up
its own rows in a fixed order, in float64, so the sum does not depend on threads, and passes the
total through the chain rule. Symbols as in :mod:`.geometry`: T = J W, Q = T R S, covariance = Q
Q^T + dilation, conic its inverse.
"""

from __future__ import annotations

import math

import numpy as np

from .geometry import (
    clamped_slope,
    inverse_norm4,
    rotate_back,
    rotation_matrix,
    screen_map,
    to_camera,
)
from .harmonics import basis, basis_gradient
from .jit import (
    BLUE,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    CX,
    CY,
    FX,
    FY,
    GRADIENTS,
    GREEN,
    OPACITY,
    POSITION,
    RED,
    ROTATION,
    U,
    V,
    inlined,
    kernel,
)


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
    g = np.zeros(GRADIENTS, np.float64)
    harmonics = np.zeros(16, np.float64)
    slopes = np.zeros((16, 3), np.float64)
    for i in range(first, last):
        seen = False
        if box[i, 1] > box[i, 0]:
            seen = _add_up(pair_gradients, offsets[i], offsets[i + 1], g)
        if not seen:
            _clear(i, d_means, d_quats, d_scales, d_opacities, d_sh, screen)
            continue
        screen[i] = math.sqrt(g[U] * g[U] + g[V] * g[V])
        opacity = projected[i, OPACITY]
        d_opacities[i] = g[OPACITY] * opacity * (1.0 - opacity)
        _shape_backward(
            i, g, means, quats, scales, camera, width, height, projected,
            d_means, d_quats, d_scales,
        )  # fmt: skip
        _color_backward(
            i, g, means, sh, degree, camera, projected, harmonics, slopes, d_means, d_sh
        )


@inlined
def _add_up(rows, first, last, g):  # type: ignore[no-untyped-def]
    """Sum of ``rows[first:last]`` into ``g``; whether any of it is not zero.

    A splat behind others has no gradient at all, and such are half of a closed surface.
    """
    for c in range(GRADIENTS):
        g[c] = 0.0
    for row in range(first, last):
        for c in range(GRADIENTS):
            g[c] += rows[row, c]
    seen = False
    for c in range(GRADIENTS):
        seen |= g[c] != 0.0
    return seen


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
def _shape_backward(
    i, g, means, quats, scales, camera, width, height, projected, d_means, d_quats, d_scales
):  # type: ignore[no-untyped-def]
    """Gradients by u, v and the conic -> position, rotation, scales."""
    px, py, pz = to_camera(camera, means[i, 0], means[i, 1], means[i, 2])
    sx, free_x = clamped_slope(px / pz, camera[FX], camera[CX], width)
    sy, free_y = clamped_slope(py / pz, camera[FY], camera[CY], height)
    t = screen_map(camera, sx, sy, pz)
    norm = inverse_norm4(quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3])
    w, x, y, z = quats[i, 0] * norm, quats[i, 1] * norm, quats[i, 2] * norm, quats[i, 3] * norm
    r = rotation_matrix(w, x, y, z)
    s0, s1, s2 = math.exp(scales[i, 0]), math.exp(scales[i, 1]), math.exp(scales[i, 2])
    # P = T R, so that Q = P S
    p0 = t[0] * r[0] + t[1] * r[3] + t[2] * r[6]
    p1 = t[0] * r[1] + t[1] * r[4] + t[2] * r[7]
    p2 = t[0] * r[2] + t[1] * r[5] + t[2] * r[8]
    p3 = t[3] * r[0] + t[4] * r[3] + t[5] * r[6]
    p4 = t[3] * r[1] + t[4] * r[4] + t[5] * r[7]
    p5 = t[3] * r[2] + t[4] * r[5] + t[5] * r[8]
    xx, xy, yy = _covariance_gradient(i, g, projected)
    # dQ = 2 dCov Q; scales: dS = P^T dQ; then e = dP = dQ S
    e0, e3 = 2 * (xx * p0 + xy * p3) * s0, 2 * (xy * p0 + yy * p3) * s0
    e1, e4 = 2 * (xx * p1 + xy * p4) * s1, 2 * (xy * p1 + yy * p4) * s1
    e2, e5 = 2 * (xx * p2 + xy * p5) * s2, 2 * (xy * p2 + yy * p5) * s2
    d_scales[i, 0] = (e0 * p0 + e3 * p3) * s0
    d_scales[i, 1] = (e1 * p1 + e4 * p4) * s1
    d_scales[i, 2] = (e2 * p2 + e5 * p5) * s2
    e0, e1, e2, e3, e4, e5 = e0 * s0, e1 * s1, e2 * s2, e3 * s0, e4 * s1, e5 * s2
    # dR = T^T dP
    _rotation_backward(
        w, x, y, z, norm,
        t[0] * e0 + t[3] * e3, t[0] * e1 + t[3] * e4, t[0] * e2 + t[3] * e5,
        t[1] * e0 + t[4] * e3, t[1] * e1 + t[4] * e4, t[1] * e2 + t[4] * e5,
        t[2] * e0 + t[5] * e3, t[2] * e1 + t[5] * e4, t[2] * e2 + t[5] * e5,
        i, d_quats,
    )  # fmt: skip
    # dT = dP R^T
    d0 = e0 * r[0] + e1 * r[1] + e2 * r[2]
    d1 = e0 * r[3] + e1 * r[4] + e2 * r[5]
    d2 = e0 * r[6] + e1 * r[7] + e2 * r[8]
    d3 = e3 * r[0] + e4 * r[1] + e5 * r[2]
    d4 = e3 * r[3] + e4 * r[4] + e5 * r[5]
    d5 = e3 * r[6] + e4 * r[7] + e5 * r[8]
    _position_backward(
        g, camera, px, py, pz, sx, sy, free_x, free_y, d0, d1, d2, d3, d4, d5, i, d_means
    )


@inlined
def _covariance_gradient(i, g, projected):  # type: ignore[no-untyped-def]
    """dCov = -K dK K for the conic K; the off-diagonal gradient counts for both its places."""
    a, b, c = projected[i, CONIC_XX], projected[i, CONIC_XY], projected[i, CONIC_YY]
    ga, gb, gc = g[CONIC_XX], 0.5 * g[CONIC_XY], g[CONIC_YY]
    h00, h01 = ga * a + gb * b, ga * b + gb * c
    h10, h11 = gb * a + gc * b, gb * b + gc * c
    return -(a * h00 + b * h10), -(a * h01 + b * h11), -(b * h01 + c * h11)


@inlined
def _rotation_backward(w, x, y, z, norm, d00, d01, d02, d10, d11, d12, d20, d21, d22, i, d_quats):  # type: ignore[no-untyped-def]
    """Gradient by the rotation matrix -> by the quaternion before it was normalized."""
    dw = 2 * (-z * d01 + y * d02 + z * d10 - x * d12 - y * d20 + x * d21)
    dx = 2 * (y * d01 + z * d02 + y * d10 - w * d12 + z * d20 + w * d21) - 4 * x * (d11 + d22)
    dy = 2 * (x * d01 + w * d02 + x * d10 + z * d12 - w * d20 + z * d21) - 4 * y * (d00 + d22)
    dz = 2 * (-w * d01 + x * d02 + w * d10 + y * d12 + x * d20 + y * d21) - 4 * z * (d00 + d11)
    along = dw * w + dx * x + dy * y + dz * z  # normalization removes the radial part
    d_quats[i, 0] = (dw - w * along) * norm
    d_quats[i, 1] = (dx - x * along) * norm
    d_quats[i, 2] = (dy - y * along) * norm
    d_quats[i, 3] = (dz - z * along) * norm


@inlined
def _position_backward(
    g, camera, px, py, pz, sx, sy, free_x, free_y, d0, d1, d2, d3, d4, d5, i, d_means
):  # type: ignore[no-untyped-def]
    """Gradients by (u, v) and by T = J W (d0 .. d5, row by row) -> position."""
    q = ROTATION
    fx, fy = camera[FX], camera[FY]
    # J = [fx/z, 0, -fx sx/z; 0, fy/z, -fy sy/z] with the clamped slopes sx, sy
    j_xx = d0 * camera[q] + d1 * camera[q + 1] + d2 * camera[q + 2]
    j_xz = d0 * camera[q + 6] + d1 * camera[q + 7] + d2 * camera[q + 8]
    j_yy = d3 * camera[q + 3] + d4 * camera[q + 4] + d5 * camera[q + 5]
    j_yz = d3 * camera[q + 6] + d4 * camera[q + 7] + d5 * camera[q + 8]
    zz = pz * pz
    d_sx = -fx / pz * j_xz * free_x  # reaches x and z through the slope x/z, unless clamped
    d_sy = -fy / pz * j_yz * free_y
    by_x = (fx * g[U] + d_sx) / pz
    by_y = (fy * g[V] + d_sy) / pz
    by_z = -(fx * g[U] + d_sx) * px / zz - (fy * g[V] + d_sy) * py / zz
    by_z += (-fx * j_xx + fx * sx * j_xz - fy * j_yy + fy * sy * j_yz) / zz
    wx, wy, wz = rotate_back(camera, by_x, by_y, by_z)
    d_means[i, 0], d_means[i, 1], d_means[i, 2] = wx, wy, wz


@inlined
def _color_backward(i, g, means, sh, degree, camera, projected, harmonics, slopes, d_means, d_sh):  # type: ignore[no-untyped-def]
    """Gradients by the color -> coefficients, and position through the viewing direction."""
    x = means[i, 0] - camera[POSITION]
    y = means[i, 1] - camera[POSITION + 1]
    z = means[i, 2] - camera[POSITION + 2]
    length = 1.0 / math.sqrt(max(x * x + y * y + z * z, 1e-24))
    x, y, z = x * length, y * length, z * length
    basis(x, y, z, degree, harmonics)
    basis_gradient(x, y, z, degree, slopes)
    # A color that was clamped at black does not change.
    red = g[RED] if projected[i, RED] > 0 else 0.0
    green = g[GREEN] if projected[i, GREEN] > 0 else 0.0
    blue = g[BLUE] if projected[i, BLUE] > 0 else 0.0
    used = (degree + 1) * (degree + 1)
    by_x, by_y, by_z = 0.0, 0.0, 0.0
    for k in range(used):
        d_sh[i, k, 0] = harmonics[k] * red
        d_sh[i, k, 1] = harmonics[k] * green
        d_sh[i, k, 2] = harmonics[k] * blue
        by = sh[i, k, 0] * red + sh[i, k, 1] * green + sh[i, k, 2] * blue
        by_x += slopes[k, 0] * by
        by_y += slopes[k, 1] * by
        by_z += slopes[k, 2] * by
    for k in range(used, sh.shape[1]):
        d_sh[i, k, 0] = d_sh[i, k, 1] = d_sh[i, k, 2] = 0.0
    along = by_x * x + by_y * y + by_z * z
    d_means[i, 0] += (by_x - x * along) * length
    d_means[i, 1] += (by_y - y * along) * length
    d_means[i, 2] += (by_z - z * along) * length

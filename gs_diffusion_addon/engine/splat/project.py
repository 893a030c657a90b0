"""Splats to the screen: position, conic, opacity, color and the exact box of pixels of each
splat.

A splat touches a pixel when opacity * exp(-power) >= 1/255, so its extent depends on its
opacity: the ellipse d^T conic d <= 2 ln(255 opacity), whose box has the half sides sqrt(2 ln(255
opacity) variance). Arithmetic here is float64 throughout (python's constants), whatever the
arrays hold: a few thousand splats are cheap, and the box must never miss a pixel.
"""

from __future__ import annotations

import math

import numpy as np

from .geometry import (
    clamped_slope,
    inverse_norm4,
    rotation_matrix,
    screen_map,
    to_camera,
    to_pixel,
)
from .harmonics import basis
from .jit import (
    BLUE,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    CX,
    CY,
    DEPTH,
    DILATION,
    FX,
    FY,
    GREEN,
    NEAR,
    OPACITY,
    POSITION,
    REACH,
    RED,
    U,
    V,
    inlined,
    kernel,
)


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
    harmonics = np.zeros(16, np.float64)
    coefficients = (degree + 1) * (degree + 1)
    for i in range(first, last):
        box[i, 0] = box[i, 1] = box[i, 2] = box[i, 3] = 0
        px, py, pz = to_camera(camera, means[i, 0], means[i, 1], means[i, 2])
        if not pz > camera[NEAR]:
            continue
        opacity = 1.0 / (1.0 + math.exp(-opacities[i]))
        if not opacity * 255.0 > 1.0:
            continue
        u, v = to_pixel(camera, px, py, pz)
        xx, xy, yy = _covariance(quats, scales, i, camera, px / pz, py / pz, pz, width, height)
        determinant = xx * yy - xy * xy
        if not determinant > 0.0:
            continue
        reach = 2.0 * math.log(255.0 * opacity)
        reach_x, reach_y = math.sqrt(reach * xx), math.sqrt(reach * yy)
        if not (reach_x < 1e8 and reach_y < 1e8 and abs(u) < 1e8 and abs(v) < 1e8):
            continue  # far beyond any picture, and beyond the integers below
        left, right = max(0, math.ceil(u - reach_x)), min(width - 1, math.floor(u + reach_x))
        top, bottom = max(0, math.ceil(v - reach_y)), min(height - 1, math.floor(v + reach_y))
        if left > right or top > bottom:
            continue
        box[i, 0], box[i, 1], box[i, 2], box[i, 3] = left, right + 1, top, bottom + 1
        projected[i, U], projected[i, V], projected[i, DEPTH] = u, v, pz
        projected[i, CONIC_XX] = yy / determinant
        projected[i, CONIC_XY] = -xy / determinant
        projected[i, CONIC_YY] = xx / determinant
        projected[i, OPACITY], projected[i, REACH] = opacity, reach
        dx, dy, dz = _direction(camera, means, i)
        basis(dx, dy, dz, degree, harmonics)
        red = green = blue = 0.5
        for k in range(coefficients):
            red += harmonics[k] * sh[i, k, 0]
            green += harmonics[k] * sh[i, k, 1]
            blue += harmonics[k] * sh[i, k, 2]
        projected[i, RED] = max(red, 0.0)
        projected[i, GREEN] = max(green, 0.0)
        projected[i, BLUE] = max(blue, 0.0)


@inlined
def _covariance(quats, scales, i, camera, slope_x, slope_y, depth, width, height):  # type: ignore[no-untyped-def]
    """Screen covariance (xx, xy, yy) in px^2, dilated."""
    norm = inverse_norm4(quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3])
    r = rotation_matrix(
        quats[i, 0] * norm, quats[i, 1] * norm, quats[i, 2] * norm, quats[i, 3] * norm
    )
    clamped_x, _ = clamped_slope(slope_x, camera[FX], camera[CX], width)
    clamped_y, _ = clamped_slope(slope_y, camera[FY], camera[CY], height)
    t = screen_map(camera, clamped_x, clamped_y, depth)
    s0, s1, s2 = math.exp(scales[i, 0]), math.exp(scales[i, 1]), math.exp(scales[i, 2])
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
def _direction(camera, means, i):  # type: ignore[no-untyped-def]
    """Unit vector from the camera to a splat."""
    x = means[i, 0] - camera[POSITION]
    y = means[i, 1] - camera[POSITION + 1]
    z = means[i, 2] - camera[POSITION + 2]
    length = 1.0 / math.sqrt(max(x * x + y * y + z * z, 1e-24))
    return x * length, y * length, z * length

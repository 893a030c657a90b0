"""Backward pass of the compositing, front to back like the forward one.

For a pixel with gradients g by its color and h by its alpha, let ``rest_i = sum_{j>i} w_j c_j.g
+ T_end (background.g - h)``, w_j = alpha_j T_j: what still comes behind splat i. Before the
first splat it is image.g - h T_end, which the forward pass left behind, and each splat takes its
own w c.g off it. Then dL/dalpha_i = T_i c_i.g - rest_i / (1 - alpha_i). So there is no second
sort and no stored weight. Loops are as in :mod:`.raster`.
"""

from __future__ import annotations

import numpy as np

from .jit import (
    ALPHA_MAX,
    ALPHA_MIN,
    BLUE,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    GRADIENTS,
    GREEN,
    HALF,
    LANES,
    ONE,
    OPACITY,
    RED,
    TILE_X,
    TILE_Y,
    ZERO,
    U,
    V,
    exponential,
    inlined,
    kernel,
)


@inlined
def _walk(projected, box, i, x0, y0, state, sums):  # type: ignore[no-untyped-def]
    """Take splat i through the tile's ``state`` and collect its gradients by column.

    ``state`` (TILE_Y, 5, TILE_X): light, rest, gradient by red, green, blue. ``sums`` (6,
    TILE_X), set to zero before: gradients by r, g, b, and s = alpha dL/dalpha with its first and
    second moment in y. Returns the column that ``sums[:, 0]`` stands for and the number of
    columns.
    """
    left, right = max(box[i, 0] - x0, 0), min(box[i, 1] - x0, TILE_X)
    lanes = (right - left + LANES - 1) // LANES * LANES
    start = np.uint64(min(left, TILE_X - lanes))
    u, v = projected[i, U] - np.float32(x0 + start), projected[i, V] - np.float32(y0)
    xx, xy, yy = (
        -HALF * projected[i, CONIC_XX],
        -projected[i, CONIC_XY],
        -HALF * projected[i, CONIC_YY],
    )
    opacity, red, green, blue = (
        projected[i, OPACITY],
        projected[i, RED],
        projected[i, GREEN],
        projected[i, BLUE],
    )
    for y in range(max(box[i, 2] - y0, 0), min(box[i, 3] - y0, TILE_Y)):
        dy = np.float32(y) - v
        across, down = xy * dy, yy * dy * dy
        for x in range(lanes):
            k = start + np.uint64(x)
            dx = np.float32(np.int32(x)) - u
            power = (xx * dx + across) * dx + down
            unclamped = opacity * exponential(min(power, ZERO))
            alpha = min(unclamped, ALPHA_MAX)
            alpha = alpha if alpha >= ALPHA_MIN else ZERO
            light = state[y, 0, k]
            weight = alpha * light
            along = red * state[y, 2, k] + green * state[y, 3, k] + blue * state[y, 4, k]
            rest = state[y, 1, k] - weight * along
            state[y, 1, k] = rest
            state[y, 0, k] = light - weight
            s = alpha * (light * along - rest / (ONE - alpha))
            s = s if unclamped <= ALPHA_MAX else ZERO
            sums[0, x] += weight * state[y, 2, k]
            sums[1, x] += weight * state[y, 3, k]
            sums[2, x] += weight * state[y, 4, k]
            sums[3, x] += s
            sums[4, x] += s * dy
            sums[5, x] += s * dy * dy
    return x0 + start, lanes


@inlined
def _gather(projected, i, column, lanes, sums, rows, row):  # type: ignore[no-untyped-def]
    """Sums by column -> the nine gradients in a row of ``rows``; all by position and conic are
    moments of s.
    """
    u = projected[i, U] - np.float32(column)
    red, green, blue, total = ZERO, ZERO, ZERO, ZERO
    mx, my, mxx, mxy, myy = ZERO, ZERO, ZERO, ZERO, ZERO
    for x in range(lanes):
        dx = np.float32(np.int32(x)) - u
        red += sums[0, x]
        green += sums[1, x]
        blue += sums[2, x]
        total += sums[3, x]
        mx += sums[3, x] * dx
        mxx += sums[3, x] * dx * dx
        my += sums[4, x]
        mxy += sums[4, x] * dx
        myy += sums[5, x]
        sums[0, x] = sums[1, x] = sums[2, x] = sums[3, x] = sums[4, x] = sums[5, x] = ZERO
    rows[row, U] = projected[i, CONIC_XX] * mx + projected[i, CONIC_XY] * my
    rows[row, V] = projected[i, CONIC_XY] * mx + projected[i, CONIC_YY] * my
    rows[row, CONIC_XX] = -HALF * mxx
    rows[row, CONIC_XY] = -mxy
    rows[row, CONIC_YY] = -HALF * myy
    rows[row, OPACITY] = total / projected[i, OPACITY]
    rows[row, RED] = red
    rows[row, GREEN] = green
    rows[row, BLUE] = blue


@kernel
def _fill(state, x0, y0, image, light, d_image, d_alpha):  # type: ignore[no-untyped-def]
    """The tile's state before its first splat; zero outside the picture."""
    height, width = light.shape
    state[:, 0] = ONE
    state[:, 1:] = ZERO
    for y in range(min(TILE_Y, height - y0)):
        for x in range(min(TILE_X, width - x0)):
            rest = -d_alpha[y0 + y, x0 + x] * light[y0 + y, x0 + x]
            for channel in range(3):
                slope = d_image[channel, y0 + y, x0 + x]
                state[y, 2 + channel, x] = slope
                rest += slope * image[channel, y0 + y, x0 + x]
            state[y, 1, x] = rest


@kernel
def raster_backward(
    first, last, tiles_x, starts, ends, pairs, homes, projected, box, image, light,
    d_image, d_alpha, pair_gradients,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Gradients of the tiles ``first`` .. ``last - 1``, one row for each pair.

    ``d_image`` (3, H, W), ``d_alpha`` (H, W): the loss by the picture and by alpha = 1 - light.
    Writes ``pair_gradients`` (P, 9), rows numbered splat by splat (``homes``); zero behind a
    tile's end.
    """
    state = np.empty((TILE_Y, 5, TILE_X), image.dtype)
    sums = np.zeros((6, TILE_X), image.dtype)
    for tile in range(first, last):
        x0, y0 = tile % tiles_x * TILE_X, tile // tiles_x * TILE_Y
        for pair in range(ends[tile], starts[tile + 1]):
            for k in range(GRADIENTS):
                pair_gradients[homes[pair], k] = ZERO
        if ends[tile] > starts[tile]:
            _fill(state, x0, y0, image, light, d_image, d_alpha)
        for pair in range(starts[tile], ends[tile]):
            column, lanes = _walk(projected, box, pairs[pair], x0, y0, state, sums)
            _gather(projected, pairs[pair], column, lanes, sums, pair_gradients, homes[pair])

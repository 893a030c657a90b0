"""Front-to-back compositing of sorted splats, tile by tile; the backward pass is in the next
file.

The picture is sum_i c_i alpha_i T_i + T background with T_i = prod_{j<i} (1 - alpha_j) and
alpha_i = min(0.99, opacity_i exp(-d^T conic_i d / 2)), skipped below 1/255 (Kerbl et al. 2023).
A tile ends when every pixel's T is below 1e-4.

Speed: a splat visits only its box, each row of it in one vector loop without branches. The
vectors begin at the box, not at multiples of their length, so that a small splat does not pay
for a whole row. A tile's state (light and three colors, row by row) fits the first-level cache.
Indices are unsigned because numba wraps negative ones, which keeps the loop from becoming vector
instructions.
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
    GREEN,
    HALF,
    LANES,
    ONE,
    OPACITY,
    OPAQUE,
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

_CHECK = 16  # splats between two looks at whether the tile is finished


@inlined
def _finished(state):  # type: ignore[no-untyped-def]
    """Whether less than OPAQUE of the light passes at every pixel of the tile."""
    for y in range(TILE_Y):
        most = ZERO
        for x in range(TILE_X):
            most = max(most, state[y, 0, x])
        if most >= OPAQUE:
            return False
    return True


@inlined
def _blend(projected, box, i, x0, y0, state):  # type: ignore[no-untyped-def]
    """Composite splat i behind what the tile at x0, y0 holds."""
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
            alpha = min(opacity * exponential(min(power, ZERO)), ALPHA_MAX)
            alpha = alpha if alpha >= ALPHA_MIN else ZERO
            weight = alpha * state[y, 0, k]
            state[y, 1, k] += weight * red
            state[y, 2, k] += weight * green
            state[y, 3, k] += weight * blue
            state[y, 0, k] -= weight


@kernel
def raster(first, last, tiles_x, starts, pairs, projected, box, background, image, light, ends):  # type: ignore[no-untyped-def]
    """Draw the tiles ``first`` .. ``last - 1``.

    ``starts`` (tiles + 1,), ``pairs`` (P,): the splats of each tile, front to back;
    ``projected`` and ``box`` of :func:`.project.project`; ``background`` (3,). Writes ``image``
    (3, H, W), ``light`` (H, W), the share of the background that shows, and ``ends`` (tiles,),
    where in ``pairs`` each tile stopped.
    """
    height, width = light.shape
    state = np.empty((TILE_Y, 4, TILE_X), image.dtype)
    for tile in range(first, last):
        x0, y0 = tile % tiles_x * TILE_X, tile // tiles_x * TILE_Y
        state[:, 0] = ONE
        state[:, 1:] = ZERO
        pair = starts[tile]
        while pair < starts[tile + 1]:
            _blend(projected, box, pairs[pair], x0, y0, state)
            pair += 1
            if (pair - starts[tile]) % _CHECK == 0 and _finished(state):
                break
        ends[tile] = pair
        for y in range(min(TILE_Y, height - y0)):
            for x in range(min(TILE_X, width - x0)):
                passing = state[y, 0, x]
                light[y0 + y, x0 + x] = passing
                for channel in range(3):
                    image[channel, y0 + y, x0 + x] = (
                        state[y, channel + 1, x] + passing * background[channel]
                    )

"""Backward pass of the compositing, front to back like the forward one.

For a pixel with gradients g by its color and h by its alpha, let ``rest_i = sum_{j>i} w_j c_j.g
+ T_end (background.g - h)``, w_j = alpha_j T_j: what still comes behind splat i. Before the
first splat it is image.g - h T_end, which the forward pass left behind, and each splat takes its
own w c.g off it. Then dL/dalpha_i = T_i c_i.g - rest_i / (1 - alpha_i). So there is no second
sort and no stored weight. Blocks, chunks and lists are those of :mod:`.tile`.
"""

from __future__ import annotations

import numpy as np

from .jit import (
    ALPHA_MAX,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    GRADIENTS,
    HALF,
    LOG2_MIN,
    ONE,
    OPACITY,
    OPAQUE,
    RED,
    TILE_X,
    TILE_Y,
    ZERO,
    U,
    V,
    inlined,
    kernel,
)
from .tile import (
    AT_BLUE,
    AT_GREEN,
    AT_RED,
    AT_U,
    AT_V,
    BLOCKS,
    BLOCKS_X,
    CHUNK,
    PREPARED,
    aligned,
    exponent,
    lists_for_chunk,
    place_of,
    prepare,
)
from .vectors import (
    BLOCK_X,
    BLOCK_Y,
    WIDTH,
    add_sums,
    columns,
    highest,
    load,
    power_of_two,
    rows,
    smaller,
    store,
    take,
    where_reached,
)

_LAYERS = 5  # of a block's state: light, rest, gradient by red, green, blue

# Sums of a splat over its pixels, in a row of WIDTH numbers: gradients by red, green and blue, then
# s = alpha dL/dalpha and its moments in the distance from the splat's center.
_RED, _GREEN, _BLUE, _S, _X, _Y, _XX, _XY, _YY = range(9)


@inlined
def _walk(block, prepared, places, state, sums):  # type: ignore[no-untyped-def]
    """Take the prepared splats at ``places`` through a block's state; add to ``sums``."""
    at = block * (_LAYERS * WIDTH)
    left, top = np.float32(block % BLOCKS_X * BLOCK_X), np.float32(block // BLOCKS_X * BLOCK_Y)
    light, rest = load(state, at), load(state, at + WIDTH)
    by_red, by_green = load(state, at + 2 * WIDTH), load(state, at + 3 * WIDTH)
    by_blue = load(state, at + 4 * WIDTH)
    for n in range(len(places)):
        place = take(places, n)
        dx, dy = left - take(prepared, place + AT_U), top - take(prepared, place + AT_V)
        power = exponent(prepared, place, dx, dy)
        unclamped = power_of_two(power)
        alpha = where_reached(smaller(unclamped, ALPHA_MAX), power, LOG2_MIN)
        weight = alpha * light
        slope = (
            by_red * take(prepared, place + AT_RED)
            + by_green * take(prepared, place + AT_GREEN)
            + by_blue * take(prepared, place + AT_BLUE)
        )
        rest = rest - weight * slope
        s = weight * slope - alpha * rest / (ONE - alpha)
        s = where_reached(s, ALPHA_MAX - unclamped, ZERO)  # a clamped alpha does not change
        light = light - weight
        x, y = columns(dx) + dx, rows(dx) + dy
        along, down = s * x, s * y
        add_sums(
            sums, place // (PREPARED // WIDTH),
            (weight * by_red, weight * by_green, weight * by_blue,
             s, along, down, along * x, along * y, down * y),
        )  # fmt: skip
    store(state, at, light)
    store(state, at + WIDTH, rest)


@inlined
def _pass_on(projected, i, sums, at, gradients, row):  # type: ignore[no-untyped-def]
    """A splat's sums -> its nine gradients by screen parameters."""
    x, y = take(sums, at + _X), take(sums, at + _Y)
    gradients[row, U] = projected[i, CONIC_XX] * x + projected[i, CONIC_XY] * y
    gradients[row, V] = projected[i, CONIC_XY] * x + projected[i, CONIC_YY] * y
    gradients[row, CONIC_XX] = -HALF * take(sums, at + _XX)
    gradients[row, CONIC_XY] = -take(sums, at + _XY)
    gradients[row, CONIC_YY] = -HALF * take(sums, at + _YY)
    gradients[row, OPACITY] = take(sums, at + _S) / projected[i, OPACITY]
    for channel in range(3):
        gradients[row, RED + channel] = take(sums, at + channel)


@inlined
def _fill(state, x0, y0, image, light, d_image, d_alpha):  # type: ignore[no-untyped-def]
    """The tile's state before its first splat; zero outside the picture."""
    height, width = light.shape
    for block in range(BLOCKS):
        at = block * (_LAYERS * WIDTH)
        state[at : at + WIDTH] = ONE
        state[at + WIDTH : at + _LAYERS * WIDTH] = ZERO
    for y in range(min(TILE_Y, height - y0)):
        row = np.uint64(y0 + y)
        for x in range(min(TILE_X, width - x0)):
            column, at = np.uint64(x0 + x), place_of(_LAYERS, x, y)
            red, green, blue = (
                d_image[0, row, column],
                d_image[1, row, column],
                d_image[2, row, column],
            )
            state[at + np.uint64(2 * WIDTH)] = red
            state[at + np.uint64(3 * WIDTH)] = green
            state[at + np.uint64(4 * WIDTH)] = blue
            behind = -d_alpha[row, column] * light[row, column]
            state[at + np.uint64(WIDTH)] = (
                red * image[0, row, column]
                + green * image[1, row, column]
                + blue * image[2, row, column]
                + behind
            )


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
    state = aligned(BLOCKS * _LAYERS * WIDTH, image)
    prepared, sums = aligned(CHUNK * PREPARED, image), aligned(CHUNK * WIDTH, image)
    masks, lists, counts = lists_for_chunk()
    for tile in range(first, last):
        x0, y0 = tile % tiles_x * TILE_X, tile // tiles_x * TILE_Y
        for pair in range(ends[tile], starts[tile + 1]):
            for k in range(GRADIENTS):
                pair_gradients[homes[pair], k] = ZERO
        if ends[tile] > starts[tile]:
            _fill(state, x0, y0, image, light, d_image, d_alpha)
        for begin in range(starts[tile], ends[tile], CHUNK):
            end = min(begin + CHUNK, ends[tile])
            prepare(projected, box, pairs, begin, end, x0, y0, prepared, masks, lists, counts)
            sums[: (end - begin) * WIDTH] = ZERO
            for block in range(BLOCKS):
                if highest(load(state, block * (_LAYERS * WIDTH))) >= OPAQUE:
                    _walk(block, prepared, lists[block, : counts[block]], state, sums)
            for pair in range(begin, end):
                at = (pair - begin) * WIDTH
                _pass_on(projected, pairs[pair], sums, at, pair_gradients, homes[pair])

"""Backward pass of the compositing, front to back like the forward one.

For a pixel with gradients g by its color and h by its alpha, let ``rest_i = sum_{j>i} w_j c_j.g
+ T_end (background.g - h)``, w_j = alpha_j T_j: what still comes behind splat i. Before the
first splat it is image.g - h T_end, which the forward pass left behind, and each splat takes its
own w c.g off it. Then dL/dalpha_i = T_i c_i.g - rest_i / (1 - alpha_i). So there is no second
sort and no stored weight. Blocks, chunks and lists are those of :mod:`.tile`.
"""

from __future__ import annotations

import numpy as np

from .groups import (
    column0,
    column1,
    column2,
    column3,
    load_block,
    quarters_summed,
    transposed,
)
from .jit import (
    ALPHA_MAX,
    BLUE,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    GRADIENTS,
    GREEN,
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
    GROUP,
    MIDDLE_X,
    MIDDLE_Y,
    PREPARED,
    aligned,
    clear,
    exponent,
    middle,
    prepare,
    room_for_chunk,
    sort_into_lists,
)
from .vectors import (
    BLOCK_X,
    BLOCK_Y,
    WIDTH,
    columns,
    highest,
    load,
    power_of_two,
    rows,
    smaller,
    store,
    take,
    where_below,
    where_reached,
)

_LAYERS = 5  # of a block's state: light, rest, gradient by red, green, blue

# Sums of a splat over its pixels, in a row of WIDTH numbers: gradients by red, green and blue, then
# s = alpha dL/dalpha and its moments in the distance from the tile's middle. Where each is follows
# from how :func:`_add_up` adds them.
_RED, _GREEN, _BLUE, _S, _X, _Y, _XX, _XY, _YY = 0, 4, 8, 12, 1, 5, 9, 13, 2
_THREE, _FOUR = np.float32(3), np.float32(4)


@inlined
def _visit(prepared, place, half, x, y, light, rest, by):  # type: ignore[no-untyped-def]
    """One prepared splat at the pixels x, y of a block.

    Returns its weight alpha T, its s, and the light and rest behind it.
    """
    power = exponent(prepared, place, half, x, y)
    alpha = where_reached(smaller(power_of_two(power), ALPHA_MAX), power, LOG2_MIN)
    weight = alpha * light
    slope = (
        by[0] * take(prepared, place + AT_RED)
        + by[1] * take(prepared, place + AT_GREEN)
        + by[2] * take(prepared, place + AT_BLUE)
    )
    rest = rest - weight * slope
    s = weight * slope - alpha * rest / (ONE - alpha)
    s = where_below(s, alpha, ALPHA_MAX)  # a clamped alpha does not change
    return weight, s, light - weight, rest


@inlined
def _add_up(weights, ss, by, left, down, sums, places):  # type: ignore[no-untyped-def]
    """Add what four splats gather in a block to their rows of ``sums``.

    Summing a vector takes four steps, and a splat has nine sums. So first the quarters (rows of
    pixels) of the four splats are transposed: then a vector holds one column of pixels of four
    splats, adding up the columns sums four splats at once, and two steps are left.
    """
    w0, w1, w2, w3 = transposed(weights)
    red = w0 * by[0][0] + w1 * by[0][1] + w2 * by[0][2] + w3 * by[0][3]
    green = w0 * by[1][0] + w1 * by[1][1] + w2 * by[1][2] + w3 * by[1][3]
    blue = w0 * by[2][0] + w1 * by[2][1] + w2 * by[2][2] + w3 * by[2][3]
    s0, s1, s2, s3 = transposed(ss)
    s = (s0 + s1) + (s2 + s3)
    x, xx = (s1 + s2) + (s2 + s3 * _THREE), (s1 + s2 * _FOUR) + s3 * (_THREE * _THREE)
    # Moved from the block's corner to the tile's middle.
    moved = x + s * left
    xx = xx + (x + moved) * left
    y = s * down
    first = quarters_summed((red, green, blue, s))
    second = quarters_summed((moved, y, xx, moved * down))
    yy = y * down
    third = quarters_summed((yy, yy, yy, yy))
    row0, row1, row2, row3 = transposed((first, second, third, third))
    _add(sums, places[0], row0)
    _add(sums, places[1], row1)
    _add(sums, places[2], row2)
    _add(sums, places[3], row3)


@inlined
def _add(sums, place, row):  # type: ignore[no-untyped-def]
    # A row of sums is as long as a prepared splat.
    store(sums, place, load(sums, place) + row)


@inlined
def _walk(block, prepared, places, state, sums):  # type: ignore[no-untyped-def]
    """Take the prepared splats at ``places`` through a block's state; add to ``sums``."""
    at = block * (_LAYERS * WIDTH)
    left, top, half = middle(block)
    kind = take(state, at)  # float32 or, in tests, float64
    x, y = columns(kind) + left, rows(kind) + top
    corner = np.float32(block % BLOCKS_X * BLOCK_X) - MIDDLE_X
    light, rest = load(state, at), load(state, at + WIDTH)
    red, green = load(state, at + 2 * WIDTH), load(state, at + 3 * WIDTH)
    blue = load(state, at + 4 * WIDTH)
    by = (red, green, blue)
    spread = (
        (column0(red), column1(red), column2(red), column3(red)),
        (column0(green), column1(green), column2(green), column3(green)),
        (column0(blue), column1(blue), column2(blue), column3(blue)),
    )
    for n in range(0, len(places), GROUP):
        p0, p1 = np.int64(take(places, n)), np.int64(take(places, n + 1))
        p2, p3 = np.int64(take(places, n + 2)), np.int64(take(places, n + 3))
        w0, s0, light, rest = _visit(prepared, p0, half, x, y, light, rest, by)
        w1, s1, light, rest = _visit(prepared, p1, half, x, y, light, rest, by)
        w2, s2, light, rest = _visit(prepared, p2, half, x, y, light, rest, by)
        w3, s3, light, rest = _visit(prepared, p3, half, x, y, light, rest, by)
        _add_up((w0, w1, w2, w3), (s0, s1, s2, s3), spread, corner, y, sums, (p0, p1, p2, p3))
    store(state, at, light)
    store(state, at + WIDTH, rest)


@inlined
def _pass_on(projected, i, prepared, sums, n, gradients, row):  # type: ignore[no-untyped-def]
    """The sums of the chunk's splat ``n`` -> its nine gradients by screen parameters."""
    at, place = n * WIDTH, n * PREPARED
    u, v = take(prepared, place + AT_U) - MIDDLE_X, take(prepared, place + AT_V) - MIDDLE_Y
    s, by_x, by_y = take(sums, at + _S), take(sums, at + _X), take(sums, at + _Y)
    # Moved from the tile's middle to the splat's center.
    x, y = by_x - u * s, by_y - v * s
    gradients[row, U] = projected[i, CONIC_XX] * x + projected[i, CONIC_XY] * y
    gradients[row, V] = projected[i, CONIC_XY] * x + projected[i, CONIC_YY] * y
    gradients[row, CONIC_XX] = -HALF * (take(sums, at + _XX) - u * (by_x + x))
    gradients[row, CONIC_XY] = -(take(sums, at + _XY) - u * by_y - v * x)
    gradients[row, CONIC_YY] = -HALF * (take(sums, at + _YY) - v * (by_y + y))
    gradients[row, OPACITY] = s / projected[i, OPACITY]
    gradients[row, RED] = take(sums, at + _RED)
    gradients[row, GREEN] = take(sums, at + _GREEN)
    gradients[row, BLUE] = take(sums, at + _BLUE)


@inlined
def _fill(state, x0, y0, image, light, d_image, d_alpha):  # type: ignore[no-untyped-def]
    """The tile's state before its first splat; zero outside the picture."""
    height, width = light.shape
    clear(state, _LAYERS, x0, y0, width, height)
    picture, passing, size = image.reshape(-1), light.reshape(-1), height * width
    by_picture, by_alpha = d_image.reshape(-1), d_alpha.reshape(-1)
    for block in range(BLOCKS):
        at = block * (_LAYERS * WIDTH)
        x, y = x0 + block % BLOCKS_X * BLOCK_X, y0 + block // BLOCKS_X * BLOCK_Y
        pixel = y * width + x
        if x + BLOCK_X <= width and y + BLOCK_Y <= height:
            through = load_block(passing, pixel, width)
            rest = through * ZERO - load_block(by_alpha, pixel, width) * through
            for channel in range(3):
                place = channel * size + pixel
                by = load_block(by_picture, place, width)
                store(state, at + (2 + channel) * WIDTH, by)
                rest = rest + by * load_block(picture, place, width)
            store(state, at + WIDTH, rest)
        else:
            for k in range(WIDTH):
                if x + k % BLOCK_X < width and y + k // BLOCK_X < height:
                    here = pixel + k // BLOCK_X * width + k % BLOCK_X
                    rest_here = -by_alpha[here] * passing[here]
                    for channel in range(3):
                        by_here = by_picture[channel * size + here]
                        state[at + (2 + channel) * WIDTH + k] = by_here
                        rest_here += by_here * picture[channel * size + here]
                    state[at + WIDTH + k] = rest_here


@kernel
def raster_backward(
    first, last, tiles_x, starts, ends, pairs, homes, projected, touched, image, light,
    d_image, d_alpha, pair_gradients,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Gradients of the tiles ``first`` .. ``last - 1``, one row for each pair.

    ``touched`` (P,) of :func:`.raster.raster`; ``d_image`` (3, H, W), ``d_alpha`` (H, W): the loss
    by the picture and by alpha = 1 - light. Writes ``pair_gradients`` (P, 9), rows numbered splat
    by splat (``homes``); zero behind a tile's end.
    """
    state = aligned(BLOCKS * _LAYERS * WIDTH, image)
    prepared, masks, lists, counts = room_for_chunk(image)
    sums = aligned((CHUNK + 1) * WIDTH, image)
    for tile in range(first, last):
        x0, y0 = tile % tiles_x * TILE_X, tile // tiles_x * TILE_Y
        for pair in range(ends[tile], starts[tile + 1]):
            for k in range(GRADIENTS):
                pair_gradients[homes[pair], k] = ZERO
        if ends[tile] > starts[tile]:
            _fill(state, x0, y0, image, light, d_image, d_alpha)
        for begin in range(starts[tile], ends[tile], CHUNK):
            end = min(begin + CHUNK, ends[tile])
            prepare(projected, pairs, begin, end, x0, y0, prepared)
            masks[: end - begin] = touched[begin:end]
            sort_into_lists(end - begin, masks, lists, counts)
            sums[:] = ZERO
            for block in range(BLOCKS):
                if counts[block] and highest(load(state, block * (_LAYERS * WIDTH))) >= OPAQUE:
                    filled = -(-counts[block] // GROUP) * GROUP
                    _walk(block, prepared, lists[block, :filled], state, sums)
            for pair in range(begin, end):
                _pass_on(
                    projected, pairs[pair], prepared, sums, pair - begin, pair_gradients,
                    homes[pair],
                )  # fmt: skip

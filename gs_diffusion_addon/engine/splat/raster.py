"""Front-to-back compositing of sorted splats, tile by tile; the backward pass is in the next
file.

The picture is sum_i c_i alpha_i T_i + T background with T_i = prod_{j<i} (1 - alpha_j) and
alpha_i = min(0.99, opacity_i exp(-d^T conic_i d / 2)), skipped below 1/255 (Kerbl et al. 2023).
Before each chunk of splats, blocks where every pixel's T is below 1e-4 are done with, and a tile
ends with its last block. :mod:`.tile` says how the work is laid out.
"""

from __future__ import annotations

import numpy as np

from .jit import ALPHA_MAX, LOG2_MIN, ONE, OPAQUE, TILE_X, TILE_Y, ZERO, inlined, kernel
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
    highest,
    load,
    power_of_two,
    smaller,
    store,
    take,
    where_reached,
)

_LAYERS = 4  # of a block's state: light, red, green, blue


@inlined
def _blend(block, prepared, places, state):  # type: ignore[no-untyped-def]
    """Composite the prepared splats at ``places`` behind what ``block`` holds."""
    at = block * (_LAYERS * WIDTH)
    left, top = np.float32(block % BLOCKS_X * BLOCK_X), np.float32(block // BLOCKS_X * BLOCK_Y)
    light, red = load(state, at), load(state, at + WIDTH)
    green, blue = load(state, at + 2 * WIDTH), load(state, at + 3 * WIDTH)
    for n in range(len(places)):
        place = take(places, n)
        power = exponent(
            prepared, place, left - take(prepared, place + AT_U), top - take(prepared, place + AT_V)
        )
        alpha = where_reached(smaller(power_of_two(power), ALPHA_MAX), power, LOG2_MIN)
        weight = alpha * light
        light = light - weight
        red = red + weight * take(prepared, place + AT_RED)
        green = green + weight * take(prepared, place + AT_GREEN)
        blue = blue + weight * take(prepared, place + AT_BLUE)
    store(state, at, light)
    store(state, at + WIDTH, red)
    store(state, at + 2 * WIDTH, green)
    store(state, at + 3 * WIDTH, blue)


@kernel
def raster(first, last, tiles_x, starts, pairs, projected, box, background, image, light, ends):  # type: ignore[no-untyped-def]
    """Draw the tiles ``first`` .. ``last - 1``.

    ``starts`` (tiles + 1,), ``pairs`` (P,): the splats of each tile, front to back;
    ``projected`` and ``box`` of :func:`.project.project`; ``background`` (3,). Writes ``image``
    (3, H, W), ``light`` (H, W), the share of the background that shows, and ``ends`` (tiles,),
    where in ``pairs`` each tile stopped.
    """
    height, width = light.shape
    state = aligned(BLOCKS * _LAYERS * WIDTH, image)
    prepared = aligned(CHUNK * PREPARED, image)
    masks, lists, counts = lists_for_chunk()
    for tile in range(first, last):
        x0, y0 = tile % tiles_x * TILE_X, tile // tiles_x * TILE_Y
        for block in range(BLOCKS):
            at = block * (_LAYERS * WIDTH)
            state[at : at + WIDTH] = ONE
            state[at + WIDTH : at + _LAYERS * WIDTH] = ZERO
        pair, open_blocks = starts[tile], 1
        while pair < starts[tile + 1] and open_blocks:
            end = min(pair + CHUNK, starts[tile + 1])
            prepare(projected, box, pairs, pair, end, x0, y0, prepared, masks, lists, counts)
            open_blocks = 0
            for block in range(BLOCKS):
                if highest(load(state, block * (_LAYERS * WIDTH))) >= OPAQUE:
                    open_blocks += 1
                    _blend(block, prepared, lists[block, : counts[block]], state)
            pair = end
        ends[tile] = pair
        for y in range(min(TILE_Y, height - y0)):
            row = np.uint64(y0 + y)
            for x in range(min(TILE_X, width - x0)):
                column, at = np.uint64(x0 + x), place_of(_LAYERS, x, y)
                passing = state[at]
                light[row, column] = passing
                image[0, row, column] = state[at + np.uint64(WIDTH)] + passing * background[0]
                image[1, row, column] = state[at + np.uint64(2 * WIDTH)] + passing * background[1]
                image[2, row, column] = state[at + np.uint64(3 * WIDTH)] + passing * background[2]

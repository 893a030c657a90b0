"""Front-to-back compositing of sorted splats, tile by tile; the backward pass is in the next
file.

The picture is sum_i c_i alpha_i T_i + T background with T_i = prod_{j<i} (1 - alpha_j) and
alpha_i = min(0.99, opacity_i exp(-d^T conic_i d / 2)), skipped below 1/255 (Kerbl et al. 2023).
Before each chunk of splats, blocks where every pixel's T is below 1e-4 are done with, and a tile
ends with its last block. :mod:`.tile` says how the work is laid out.
"""

from __future__ import annotations

from .groups import store_block
from .jit import ALPHA_MAX, LOG2_MIN, OPAQUE, TILE_X, TILE_Y, inlined, kernel
from .tile import (
    AT_BLUE,
    AT_GREEN,
    AT_RED,
    BLOCKS,
    BLOCKS_X,
    CHUNK,
    aligned,
    clear,
    exponent,
    mark,
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
    where_reached,
)

_LAYERS = 4  # of a block's state: light, red, green, blue


@inlined
def _blend(block, prepared, places, state):  # type: ignore[no-untyped-def]
    """Composite the prepared splats at ``places`` behind what ``block`` holds."""
    at = block * (_LAYERS * WIDTH)
    left, top, half = middle(block)
    kind = take(state, at)  # float32 or, in tests, float64
    x, y = columns(kind) + left, rows(kind) + top
    light, red = load(state, at), load(state, at + WIDTH)
    green, blue = load(state, at + 2 * WIDTH), load(state, at + 3 * WIDTH)
    for n in range(len(places)):
        place = take(places, n)
        power = exponent(prepared, place, half, x, y)
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


@inlined
def _write(state, x0, y0, background, image, light):  # type: ignore[no-untyped-def]
    """A tile's state into the picture, over the background."""
    height, width = light.shape
    flat, passing, size = image.reshape(-1), light.reshape(-1), height * width
    for block in range(BLOCKS):
        at = block * (_LAYERS * WIDTH)
        x, y = x0 + block % BLOCKS_X * BLOCK_X, y0 + block // BLOCKS_X * BLOCK_Y
        pixel, through = y * width + x, load(state, at)
        if x + BLOCK_X <= width and y + BLOCK_Y <= height:
            store_block(passing, pixel, width, through)
            for channel in range(3):
                color = load(state, at + (1 + channel) * WIDTH) + through * background[channel]
                store_block(flat, channel * size + pixel, width, color)
        else:
            for k in range(WIDTH):
                if x + k % BLOCK_X < width and y + k // BLOCK_X < height:
                    here = pixel + k // BLOCK_X * width + k % BLOCK_X
                    passing[here] = state[at + k]
                    for channel in range(3):
                        color = state[at + (1 + channel) * WIDTH + k]
                        flat[channel * size + here] = color + state[at + k] * background[channel]


@kernel
def raster(first, last, tiles_x, starts, pairs, projected, background, image, light, ends, touched):  # type: ignore[no-untyped-def]
    """Draw the tiles ``first`` .. ``last - 1``.

    ``starts`` (tiles + 1,), ``pairs`` (P,): the splats of each tile, front to back;
    ``projected`` of :func:`.project.project`; ``background`` (3,). Writes ``image`` (3, H, W),
    ``light`` (H, W), the share of the background that shows, ``ends`` (tiles,), where in ``pairs``
    each tile stopped, and ``touched`` (P,) int32, the blocks that each pair's splat reaches.
    """
    height, width = light.shape
    state = aligned(BLOCKS * _LAYERS * WIDTH, image)
    prepared, masks, lists, counts = room_for_chunk(image)
    for tile in range(first, last):
        x0, y0 = tile % tiles_x * TILE_X, tile // tiles_x * TILE_Y
        clear(state, _LAYERS, x0, y0, width, height)
        pair, open_blocks = starts[tile], 1
        while pair < starts[tile + 1] and open_blocks:
            end = min(pair + CHUNK, starts[tile + 1])
            prepare(projected, pairs, pair, end, x0, y0, prepared)
            mark(prepared, end - pair, masks)
            touched[pair:end] = masks[: end - pair]
            sort_into_lists(end - pair, masks, lists, counts)
            open_blocks = 0
            for block in range(BLOCKS):
                if highest(load(state, block * (_LAYERS * WIDTH))) >= OPAQUE:
                    open_blocks += 1
                    _blend(block, prepared, lists[block, : counts[block]], state)
            pair = end
        ends[tile] = pair
        _write(state, x0, y0, background, image, light)

"""What both passes of the compositing share: the splats of a tile, prepared a chunk at a time.

A tile is worked on block by block, 4 x 4 pixels being one vector (:mod:`.vectors`): a block's light
and colors stay in registers while the splats that reach it go by. (Splat by splat, a block's state
went through memory at every visit, which took twice as long.) So each chunk of a tile's splats is
first sorted into lists, one for each block. What a splat's exponential needs is worked out once:

    log2(alpha) = k + a dx^2 + b dx dy + c dy^2

around its center; in a block whose corner is (dx, dy) from the center this is a value and a slope
there, single numbers, and a second-order part that is the same in all blocks. That leaves two
multiply-adds a pixel before the exponential.
"""

from __future__ import annotations

import numpy as np

from .jit import (
    BLUE,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    GREEN,
    HALF,
    LOG2_E,
    LOG2_MIN,
    REACH,
    RED,
    TILE_X,
    TILE_Y,
    TWO,
    U,
    V,
    inlined,
)
from .vectors import BLOCK_X, BLOCK_Y, WIDTH, columns, load, rows, store, take

BLOCKS_X, BLOCKS = TILE_X // BLOCK_X, TILE_X * TILE_Y // WIDTH
CHUNK = 128  # splats prepared at a time
_EVERY_ROW = sum(1 << row * BLOCKS_X for row in range(TILE_Y // BLOCK_Y))

# A prepared splat: the second-order part at a block's pixels, then single numbers.
PREPARED = 2 * WIDTH
AT_U, AT_V, AT_2A, AT_B, AT_2C, AT_RED, AT_GREEN, AT_BLUE = range(WIDTH, WIDTH + 8)


@inlined
def aligned(count, like):  # type: ignore[no-untyped-def]
    """``count`` numbers of the type of ``like``, not set, that begin at a multiple of 64 bytes: a
    vector never lies across two cache lines.
    """
    room = np.empty(count + WIDTH, like.dtype)
    skip = -(room.ctypes.data // room.itemsize) % WIDTH
    return room[skip : skip + count]


@inlined
def place_of(layers, x, y):  # type: ignore[no-untyped-def]
    """Where a tile's state of so many layers holds the first layer of the pixel x, y."""
    block = np.uint64(y) // np.uint64(BLOCK_Y) * np.uint64(BLOCKS_X) + np.uint64(x) // np.uint64(
        BLOCK_X
    )
    inside = np.uint64(y) % np.uint64(BLOCK_Y) * np.uint64(BLOCK_X) + np.uint64(x) % np.uint64(
        BLOCK_X
    )
    return block * np.uint64(layers * WIDTH) + inside


@inlined
def lists_for_chunk():  # type: ignore[no-untyped-def]
    """Arrays that :func:`prepare` fills: masks, lists, counts."""
    return (
        np.empty(CHUNK, np.int64),
        np.empty((BLOCKS, CHUNK), np.int64),
        np.empty(BLOCKS, np.int64),
    )


@inlined
def prepare(projected, box, pairs, first, last, x0, y0, prepared, masks, lists, counts):  # type: ignore[no-untyped-def]
    """Prepare the splats ``pairs[first:last]`` of the tile at x0, y0.

    Writes ``prepared`` (CHUNK * PREPARED,); ``masks`` (CHUNK,), the blocks that each splat's box
    touches, as bits; ``lists`` (BLOCKS, CHUNK), the offsets in ``prepared`` of the splats of each
    block, front to back; and ``counts`` (BLOCKS,).
    """
    for pair in range(first, last):
        i, at = pairs[pair], (pair - first) * PREPARED
        a = -HALF * LOG2_E * projected[i, CONIC_XX]
        b = -LOG2_E * projected[i, CONIC_XY]
        c = -HALF * LOG2_E * projected[i, CONIC_YY]
        k = HALF * LOG2_E * projected[i, REACH] + LOG2_MIN  # log2(opacity), see project
        x, y = columns(a), rows(a)
        store(prepared, at, x * (x * a + y * b) + (y * (y * c) + k))
        prepared[at + AT_U] = projected[i, U] - np.float32(x0)
        prepared[at + AT_V] = projected[i, V] - np.float32(y0)
        prepared[at + AT_2A] = TWO * a
        prepared[at + AT_B] = b
        prepared[at + AT_2C] = TWO * c
        prepared[at + AT_RED] = projected[i, RED]
        prepared[at + AT_GREEN] = projected[i, GREEN]
        prepared[at + AT_BLUE] = projected[i, BLUE]
        masks[pair - first] = _touched(box, i, x0, y0)
    # Tried and slower: appending each splat to the lists of its blocks, whose loops end at a
    # different count every time. This has no branch.
    for block in range(BLOCKS):
        row, count = lists[block], 0
        for n in range(last - first):
            row[np.uint64(count)] = n * PREPARED
            count += (masks[n] >> block) & 1
        counts[block] = count


@inlined
def _touched(box, i, x0, y0):  # type: ignore[no-untyped-def]
    """The blocks of the tile at x0, y0 that splat i's box touches, as bits of a number."""
    left = np.int64(max(box[i, 0] - x0, 0)) // BLOCK_X
    right = np.int64(min(box[i, 1] - x0, TILE_X) - 1) // BLOCK_X
    top = np.int64(max(box[i, 2] - y0, 0)) // BLOCK_Y
    bottom = np.int64(min(box[i, 3] - y0, TILE_Y) - 1) // BLOCK_Y
    across = (np.int64(2) << right) - (np.int64(1) << left)
    down = (np.int64(1) << BLOCKS_X * (bottom + 1)) - (np.int64(1) << BLOCKS_X * top)
    return (across * _EVERY_ROW) & down


@inlined
def exponent(prepared, at, dx, dy):  # type: ignore[no-untyped-def]
    """log2(alpha) of a prepared splat at the pixels of the block whose corner is dx, dy from its
    center.
    """
    b = take(prepared, at + AT_B)
    along, down = take(prepared, at + AT_2A) * dx + b * dy, take(prepared, at + AT_2C) * dy + b * dx
    corner = HALF * (along * dx + down * dy)
    return columns(dx) * along + (rows(dx) * down + (load(prepared, at) + corner))

"""What both passes of the compositing share: the splats of a tile, prepared a chunk at a time.

A tile is worked on block by block, 4 x 4 pixels being one vector (:mod:`.vectors`): a block's light
and colors stay in registers while the splats that reach it go by. (Splat by splat, a block's state
went through memory at every visit, which took twice as long.) So each chunk of a tile's splats is
first sorted into lists, one for each block that a splat's ellipse reaches. What a splat's
exponential needs is worked out once:

    log2(alpha) = k + a dx^2 + b dx dy + c dy^2

around its center; in a block whose corner is (dx, dy) from the center this is a value and a slope
there, single numbers, and a second-order part that is the same in all blocks. That leaves two
multiply-adds a pixel before the exponential.
"""

from __future__ import annotations

import numpy as np

from .groups import append_marked, bits_reached
from .jit import (
    BLUE,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    GREEN,
    HALF,
    LOG2_E,
    LOG2_MIN,
    ONE,
    REACH,
    RED,
    TILE_X,
    TILE_Y,
    TWO,
    ZERO,
    U,
    V,
    inlined,
)
from .vectors import (
    BLOCK_X,
    BLOCK_Y,
    WIDTH,
    columns,
    fixed,
    greater,
    load,
    rows,
    smaller,
    store,
    take,
)

BLOCKS_X, BLOCKS = TILE_X // BLOCK_X, TILE_X * TILE_Y // WIDTH
CHUNK = 128  # splats prepared at a time
GROUP = 4  # splats that the backward pass takes through a block at once; lists are filled up to it
_WIDE, _HIGH = np.float32(BLOCK_X - 1), np.float32(BLOCK_Y - 1)  # between a block's outer pixels
_PART_Y = WIDTH // BLOCKS_X * BLOCK_Y  # rows of pixels in 16 blocks
_corners_x = fixed([k % BLOCKS_X * BLOCK_X for k in range(WIDTH)])
_corners_y = fixed([k // BLOCKS_X * BLOCK_Y for k in range(WIDTH)])
_SURE = np.float32(0.01)  # log2 of alpha by which a block counts as reached, against rounding

# A prepared splat: the second-order part at a block's pixels, then single numbers.
PREPARED = 2 * WIDTH
AT_U, AT_V, AT_2A, AT_B, AT_2C, AT_RED, AT_GREEN, AT_BLUE, _AT_LEAST = range(WIDTH, WIDTH + 9)
_NEVER = np.float32(-100)  # log2 of its alpha
_NO_ONE = CHUNK * PREPARED  # the place of a splat that is seen nowhere


@inlined
def aligned(count, like):  # type: ignore[no-untyped-def]
    """``count`` numbers of the type of ``like``, not set, that begin at a multiple of 64 bytes: a
    vector never lies across two cache lines.
    """
    room = np.empty(count + WIDTH, like.dtype)
    skip = -(room.ctypes.data // room.itemsize) % WIDTH
    return room[skip : skip + count]


@inlined
def room_for_chunk(like):  # type: ignore[no-untyped-def]
    """Arrays for a chunk: prepared splats, masks, lists and the lists' lengths."""
    prepared = aligned((CHUNK + 1) * PREPARED, like)
    prepared[_NO_ONE:] = ZERO
    prepared[_NO_ONE : _NO_ONE + WIDTH] = _NEVER
    return (
        prepared,
        np.zeros(CHUNK, np.int32),
        np.empty((BLOCKS, CHUNK + WIDTH), np.int32),
        np.empty(BLOCKS, np.int64),
    )


@inlined
def clear(state, layers, x0, y0, width, height):  # type: ignore[no-untyped-def]
    """A tile's state before its first splat: all light passes in the first layer, the others are
    zero. Outside the picture no light is left, so that nothing happens there.
    """
    for block in range(BLOCKS):
        at = block * (layers * WIDTH)
        state[at : at + WIDTH] = ONE
        state[at + WIDTH : at + layers * WIDTH] = ZERO
        across = width - x0 - block % BLOCKS_X * BLOCK_X
        down = height - y0 - block // BLOCKS_X * BLOCK_Y
        if across < BLOCK_X or down < BLOCK_Y:
            for k in range(WIDTH):
                if k % BLOCK_X >= across or k // BLOCK_X >= down:
                    state[at + k] = ZERO


@inlined
def prepare(projected, pairs, first, last, x0, y0, prepared):  # type: ignore[no-untyped-def]
    """Prepare the splats ``pairs[first:last]`` of the tile at x0, y0."""
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
        prepared[at + _AT_LEAST] = LOG2_MIN - k - _SURE


@inlined
def mark(prepared, count, masks):  # type: ignore[no-untyped-def]
    """Write into ``masks`` (CHUNK,) which blocks each prepared splat reaches, as bits.

    Sixteen blocks are looked at at once. The exponent is greatest, of all points of a block, at
    the splat's center if that is inside, else on one of the two sides that face it; along a side
    it is a parabola.
    """
    for n in range(count):
        at = n * PREPARED
        u, v = take(prepared, at + AT_U), take(prepared, at + AT_V)
        a2, b, c2 = (
            take(prepared, at + AT_2A),
            take(prepared, at + AT_B),
            take(prepared, at + AT_2C),
        )
        least, along, down = take(prepared, at + _AT_LEAST), -b / c2, -b / a2
        left = _corners_x(u) - u
        near_x = greater(left, smaller(left + _WIDE, ZERO))
        bits = np.int64(0)
        for part in range(BLOCKS // WIDTH):
            top = _corners_y(v) + (np.float32(part * _PART_Y) - v)
            near_y = greater(top, smaller(top + _HIGH, ZERO))
            y = greater(top, smaller(top + _HIGH, near_x * along))
            x = greater(left, smaller(left + _WIDE, near_y * down))
            highest = greater(
                near_x * (near_x * a2 + y * (b + b)) + y * (y * c2),
                x * (x * a2 + near_y * (b + b)) + near_y * (near_y * c2),
            )
            bits |= bits_reached(highest, least + least) << (part * WIDTH)
        masks[n] = bits


@inlined
def sort_into_lists(count, masks, lists, counts):  # type: ignore[no-untyped-def]
    """The splats of each block, front to back, from the ``masks`` of ``count`` splats.

    Writes ``lists`` (BLOCKS, CHUNK + WIDTH), their offsets among the prepared, filled up to a
    multiple of GROUP with a splat seen nowhere, and ``counts`` (BLOCKS,), these multiples.
    """
    masks[count : -(-count // WIDTH) * WIDTH] = 0
    for block in range(BLOCKS):
        row, found = lists[block], 0
        for first in range(0, count, WIDTH):
            found = append_marked(row, found, masks, first, block, PREPARED)
        for n in range(found, found + GROUP - 1):
            row[n] = _NO_ONE
        counts[block] = -(-found // GROUP) * GROUP


@inlined
def exponent(prepared, at, dx, dy):  # type: ignore[no-untyped-def]
    """log2(alpha) of a prepared splat at the pixels of the block whose corner is dx, dy from its
    center.
    """
    b = take(prepared, at + AT_B)
    along, down = take(prepared, at + AT_2A) * dx + b * dy, take(prepared, at + AT_2C) * dy + b * dx
    corner = HALF * (along * dx + down * dy)
    return columns(dx) * along + (rows(dx) * down + (load(prepared, at) + corner))

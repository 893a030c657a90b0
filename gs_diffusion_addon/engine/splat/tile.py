"""What both passes of the compositing share: the splats of a tile, prepared a chunk at a time.

A tile is worked on block by block, 4 x 4 pixels being one vector (:mod:`.vectors`): a block's light
and colors stay in registers while the splats that reach it go by. (Splat by splat, a block's state
went through memory at every visit, which took twice as long.) So each chunk of a tile's splats is
first sorted into lists, one for each block that a splat's ellipse reaches. What a splat's
exponential needs is worked out once for each half of the tile, a square of 16 x 16 pixels:

    log2(alpha) = p + q x + r y + a x^2 + b x y + c y^2

around the square's middle, where p is the value and q, r are the slopes. x and y are the same for
all splats of a block, so that a pixel takes five multiply-adds before the exponential.
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
    fixed,
    greater,
    smaller,
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

# A prepared splat: value and slopes in the left half of the tile, in the right half, the
# second-order part (a, b, c), color, center and what :func:`mark` compares with.
PREPARED = 16
MIDDLE_X, MIDDLE_Y = np.float32(TILE_X / 2), np.float32(TILE_Y / 2)  # of a tile
_LEFT_X, _RIGHT_X = np.float32(TILE_X / 4), np.float32(TILE_X * 3 / 4)  # the halves' middles
AT_P, AT_Q, AT_R = 0, 1, 2
_RIGHT = 3  # how much further the right half's are
AT_A, AT_B, AT_C, AT_RED, AT_GREEN, AT_BLUE, AT_U, AT_V, _AT_LEAST = range(6, 15)
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
    prepared[_NO_ONE + AT_P] = prepared[_NO_ONE + _RIGHT + AT_P] = _NEVER
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
        u, v = projected[i, U] - np.float32(x0), projected[i, V] - np.float32(y0)
        _expand(prepared, at, a, b, c, k, _LEFT_X - u, MIDDLE_Y - v)
        _expand(prepared, at + _RIGHT, a, b, c, k, _RIGHT_X - u, MIDDLE_Y - v)
        prepared[at + AT_A], prepared[at + AT_B], prepared[at + AT_C] = a, b, c
        prepared[at + AT_U], prepared[at + AT_V] = u, v
        prepared[at + AT_RED] = projected[i, RED]
        prepared[at + AT_GREEN] = projected[i, GREEN]
        prepared[at + AT_BLUE] = projected[i, BLUE]
        prepared[at + _AT_LEAST] = LOG2_MIN - k - _SURE


@inlined
def _expand(prepared, at, a, b, c, k, dx, dy):  # type: ignore[no-untyped-def]
    """Write value and slopes at a point dx, dy from a splat's center."""
    half_q, half_r = a * dx + HALF * b * dy, c * dy + HALF * b * dx
    prepared[at + AT_P] = half_q * dx + (half_r * dy + k)
    prepared[at + AT_Q], prepared[at + AT_R] = half_q + half_q, half_r + half_r


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
        b = take(prepared, at + AT_B)
        a2, c2 = TWO * take(prepared, at + AT_A), TWO * take(prepared, at + AT_C)
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
    multiple of GROUP with a splat seen nowhere, and ``counts`` (BLOCKS,), how many are seen.
    """
    masks[count : -(-count // WIDTH) * WIDTH] = 0
    for block in range(BLOCKS):
        row, found = lists[block], 0
        for first in range(0, count, WIDTH):
            found = append_marked(row, found, masks, first, block, PREPARED)
        for n in range(found, found + GROUP - 1):
            row[n] = _NO_ONE
        counts[block] = found


@inlined
def middle(block):  # type: ignore[no-untyped-def]
    """How far right of and below its half's middle a block's corner lies, and the offset of that
    half's value and slopes in a prepared splat.
    """
    column = block % BLOCKS_X
    right = column >= BLOCKS_X // 2
    x = np.float32(column * BLOCK_X) - (_RIGHT_X if right else _LEFT_X)
    return x, np.float32(block // BLOCKS_X * BLOCK_Y) - MIDDLE_Y, _RIGHT if right else 0


@inlined
def exponent(prepared, at, half, x, y):  # type: ignore[no-untyped-def]
    """log2(alpha) of a prepared splat at the pixels x, y (vectors) of a block in that half."""
    a, b, c = take(prepared, at + AT_A), take(prepared, at + AT_B), take(prepared, at + AT_C)
    p, q = take(prepared, at + half + AT_P), take(prepared, at + half + AT_Q)
    r = take(prepared, at + half + AT_R)
    return y * (y * c + r) + (x * (x * a + (y * b + q)) + p)

"""Which splats each tile draws, front to back: a radix sort by depth, then a counting sort by
tile.
"""

from __future__ import annotations

import numpy as np

from .jit import DEPTH, TILE_X, TILE_Y, kernel

_DIGIT_BITS = 11
_BUCKETS = 1 << _DIGIT_BITS


@kernel
def depth_order(projected, box):  # type: ignore[no-untyped-def]
    """Indices (V,) int32 of the drawn splats, nearest first; equal depths keep their order.

    Positive floats order as their bit patterns, so three passes over 11-bit digits sort float32
    depths.
    """
    count = 0
    for i in range(len(box)):
        if box[i, 1] > box[i, 0]:
            count += 1
    depths = np.empty(count, np.float32)
    order = np.empty(count, np.int32)
    k = 0
    for i in range(len(box)):
        if box[i, 1] > box[i, 0]:
            depths[k] = projected[i, DEPTH]
            order[k] = i
            k += 1
    keys = depths.view(np.uint32)
    keys2, order2 = np.empty_like(keys), np.empty_like(order)
    for digit in range(3):
        shift = np.uint32(digit * _DIGIT_BITS)
        places = np.zeros(_BUCKETS + 1, np.int64)
        for k in range(count):
            places[((keys[k] >> shift) & np.uint32(_BUCKETS - 1)) + 1] += 1
        for b in range(_BUCKETS):
            places[b + 1] += places[b]
        for k in range(count):
            bucket = (keys[k] >> shift) & np.uint32(_BUCKETS - 1)
            keys2[places[bucket]] = keys[k]
            order2[places[bucket]] = order[k]
            places[bucket] += 1
        keys, keys2 = keys2, keys
        order, order2 = order2, order
    return order


@kernel
def bin_tiles(order, box, tiles_x, tiles_y):  # type: ignore[no-untyped-def]
    """The (tile, splat) pairs, grouped by tile, each group front to back.

    Returns ``starts`` (tiles + 1,) int64, where each tile's pairs begin; ``pairs`` (P,) int32,
    the splat of each; ``offsets`` (N + 1,) int64 and ``homes`` (P,) int32: numbered splat by
    splat, the pairs of splat i are ``offsets[i]`` .. ``offsets[i + 1] - 1``, and ``homes`` is that
    number for each of ``pairs``.
    """
    starts = np.zeros(tiles_x * tiles_y + 1, np.int64)
    offsets = np.zeros(len(box) + 1, np.int64)
    for i in range(len(box)):
        touched = 0
        if box[i, 1] > box[i, 0]:
            left, right = box[i, 0] // TILE_X, (box[i, 1] - 1) // TILE_X
            for row in range(box[i, 2] // TILE_Y, (box[i, 3] - 1) // TILE_Y + 1):
                for column in range(left, right + 1):
                    starts[row * tiles_x + column + 1] += 1
                    touched += 1
        offsets[i + 1] = offsets[i] + touched
    for tile in range(tiles_x * tiles_y):
        starts[tile + 1] += starts[tile]
    pairs = np.empty(offsets[-1], np.int32)
    homes = np.empty(offsets[-1], np.int32)
    places = starts[:-1].copy()
    for k in range(len(order)):
        i = order[k]
        slot = offsets[i]
        left, right = box[i, 0] // TILE_X, (box[i, 1] - 1) // TILE_X
        for row in range(box[i, 2] // TILE_Y, (box[i, 3] - 1) // TILE_Y + 1):
            for column in range(left, right + 1):
                place = places[row * tiles_x + column]
                pairs[place] = i
                homes[place] = slot
                places[row * tiles_x + column] += 1
                slot += 1
    return starts, pairs, offsets, homes

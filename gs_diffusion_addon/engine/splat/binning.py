"""Which splats each tile draws, front to back: a radix sort by depth, then a counting sort by
tile.

Both run on one thread while the others wait, so they are written against mispredicted branches:
a splat touches one to four tiles as it happens.
"""

from __future__ import annotations

import numpy as np

from .jit import DEPTH, TILE_X, TILE_Y, kernel

_DIGIT_BITS = 12
_BUCKETS = 1 << _DIGIT_BITS
_MOST = 2**31 - 1  # pairs; their gradients alone would take 77 GB


@kernel
def depth_order(projected, box):  # type: ignore[no-untyped-def]
    """Indices (V,) int32 of the drawn splats, nearest first; equal depths keep their order.

    Positive floats order as their bit patterns. Only the bits by which float32 depths differ at
    all are sorted, mostly in two passes.
    """
    depths = np.empty(len(box), np.float32)
    drawn = np.empty(len(box), np.int32)
    count = 0
    for i in range(len(box)):
        depths[count] = projected[i, DEPTH]
        drawn[count] = i
        count += box[i, 1] > box[i, 0]
    keys = depths.view(np.uint32)[:count]
    lowest, highest = keys.min() if count else np.uint32(0), keys.max() if count else np.uint32(0)
    items, items2 = np.empty(count, np.uint64), np.empty(count, np.uint64)
    for k in range(count):  # depth above, index below
        items[k] = np.uint64(keys[k] - lowest) << np.uint64(32) | np.uint64(drawn[k])
    places = np.empty(_BUCKETS, np.uint32)
    shift = np.uint64(32)
    span = np.uint64(highest - lowest)
    while span > 0:
        places[:] = 0
        for k in range(count):
            places[(items[k] >> shift) & np.uint64(_BUCKETS - 1)] += 1
        begin = np.uint32(0)
        for b in range(_BUCKETS):
            begin, places[b] = begin + places[b], begin
        for k in range(count):
            bucket = (items[k] >> shift) & np.uint64(_BUCKETS - 1)
            items2[places[bucket]] = items[k]
            places[bucket] += 1
        items, items2 = items2, items
        shift += np.uint64(_DIGIT_BITS)
        span >>= np.uint64(_DIGIT_BITS)
    return items.astype(np.int32)


@kernel
def bin_tiles(order, box, tiles_x, tiles_y):  # type: ignore[no-untyped-def]
    """The (tile, splat) pairs, grouped by tile, each group front to back.

    Returns ``starts`` (tiles + 1,) int64, where each tile's pairs begin; ``pairs`` (P,) int32,
    the splat of each; ``offsets`` (N + 1,) int64 and ``homes`` (P,) int32: numbered splat by
    splat, the pairs of splat i are ``offsets[i]`` .. ``offsets[i + 1] - 1``, and ``homes`` is that
    number for each of ``pairs``. Raises MemoryError for 2^31 pairs or more.
    """
    starts, offsets, spans = _counted(box, tiles_x, tiles_y)
    if offsets[-1] > _MOST:
        raise MemoryError("more pairs of tiles and splats than can be numbered")
    pairs = np.empty(offsets[-1], np.int32)
    homes = np.empty(offsets[-1], np.int32)
    places = starts[:-1].copy()
    for k in range(len(order)):
        i = order[k]
        tile, columns = spans[i, 0], spans[i, 1]
        column = 0
        for slot in range(offsets[i], offsets[i + 1]):
            place = places[tile]
            pairs[place] = i
            homes[place] = slot
            places[tile] = place + 1
            column += 1
            ended = column == columns  # of the splat's row of tiles
            tile += tiles_x - columns + 1 if ended else 1
            column = 0 if ended else column
    return starts, pairs, offsets, homes


@kernel
def _counted(box, tiles_x, tiles_y):  # type: ignore[no-untyped-def]
    """``starts`` and ``offsets`` of :func:`bin_tiles`; ``spans`` (N, 2) int32: each splat's first
    tile and how many columns of tiles it touches.

    A box adds one to all of its tiles: as marks at its four corners, whose sums along rows and
    columns are taken at the end.
    """
    marks = np.zeros((tiles_y + 1, tiles_x + 1), np.int64)
    offsets = np.zeros(len(box) + 1, np.int64)
    spans = np.empty((len(box), 2), np.int32)
    for i in range(len(box)):
        drawn = 1 if box[i, 1] > box[i, 0] else 0
        left, right = box[i, 0] // TILE_X, (box[i, 1] - drawn) // TILE_X + drawn
        top, bottom = box[i, 2] // TILE_Y, (box[i, 3] - drawn) // TILE_Y + drawn
        marks[top, left] += 1
        marks[top, right] -= 1
        marks[bottom, left] -= 1
        marks[bottom, right] += 1
        spans[i, 0], spans[i, 1] = top * tiles_x + left, right - left
        offsets[i + 1] = offsets[i] + (right - left) * (bottom - top)
    starts = np.zeros(tiles_x * tiles_y + 1, np.int64)
    for row in range(tiles_y):
        along = 0
        for column in range(tiles_x):
            along += marks[row, column]
            above = marks[row - 1, column] if row else 0
            marks[row, column] = above + along
            tile = row * tiles_x + column
            starts[tile + 1] = starts[tile] + above + along
    return starts, offsets, spans

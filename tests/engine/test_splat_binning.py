"""Which splats each tile draws, against numpy's sort and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from gs_diffusion_addon.engine.splat.binning import bin_tiles, depth_order
from gs_diffusion_addon.engine.splat.jit import DEPTH, PROJECTED, TILE_X, TILE_Y


def boxes(seed: int, count: int, width: int, height: int) -> np.ndarray:
    """Boxes of pixels of all sizes inside a picture; a third of them empty."""
    rng = np.random.default_rng(seed)
    sides = [np.sort(rng.integers(0, n, (count, 2)), 1) + np.array([0, 1]) for n in (width, height)]
    return np.where(rng.random((count, 1)) < 0.3, 0, np.hstack(sides)).astype(np.int32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("depths", ["wide", "near each other", "equal", "few"])
def test_order_is_numpys_stable_sort(depths, dtype):
    rng = np.random.default_rng(0)
    z = {
        "wide": np.exp(rng.uniform(-20, 20, 5000)),
        "near each other": 3 + 1e-4 * rng.random(5000),
        "equal": np.full(50, 0.7),
        "few": np.array([2.0, 1.0]),
    }[depths]
    projected = np.zeros((len(z), PROJECTED), dtype)
    projected[:, DEPTH] = z
    box = boxes(1, len(z), 90, 70)
    drawn = np.flatnonzero(box[:, 1] > box[:, 0])
    order = depth_order(projected, box)
    assert order.dtype == np.int32
    assert order.tolist() == drawn[np.argsort(np.float32(z[drawn]), kind="stable")].tolist()


def test_order_of_nothing_is_empty():
    projected, box = np.ones((9, PROJECTED), np.float32), np.zeros((9, 4), np.int32)
    for count in (0, 9):
        order = depth_order(projected[:count], box[:count])
        assert order.shape == (0,)
        starts, pairs, offsets, homes = bin_tiles(order, box[:count], 2, 3)
        assert starts.tolist() == [0] * 7 and offsets.tolist() == [0] * (count + 1)
        assert pairs.shape == homes.shape == (0,)


@pytest.mark.parametrize("size", [(100, 70), (32, 16), (5, 300), (257, 33)])
def test_tiles_get_what_overlaps_them_front_to_back(size):
    width, height = size
    tiles_x, tiles_y = -(-width // TILE_X), -(-height // TILE_Y)
    box = boxes(width, 400, width, height)
    order = np.random.default_rng(2).permutation(np.flatnonzero(box[:, 1] > box[:, 0]))
    order = order.astype(np.int32)
    starts, pairs, offsets, homes = bin_tiles(order, box, tiles_x, tiles_y)
    for tile in range(tiles_x * tiles_y):
        x, y = tile % tiles_x * TILE_X, tile // tiles_x * TILE_Y
        inside = (box[:, 0] < x + TILE_X) & (box[:, 1] > x)
        inside &= (box[:, 2] < y + TILE_Y) & (box[:, 3] > y)
        assert pairs[starts[tile] : starts[tile + 1]].tolist() == [i for i in order if inside[i]]
    assert starts[-1] == offsets[-1] == len(pairs)
    assert sorted(homes) == list(range(len(pairs)))
    assert ((offsets[pairs] <= homes) & (homes < offsets[pairs + 1])).all()


def test_more_pairs_than_can_be_numbered_are_refused():
    tiles = 256
    box = np.tile(np.int32([0, tiles * TILE_X, 0, tiles * TILE_Y]), (40000, 1))
    with pytest.raises(MemoryError):
        bin_tiles(np.arange(len(box), dtype=np.int32), box, tiles, tiles)

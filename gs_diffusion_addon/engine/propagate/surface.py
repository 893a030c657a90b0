"""The surface that the keys see, as a graph of points, and values carried between it and the keys.

Decisions about the model's look (which key paints which part, how brightness is levelled) are made
on surface points, since only then do all frames agree. A node is what falls into one cell of a
grid, apart by the side its normal points to, so the two faces of a thin part are never mixed. Nodes
come from the keys' own depth: whatever renders has them, curves and hair included, and a pixel
finds its nodes by arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ..guides import View

CELL = 2.5  # a cell's side in pixels' world size, in a picture of 512 x 512
MOST_CELLS = 30_000_000  # of the grid's box; coarser cells beyond that
REACH = 1.6  # cells between two nodes that are neighbors
SAME_SIDE = 0.2  # cosine between the normals of two neighbors, at least

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Surface:
    """Nodes on the surface. Positions are in cells, from the grid's lowest corner.

    ``position``, ``normal``: (N, 3) float32. ``first``: (N + 1,) and ``neighbor``: (E,) int32, the
    neighbors of node i being ``neighbor[first[i]:first[i + 1]]``. ``grid``: (nx, ny, nz) int32, a
    cell's first node or -1; ``cell``: (N,) int64, the flat number of each node's cell, ascending.
    ``places``: for each key the (P, 3) positions, (P, 3) normals (turned to the key) and (P,) flat
    pixel numbers of what it sees; ``nodes``: for each key the (P,) node of these.
    """

    position: Floats
    normal: Floats
    first: Ints
    neighbor: Ints
    grid: Ints
    cell: npt.NDArray[np.int64]
    places: tuple[tuple[Floats, Floats, Ints], ...]
    nodes: tuple[Ints, ...]

    @property
    def count(self) -> int:
        """The number of nodes."""
        return len(self.position)


def build(views: Sequence[View]) -> Surface:
    """The surface that ``views`` see; at least one of them must see something."""
    middle = np.mean([v.camera.position for v in views], axis=0)
    seen = [_points(v, middle) for v in views]
    size = _cell_size(views, seen)
    low = np.min([p.min(0) for p, _, _ in seen if len(p)], axis=0) - size
    high = np.max([p.max(0) for p, _, _ in seen if len(p)], axis=0) + size
    size = max(size, float((np.prod(high - low) / MOST_CELLS) ** (1 / 3)))
    shape = np.ceil((high - low) / size).astype(np.int64) + 1
    places = tuple((((p - low) / size).astype(np.float32), n, at) for p, n, at in seen)
    codes = [_code(p, n, shape) for p, n, _ in places]
    unique, nodes = np.unique(np.concatenate(codes), return_inverse=True)
    nodes = nodes.astype(np.int32)
    number = len(unique)
    count = np.bincount(nodes, minlength=number)
    position = _sums(nodes, np.concatenate([p for p, _, _ in places]), number) / count[:, None]
    normal = _sums(nodes, np.concatenate([n for _, n, _ in places]), number)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    cell = unique // 6
    grid = np.full(int(np.prod(shape)), -1, np.int32)
    grid[cell[::-1]] = np.arange(number, dtype=np.int32)[::-1]  # the first of a cell wins
    grid = grid.reshape(tuple(int(s) for s in shape))
    position, normal = position.astype(np.float32), normal.astype(np.float32)
    first, neighbor = _neighbors(position, normal, grid, cell)
    borders = np.cumsum([len(c) for c in codes])[:-1]
    return Surface(
        position, normal, first, neighbor, grid, cell, places, tuple(np.split(nodes, borders))
    )


def _points(view: View, middle: npt.NDArray[np.float64]) -> tuple[Floats, Floats, Ints]:
    """World positions less ``middle``, normals turned to the camera, flat pixel numbers."""
    c = view.camera
    at = np.flatnonzero(view.mask).astype(np.int32)
    y, x = np.divmod(at, c.width)
    z = view.depth.ravel()[at]
    local = np.stack([(x + 0.5 - c.cx) / c.fl_x * z, -(y + 0.5 - c.cy) / c.fl_y * z, -z], -1)
    # The small difference of two places first: float32 keeps it however far away the model is.
    turned = local.astype(np.float32) @ c.matrix[:3, :3].T.astype(np.float32)
    position = turned + (c.position - middle).astype(np.float32)
    normal = view.normal.reshape(-1, 3)[at]
    away = np.einsum("pc,pc->p", normal, turned) > 0
    return position, np.where(away[:, None], -normal, normal), at


def _cell_size(views: Sequence[View], seen: Sequence[tuple[Floats, Floats, Ints]]) -> float:
    pixels = [
        float(np.median(v.depth.ravel()[at])) / min(v.camera.fl_x, v.camera.fl_y)
        for v, (_, _, at) in zip(views, seen, strict=True)
        if len(at)
    ]
    h, w = views[0].depth.shape
    return CELL * float(np.median(pixels)) * max(1.0, (h * w) ** 0.5 / 512)


def _code(position: Floats, normal: Floats, shape: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The flat cell number times 6 plus the side the normal points to."""
    cell = position.astype(np.int64)
    flat = (cell[:, 0] * shape[1] + cell[:, 1]) * shape[2] + cell[:, 2]
    axis = np.abs(normal).argmax(1)
    positive = np.take_along_axis(normal, axis[:, None], 1)[:, 0] > 0
    return flat * 6 + axis * 2 + positive


def _sums(nodes: Ints, values: Floats, count: int) -> npt.NDArray[np.float64]:
    """(count, C) sums of (P, C) ``values`` by node."""
    return np.stack([np.bincount(nodes, v, count) for v in values.T], -1)


@njit(nogil=True, cache=True)
def _neighbors(
    position: Floats, normal: Floats, grid: Ints, cell: npt.NDArray[np.int64]
) -> tuple[Ints, Ints]:
    """(first, neighbor) of the graph; the relation is symmetric, neighbors ascend."""
    count = len(position)
    first = np.zeros(count + 1, np.int32)
    neighbor = np.empty(0, np.int32)
    nx, ny, nz = grid.shape
    for fill in range(2):
        if fill:
            neighbor = np.empty(first[count], np.int32)
        total = 0
        for a in range(count):
            first[a] = total
            i, j, k = int(position[a, 0]), int(position[a, 1]), int(position[a, 2])
            for ii in range(max(i - 1, 0), min(i + 2, nx)):
                for jj in range(max(j - 1, 0), min(j + 2, ny)):
                    for kk in range(max(k - 1, 0), min(k + 2, nz)):
                        b = grid[ii, jj, kk]
                        if b < 0:
                            continue
                        home = cell[b]
                        while b < count and cell[b] == home:
                            distance = np.float32(0)
                            cosine = np.float32(0)
                            for c in range(3):
                                distance += (position[a, c] - position[b, c]) ** 2
                                cosine += normal[a, c] * normal[b, c]
                            if b != a and distance < REACH**2 and cosine > SAME_SIDE:
                                if fill:
                                    neighbor[total] = b
                                total += 1
                            b += 1
        first[count] = total
    return first, neighbor


def gather(surface: Surface, key: int, values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """A key's picture on the nodes: weighted means (N, C) of (h, w, C), and weight sums (N,)."""
    at, nodes = surface.places[key][2], surface.nodes[key]
    chosen = weights.ravel()[at]
    total = np.bincount(nodes, chosen, surface.count)
    flat = values.reshape(-1, values.shape[-1])[at]
    sums = _sums(nodes, flat * chosen[:, None], surface.count)
    return (sums / np.maximum(total, 1e-12)[:, None]).astype(np.float32), total.astype(np.float32)


def spread(surface: Surface, key: int, values: Floats, shape: tuple[int, int]) -> Floats:
    """Node values (N, C) interpolated at a key's pixels: (h, w, C) float32, 0 off the model."""
    position, normal, at = surface.places[key]
    out = np.zeros((shape[0] * shape[1], values.shape[1]), np.float32)
    own = surface.nodes[key]
    _spread(
        position,
        normal,
        at,
        own,
        surface.normal,
        surface.grid,
        surface.cell,
        np.ascontiguousarray(values, np.float32),
        out,
    )
    return out.reshape(*shape, -1)


@njit(nogil=True, cache=True)
def _spread(
    position: Floats,
    normal: Floats,
    at: Ints,
    own: Ints,
    node_normal: Floats,
    grid: Ints,
    cell: npt.NDArray[np.int64],
    values: Floats,
    out: Floats,
) -> None:
    """Trilinear over the cells around each point, of nodes whose normals point the same way."""
    count, channels = values.shape
    nx, ny, nz = grid.shape
    for p in range(len(at)):
        x, y, z = position[p, 0] - 0.5, position[p, 1] - 0.5, position[p, 2] - 0.5
        i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        s, t, r = x - i, y - j, z - k
        total = np.float32(0)
        to = at[p]
        for corner in range(8):
            ii, jj, kk = i + (corner & 1), j + ((corner >> 1) & 1), k + (corner >> 2)
            if ii < 0 or jj < 0 or kk < 0 or ii >= nx or jj >= ny or kk >= nz:
                continue
            b = grid[ii, jj, kk]
            if b < 0:
                continue
            share = s if corner & 1 else 1 - s
            share *= t if corner & 2 else 1 - t
            share *= r if corner & 4 else 1 - r
            home = cell[b]
            while b < count and cell[b] == home:
                cosine = np.float32(0)
                for c in range(3):
                    cosine += normal[p, c] * node_normal[b, c]
                if cosine > SAME_SIDE:
                    weight = np.float32(share) * cosine
                    total += weight
                    for c in range(channels):
                        out[to, c] += weight * values[b, c]
                b += 1
        if total > 1e-6:
            for c in range(channels):
                out[to, c] /= total
        else:
            for c in range(channels):
                out[to, c] = values[own[p], c]


def smooth(surface: Surface, values: Floats, steps: int) -> Floats:
    """(N, C) averaged with the neighbors' ``steps`` times."""
    current = np.ascontiguousarray(values, np.float32)
    for _ in range(steps):
        current = _average(surface.first, surface.neighbor, current)
    return current


@njit(nogil=True, cache=True, fastmath=True)
def _average(first: Ints, neighbor: Ints, values: Floats) -> Floats:
    count, channels = values.shape
    out = np.empty_like(values)
    for a in range(count):
        for c in range(channels):
            out[a, c] = values[a, c]
        for e in range(first[a], first[a + 1]):
            b = neighbor[e]
            for c in range(channels):
                out[a, c] += values[b, c]
        scale = np.float32(1) / (first[a + 1] - first[a] + 1)
        for c in range(channels):
            out[a, c] *= scale
    return out

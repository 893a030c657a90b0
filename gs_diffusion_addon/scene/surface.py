"""Points spread evenly over the model's surface, where the splat's training starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.ply import Points
from .evaluated import Part

GRAY = 128


def sample_surface(parts: Sequence[Part], count: int, seed: int) -> Points | None:
    """``count`` points with unit normals, drawn in proportion to area in the world; None without
    any area.

    All copies of a mesh count. Normals are the interpolated shading normals in world axes; points
    are gray. The same parts, count and seed give the same points.
    """
    placed = [(part, matrix) for part in parts if len(part.triangles) for matrix in part.matrices]
    areas = [_areas(part, matrix) for part, matrix in placed]
    totals = np.array([float(a.sum()) for a in areas])
    if not totals.sum() > 0:
        return None
    rng = np.random.default_rng(seed)
    # Stratified along the running total, so that small parts get their share too.
    shares = (np.arange(count) + rng.random(count)) / count * totals.sum()
    ends = np.cumsum(totals)
    owner = np.minimum(np.searchsorted(ends, shares, side="right"), len(ends) - 1)
    positions, normals = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    for k in np.unique(owner):
        mine = np.nonzero(owner == k)[0]
        offsets = shares[mine] - (ends[k] - totals[k])
        positions[mine], normals[mine] = _draw(*placed[k], areas[k], offsets, rng)
    return Points(positions, normals, np.full((count, 3), GRAY, np.uint8))


def _corners(part: Part, matrix: np.ndarray) -> np.ndarray:
    """(T, 3, 3) float64: the triangles' corners in the world."""
    points = part.vertices.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    return points[part.triangles]


def _areas(part: Part, matrix: np.ndarray) -> np.ndarray:
    corners = _corners(part, matrix)
    edges = corners[:, 1:] - corners[:, :1]
    return 0.5 * np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)


def _draw(
    part: Part, matrix: np.ndarray, areas: np.ndarray, offsets: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A point and normal for each offset into the running total of the triangles' areas."""
    ends = np.cumsum(areas)
    chosen = np.minimum(np.searchsorted(ends, offsets, side="right"), len(ends) - 1)
    # Uniform barycentric coordinates: Osada et al., "Shape Distributions", 2002, section 4.2.
    root, v = np.sqrt(rng.random(len(chosen))), rng.random(len(chosen))
    weights = np.stack([1 - root, root * (1 - v), root * v], axis=1)
    points = np.einsum("nk,nkd->nd", weights, _corners(part, matrix)[chosen])
    own = np.einsum("nk,nkd->nd", weights, part.normals[chosen].astype(np.float64))
    # Normals go with the cofactor matrix, which is right for any scale, flat ones included.
    a = matrix[:3, :3]
    cofactor = np.stack([np.cross(a[1], a[2]), np.cross(a[2], a[0]), np.cross(a[0], a[1])])
    normals = own @ cofactor.T * (1.0 if np.linalg.det(a) >= 0 else -1.0)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return points, np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)

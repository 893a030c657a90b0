"""How big the model is and where the cameras stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.cameras import Array
from ..core.errors import InputError
from .evaluated import Part

MOST_POINTS = 5_000_000
"""More vertices than this in all copies of one mesh are replaced by their bounding box's corners.
"""


@dataclass(frozen=True, eq=False)
class Bounds:
    """A sphere around the model: ``center`` (3,) float64 in the world, ``radius`` in meters."""

    center: Array
    radius: float


def bounding_sphere(parts: Sequence[Part]) -> Bounds:
    """The sphere around the middle of the model's bounding box that just holds all its points.

    Raises InputError if the model is a single point or has no finite size.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for part in parts:
        points = _reduced(part)
        for matrix in part.matrices:
            placed = points @ matrix[:3, :3].T + matrix[:3, 3]
            low, high = np.minimum(low, placed.min(0)), np.maximum(high, placed.max(0))
    center = 0.5 * (low + high)
    squared = 0.0
    for part in parts:
        points = _reduced(part)
        for matrix in part.matrices:
            placed = points @ matrix[:3, :3].T + (matrix[:3, 3] - center)
            squared = max(squared, float(np.einsum("ij,ij->i", placed, placed).max()))
    radius = float(np.sqrt(squared))
    if not np.isfinite(radius) or not np.isfinite(center).all():
        raise InputError("The model has points at infinity; repair its mesh or modifiers.")
    if radius <= 0:
        raise InputError("The model has no size: all its points are in one place.")
    return Bounds(center, radius)


def _reduced(part: Part) -> Array:
    """Points with the same bounds: all vertices, or the box's corners of very many."""
    points = part.vertices.astype(np.float64)
    if len(points) * len(part.matrices) <= MOST_POINTS:
        return points
    ends = np.stack([points.min(0), points.max(0)])
    grid = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    corners: Array = ends[grid, np.arange(3)]
    return corners

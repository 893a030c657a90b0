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

DIRECTIONS = 512
"""Directions in which outermost points are looked for: 5 degrees apart, so that what lies farther
out between them is less than 0.2 % of the radius.
"""

CHUNK = 65536  # points looked at at once, to bound the memory

LEAST_STEPS = 64
"""Blender's places are float32: far from the origin they lie on a lattice. A model whose radius is
fewer of its steps than this has no shape left.
"""


@dataclass(frozen=True, eq=False)
class Bounds:
    """How big the model is.

    ``center`` (3,) float64 in the world and ``radius`` in meters of a sphere around it;
    ``extremes`` (N, 3) float64: the model's outermost points, relative to the center.
    """

    center: Array
    radius: float
    extremes: Array


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
    squared, directions, outer = 0.0, _directions(DIRECTIONS), np.zeros((0, 3))
    for part in parts:
        points = _reduced(part)
        for matrix in part.matrices:
            placed = points @ matrix[:3, :3].T + (matrix[:3, 3] - center)
            squared = max(squared, float(np.einsum("ij,ij->i", placed, placed).max()))
            outer = _extremes(np.concatenate([outer, placed]), directions)
    radius = float(np.sqrt(squared))
    if not np.isfinite(radius) or not np.isfinite(center).all():
        raise InputError("The model has points at infinity; repair its mesh or modifiers.")
    if radius <= 0:
        raise InputError("The model has no size: all its points are in one place.")
    if radius < LEAST_STEPS * lattice(center):
        raise InputError(
            f"The model is {2 * radius:.3g} m big but {np.linalg.norm(center):.3g} m away from the "
            f"world's origin, where Blender's numbers are {lattice(center):.1g} m apart; move it "
            "to the origin."
        )
    return Bounds(center, radius, outer)


def lattice(place: Array) -> float:
    """The distance in meters between neighboring float32 numbers at ``place`` (3,), at its largest
    coordinate.
    """
    return float(np.spacing(np.float32(np.abs(place).max())))


def _directions(count: int) -> Array:
    """(count, 3) unit vectors, evenly spread over the sphere (a Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    height, turn = 1 - 2 * k / count, np.pi * (1 + np.sqrt(5)) * k
    flat = np.sqrt(1 - height * height)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)


def _extremes(points: Array, directions: Array) -> Array:
    """The points farthest out in each direction: the corners of nearly the convex hull."""
    best = np.full(len(directions), -np.inf)
    chosen = np.zeros(len(directions), np.int64)
    for first in range(0, len(points), CHUNK):
        reach = points[first : first + CHUNK] @ directions.T
        winner = reach.argmax(0)
        value = reach[winner, np.arange(len(directions))]
        better = value > best
        best[better], chosen[better] = value[better], first + winner[better]
    extremes: Array = points[np.unique(chosen)]
    return extremes


def _reduced(part: Part) -> Array:
    """Points with the same bounds: all vertices, or the box's corners of very many."""
    points = part.vertices.astype(np.float64)
    if len(points) * len(part.matrices) <= MOST_POINTS:
        return points
    ends = np.stack([points.min(0), points.max(0)])
    grid = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    corners: Array = ends[grid, np.arange(3)]
    return corners

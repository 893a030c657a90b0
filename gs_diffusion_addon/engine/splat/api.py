"""The trainer as a library: ``train(dataset, settings)`` and ``rasterize(...)``; see
docs/trainer-api.md.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.ply import Points, Splats
from ...core.settings import Settings
from . import training
from .backends import processor
from .dataset import Dataset, Picture, World, load_any
from .initialize import from_points, from_silhouettes
from .rasterizer import Rendering, View, rasterize
from .runtime import use_threads
from .training import Recipe, Status

__all__ = [
    "Dataset", "Picture", "Recipe", "Rendering", "Status", "View", "World",
    "load_any", "rasterize", "recipe_of", "train",
]  # fmt: skip


def recipe_of(settings: Settings) -> Recipe:
    """The trainer's parameters that settings stand for."""
    return Recipe(
        steps=settings.train_steps,
        most_splats=settings.max_splats,
        seed=settings.seed,
    )


def train(
    dataset: Dataset,
    settings: Settings,
    points: Points | None = None,
    report: Callable[[Status], None] | None = None,
) -> Splats:
    """Train splats, in the data set's world, on the processor.

    They start on ``points`` (world positions; normals may be zero), else inside the silhouettes.
    The same data, settings and points give the same splats, bit for bit. Raises StageError for a
    training that comes to nothing.
    """
    use_threads(settings.threads)
    backend, _ = processor()
    count, degree, seed = settings.first_splats, settings.sh_degree, settings.seed

    def first() -> Splats:
        if points is not None and len(points.positions):
            return from_points(points, dataset.world, count, degree, seed)
        return from_silhouettes(dataset.train, dataset.world, count, degree, seed)

    tell = report or (lambda status: None)
    local = training.train(dataset, first, recipe_of(settings), backend, tell)
    return dataset.world.splats_out(local)

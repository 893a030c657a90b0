"""The same training with gsplat's CUDA rasterizer; see :mod:`..splat.gsplat_backend` for its
standing.
"""

from __future__ import annotations

from ...core.errors import MissingError
from ...core.events import Emit
from ...core.ply import Splats
from ...core.run import Run
from ...core.settings import Settings
from ..splat import gsplat_backend
from ..splat.backends import gsplat
from .session import train_run


def problem() -> str | None:
    """Why gsplat cannot be used here, as a sentence; None if it can."""
    return gsplat_backend.problem()


def check(settings: Settings) -> None:
    """Raise MissingError where gsplat cannot draw."""
    reason = problem()
    if reason:
        raise MissingError(f"{reason} Use --trainer builtin, which needs no GPU.")


def train(run: Run, settings: Settings, emit: Emit) -> Splats:
    """Train on the GPU; raises MissingError where gsplat cannot draw."""
    check(settings)
    return train_run(run, settings, emit, gsplat(settings.strategy))

"""What is restyled: the frames' pictures, and the plain color behind them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...core.errors import InputError
from ..images import GRAY, Bytes, read_rgba
from .collage import Layout

Color = tuple[float, float, float]


def backdrop(sources: Iterable[Bytes]) -> Color:
    """The plain color behind ``sources`` ((H, W, 4) uint8): halfway from gray to their mean."""
    total, weight = np.zeros(3), 0.0
    for rgba in sources:
        alpha = rgba[..., 3].astype(np.float64) / 255
        total += np.einsum("hwc,hw->c", rgba[..., :3].astype(np.float64) / 255, alpha)
        weight += float(alpha.sum())
    color = np.array(GRAY) if weight == 0 else (total / weight + GRAY) / 2
    red, green, blue = (round(float(c), 4) for c in color)
    return red, green, blue


def checked(path: Path, layout: Layout) -> Bytes:
    """Read a source (H, W, 4) uint8 of the layout's frame size. Raises InputError."""
    rgba = read_rgba(path)
    if rgba.shape[:2] != (layout.height, layout.width):
        raise InputError(
            f"{path} has {rgba.shape[1]}x{rgba.shape[0]} pixels, the first frame "
            f"{layout.width}x{layout.height}."
        )
    return rgba

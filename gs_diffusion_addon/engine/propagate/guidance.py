"""What patch synthesis is guided by: pictures of the unstyled frame and of Blender's geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ...core.run import Run
from ..guides import View
from ..images import read_on_black, to_bytes
from .synthesis import stack

WEIGHTS = {"color": 2.0, "position": 4.0, "normal": 1.0, "edge": 0.5}
LAST = 2.0

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def extent(views: Sequence[View]) -> tuple[npt.NDArray[np.float64], float]:
    """Middle and longest side of the box around all that ``views`` see, in meters."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for view in views:
        points = world(view)[view.mask]
        if len(points):
            low, high = np.minimum(low, points.min(0)), np.maximum(high, points.max(0))
    if not np.isfinite(low).all():
        return np.zeros(3), 1.0
    return (low + high) / 2, max(float((high - low).max()), 1e-12)


def world(view: View) -> npt.NDArray[np.float64]:
    """(h, w, 3) world positions; the camera's own place where nothing is seen."""
    h, w = view.depth.shape
    y, x = np.mgrid[0:h, 0:w] + 0.5
    return view.camera.unproject(np.stack([x, y], -1), np.where(view.mask, view.depth, 0))


def position_guide(view: View, middle: npt.NDArray[np.float64], size: float) -> Bytes:
    """(h, w, 3) uint8: the place on the model, its box mapped to 0..255; black off it."""
    place = (world(view) - middle) / size + 0.5
    return np.where(view.mask[..., None], to_bytes(place), 0).astype(np.uint8)


def normal_guide(view: View) -> Bytes:
    """(h, w, 3) uint8: the world normal mapped to 0..255; black off the model."""
    return np.where(view.mask[..., None], to_bytes(view.normal / 2 + 0.5), 0).astype(np.uint8)


def edge_guide(color: Bytes) -> Bytes:
    """(h, w, 1) uint8: how much the gray picture differs from its surroundings."""
    gray = color.astype(np.float32).mean(-1)
    return np.clip(4 * np.abs(gray - ndimage.gaussian_filter(gray, 2)), 0, 255).astype(np.uint8)[
        ..., None
    ]


def unstyled(run: Run, number: int) -> Bytes:
    """What is restyled, (h, w, 3) uint8 on black."""
    return read_on_black(run.source(number))


def stacked(
    color: Bytes,
    view: View,
    style: Bytes,
    middle: npt.NDArray[np.float64],
    size: float,
    last: Bytes | None = None,
) -> Floats:
    """A frame's stack (h, w, 16) for the synthesis: ``style`` and all guides of ``color``, the
    unstyled frame. ``last`` is one more guide, a picture of the frame as it is expected to be.
    """
    guides = {
        "color": color,
        "position": position_guide(view, middle, size),
        "normal": normal_guide(view),
        "edge": edge_guide(color),
    }
    weighted = [(guides[name], weight) for name, weight in WEIGHTS.items()]
    return stack(style, weighted if last is None else [*weighted, (last, LAST)])

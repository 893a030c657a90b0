"""Keyframes one after the other, each started from what the finished ones show of its surface.

The finished keys are reprojected into the next one on the exact geometry. Where they see its
surface well, their colors stay; only what none of them sees, or sees too obliquely, is repainted.
So keys agree before any propagation, with whatever stylizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..guides import View, feather_map
from ..images import Bytes, to_bytes
from ..propagate import kernel
from ..propagate.reproject import crispened, solid
from ..propagate.weave import facing

SHARPNESS = 8.0  # how strongly a point takes its color from the key that faces it
LEAST_COSINE = 0.35  # seen more obliquely than this, a surface is repainted
SOFT = 3.0  # px over which kept and repainted colors are blended, in a picture of 512 x 512

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Key:
    """A finished key: its geometry, ``color`` (h, w, 3) uint8, and ``weight`` (h, w) float32 of
    0..1, how well it shows each pixel.
    """

    view: View
    color: Bytes
    weight: Floats


def order(frames: Sequence[int], views: int) -> list[int]:
    """``frames`` in the order in which each has most to go by.

    Ring 0 (frames below ``views``) first, from the front to both sides in turn and to the back
    last, where both sides meet; then the further rings as they come.
    """

    def turned(k: int) -> tuple[int, int]:
        return min(k, views - k), k

    ring = sorted((k for k in frames if k < views), key=turned)
    return [*ring, *(k for k in frames if k >= views)]


def start_from(
    source: Bytes, view: View, keys: Sequence[Key]
) -> tuple[Bytes, npt.NDArray[np.float32]]:
    """The next key's start (h, w, 3) uint8, and how much of each pixel is kept (h, w) of 0..1.

    ``source``: the unstyled picture (h, w, 3) uint8, shown where no key sees the surface. The
    background is kept: nothing is there to restyle.
    """
    if not keys:
        return source, np.zeros(view.depth.shape, np.float32)
    pictures = kernel.Pictures.of([k.view for k in keys], np.stack([k.color for k in keys]))
    canvas = kernel.Canvas.blank(view.depth.shape)  # type: ignore[arg-type]
    kernel.paint(canvas, view, pictures, np.stack([k.weight for k in keys]))
    # Weights are cos^SHARPNESS x feather and add up, so this is a mean cosine.
    well = (canvas.total ** (1 / SHARPNESS) > LEAST_COSINE) & view.mask
    keep = _softened(well | ~_near(view.mask), view.depth.shape)
    start = np.where(canvas.label[..., None] >= 0, to_bytes(canvas.color), source)
    return start, keep


def finish(start: Bytes, styled: Bytes, keep: Floats) -> Bytes:
    """The finished key (h, w, 3) uint8: ``start`` where it is kept, ``styled`` elsewhere."""
    share = keep[..., None]
    return (start * share + styled * (1 - share) + 0.5).astype(np.uint8)


def _near(mask: Mask) -> Mask:
    """The model and a rim around it: brushes may cross the silhouette."""
    return np.asarray(ndimage.binary_dilation(mask, iterations=2))


def _softened(kept: Mask, shape: tuple[int, ...]) -> Floats:
    """1 inside ``kept``, falling to 0 toward its border, so that seams are blended inside it."""
    width = max(1.0, SOFT * (shape[0] * shape[1]) ** 0.5 / 512)
    distance = ndimage.distance_transform_edt(kept)
    soft: Floats = np.clip(distance / width, 0, 1).astype(np.float32)
    return soft


def key_of(view: View, picture: Bytes) -> Key:
    """A finished key, ready to be reprojected."""
    weight = facing(view) ** np.float32(SHARPNESS) * feather_map(view)
    return Key(view, crispened(picture, solid(view)), weight)

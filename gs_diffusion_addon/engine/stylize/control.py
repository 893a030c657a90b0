"""Control images for ControlNet out of Blender's own passes: exact where others estimate.

ControlNet models were trained on what estimators make of photographs; the encodings here are
theirs (ControlNet 1.1's), in 8-bit RGB, since servers cut 16-bit pictures to their low byte:

* depth: inverse depth, affinely normalized, near is white. One near and far for all views, or the
  same surface would change its gray from view to view;
* normal (normalbae): camera space with x to the right, y up, z to the camera; "blue is front, red
  is left, green is top", so red is (1 - x) / 2;
* canny: the classic detector on the picture itself; lines: silhouettes, depth steps and creases of
  the geometry, whatever the light; both white on black;
* seg, materials: one flat color an object or a material, out of the ADE20K palette that
  segmentation models know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from ...core.a1111_control import Unit
from ...core.errors import InputError
from ..guides import View, depth_edges, eroded
from ..images import Bytes, resized, to_bytes
from .collage import Layout, Page, compose

FAR_GRAY = 0.1  # gray of the farthest surface: the background is black and must stay apart
CREASE = 25.0  # degrees between the normals of neighboring pixels that make a line
WRONG_SIDE = -0.25  # cosine from which on a normal points into the surface and is turned

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

NORMAL_BACKGROUND = (128, 128, 255)
BLACK = (0, 0, 0)
# ADE20K's colors of wall, then of things that stand out against it and each other.
PALETTE = (
    (120, 120, 120), (150, 5, 61), (4, 200, 3), (0, 102, 200), (255, 255, 0), (204, 5, 255),
    (255, 6, 82), (61, 230, 250), (143, 255, 140), (255, 51, 7), (204, 70, 3), (11, 102, 255),
    (235, 255, 7), (80, 50, 50), (224, 5, 255), (8, 255, 51),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Passes:
    """One frame's geometry: its :class:`View`, and the numbers (h, w) int of object and material,
    0 for none; no materials in guides of old runs.
    """

    view: View
    index: npt.NDArray[np.int32]
    material: npt.NDArray[np.int32] | None = None


# --- encodings ------------------------------------------------------------------------------------


def depth_range(views: Iterable[View]) -> tuple[float, float]:
    """Nearest and farthest planar depth of any surface in ``views``, in meters.

    Raises InputError if none shows anything.
    """
    near, far = np.inf, 0.0
    for view in views:
        if view.mask.any():
            depth = view.depth[view.mask]
            near, far = min(near, float(depth.min())), max(far, float(depth.max()))
    if not far:
        raise InputError("No keyframe shows the model, so there is no depth to control with.")
    return near, far


def depth_image(view: View, near: float, far: float) -> Bytes:
    """(h, w, 3) uint8: white at ``near``, FAR_GRAY at ``far``, black where there is nothing."""
    nearest, farthest = 1 / near, 1 / far
    span = max(nearest - farthest, 1e-12)
    share = np.clip((1 / np.maximum(view.depth, 1e-12) - farthest) / span, 0, 1)
    gray = np.where(view.mask, FAR_GRAY + (1 - FAR_GRAY) * share, 0)
    return _three(to_bytes(gray))


def camera_normals(view: View) -> Floats:
    """(h, w, 3) float32, in the camera's OpenGL axes, on the side that the camera sees."""
    h, w = view.depth.shape
    local = view.normal @ view.camera.matrix[:3, :3].astype(np.float32)
    c = view.camera
    x = (np.arange(w, dtype=np.float32) + 0.5 - c.cx) / c.fl_x
    y = -(np.arange(h, dtype=np.float32) + 0.5 - c.cy) / c.fl_y
    length = np.sqrt(x[None, :] ** 2 + y[:, None] ** 2 + 1)
    facing = (local[..., 2] - local[..., 0] * x[None, :] - local[..., 1] * y[:, None]) / length
    turned: Floats = np.where((facing < WRONG_SIDE)[..., None], -local, local)
    return turned


def normal_image(view: View) -> Bytes:
    """(h, w, 3) uint8 in the convention of normalbae."""
    normal = camera_normals(view) * np.array([-1, 1, 1], np.float32)
    shown = to_bytes((1 + normal) / 2)
    return np.where(view.mask[..., None], shown, np.array(NORMAL_BACKGROUND, np.uint8))


def lines_image(view: View) -> Bytes:
    """(h, w, 3) uint8: the geometry's own edges, white on black."""
    lines = view.mask & ~eroded(view.mask, 1)
    lines |= depth_edges(view.depth, view.camera.fl_x) & view.mask
    sharp = np.cos(np.radians(CREASE))
    for axis in (0, 1):
        a, b = _neighbors(view.normal, axis)
        inside_a, inside_b = _neighbors(view.mask, axis)
        first, _ = _neighbors(lines, axis)
        first |= inside_a & inside_b & (np.einsum("hwc,hwc->hw", a, b) < sharp)
    return _three(np.where(lines, 255, 0).astype(np.uint8))


def seg_image(index: npt.NDArray[np.int32]) -> Bytes:
    """(h, w, 3) uint8: the palette's color of each object."""
    colors = np.array(PALETTE, np.uint8)
    place = np.where(index > 0, (index - 1) % (len(colors) - 1) + 1, 0)
    return colors[place]


def material_index(passes: Passes) -> npt.NDArray[np.int32]:
    """(h, w) int: 0 in the background, 1 where a surface has no material, then the materials.

    Raises InputError for a guide that was rendered without them.
    """
    if passes.material is None:
        raise InputError(
            "The guides of this run do not tell materials apart (those of a main folder never do), "
            "so --control materials cannot be used; use --control seg, or start a new run."
        )
    return np.where(passes.view.mask, passes.material + 1, 0).astype(np.int32)


def canny(picture: Bytes, low: float, high: float) -> Bytes:
    """Edges of (h, w, 3) uint8, white on black (h, w, 3) uint8.

    Canny's detector as OpenCV's defaults have it: 3 x 3 Sobel, |dx| + |dy| of the channel where
    it is largest, thinned across the edge, kept above ``low`` where connected to ``high``.
    """
    channels = [picture[..., c].astype(np.float32) for c in range(3)]
    dx = np.stack([ndimage.sobel(c, axis=1, mode="nearest") for c in channels], -1)
    dy = np.stack([ndimage.sobel(c, axis=0, mode="nearest") for c in channels], -1)
    strongest = np.argmax(np.abs(dx) + np.abs(dy), axis=-1)[..., None]
    dx = np.take_along_axis(dx, strongest, -1)[..., 0]
    dy = np.take_along_axis(dy, strongest, -1)[..., 0]
    size = np.abs(dx) + np.abs(dy)
    thin = _thinned(size, dx, dy)
    strong, weak = thin & (size > high), thin & (size > low)
    labels, _ = ndimage.label(weak, structure=np.ones((3, 3)))
    kept = np.isin(labels, np.unique(labels[strong])) & weak
    return _three(np.where(kept, 255, 0).astype(np.uint8))


def _thinned(size: Floats, dx: Floats, dy: Floats) -> Mask:
    """Where ``size`` is largest along the gradient's direction, rounded to 45 degrees."""
    around = np.pad(size, 1)
    h, w = size.shape

    def at(down: int, right: int) -> Floats:
        return around[1 + down : 1 + down + h, 1 + right : 1 + right + w]

    steep = np.tan(np.radians(22.5))
    ax, ay = np.abs(dx), np.abs(dy)
    across = (size > at(0, -1)) & (size >= at(0, 1))
    upright = (size > at(-1, 0)) & (size >= at(1, 0))
    falling = (size > at(-1, -1)) & (size > at(1, 1))
    rising = (size > at(-1, 1)) & (size > at(1, -1))
    diagonal = np.where(dx * dy > 0, falling, rising)
    found: Mask = np.where(ay < steep * ax, across, np.where(ax < steep * ay, upright, diagonal))
    return found


def _neighbors(array: npt.NDArray[np.generic], axis: int) -> tuple[npt.NDArray, npt.NDArray]:
    if axis == 0:
        return array[:-1], array[1:]
    return array[:, :-1], array[:, 1:]


def _three(gray: Bytes) -> Bytes:
    return np.repeat(gray[..., None], 3, axis=2)


# --- pages ----------------------------------------------------------------------------------------


def control_page(
    unit: Unit,
    page: Page,
    layout: Layout,
    sheet: Bytes,
    passes: Callable[[int], Passes],
    near_far: tuple[float, float],
    thresholds: tuple[int, int],
) -> Bytes:
    """The control image of a page (H, W, 3) uint8, collaged as the page itself is.

    ``sheet``: the page (H, W, 3) uint8; ``passes`` gives a frame's geometry. Canny and tile look
    at the page; the others are encoded at the frame's size, then scaled into their cells.
    """
    if unit.kind == "tile":
        return sheet
    if unit.kind == "canny":
        return canny(sheet, *thresholds)
    frames = [passes(k) for k in page.frames]
    if unit.kind == "depth":
        pictures = [depth_image(p.view, *near_far) for p in frames]
        return compose(page, layout, pictures, BLACK, smooth)
    if unit.kind == "normal":
        pictures = [normal_image(p.view) for p in frames]
        color = [c / 255 for c in NORMAL_BACKGROUND]
        return compose(page, layout, pictures, color, smooth)
    if unit.kind in ("seg", "materials"):
        pictures = [seg_image(p.index if unit.kind == "seg" else material_index(p)) for p in frames]
        return compose(page, layout, pictures, [c / 255 for c in PALETTE[0]], nearest)
    pictures = [lines_image(p.view) for p in frames]
    return np.where(compose(page, layout, pictures, BLACK, smooth) > 100, 255, 0).astype(np.uint8)


def smooth(pixels: Bytes, width: int, height: int) -> Bytes:
    """Resampled without the ringing that Lanczos leaves beside the silhouette's step."""
    return _resampled(pixels, width, height, Image.Resampling.BILINEAR)


def nearest(pixels: Bytes, width: int, height: int) -> Bytes:
    """Resampled without mixing colors."""
    return _resampled(pixels, width, height, Image.Resampling.NEAREST)


def _resampled(pixels: Bytes, width: int, height: int, how: Image.Resampling) -> Bytes:
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((width, height), how))


def fitted(picture: Bytes, width: int, height: int, background: Sequence[float]) -> Bytes:
    """``picture`` scaled evenly into (height, width, 3) uint8, plain color around it."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    w, h = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    out = np.empty((height, width, 3), np.uint8)
    out[:] = to_bytes(background)
    top, left = (height - h) // 2, (width - w) // 2
    out[top : top + h, left : left + w] = resized(picture, w, h)
    return out

"""The geometry passes of the turntable as views that can be projected into one another.

A :class:`View` is a camera with what its pixel centers hit: planar depth and the surface normal.
World positions are not kept: depth and camera give them exactly, in a quarter of the memory, and
relative to a camera they keep their precision however far from the origin the model stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..core.cameras import Camera
from ..core.dataset import Frame, read_transforms
from ..core.errors import InputError
from ..core.exr import read_guide
from ..core.run import Run

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

BACKGROUND = 1e9  # depth from which on a pixel shows nothing (Blender writes 1e10)
EDGE = 3.0  # a depth edge: a step, beyond the surface's own slope, of so many pixels' world size
FEATHER = 6.0  # pixels over which a key fades toward its edges, in a picture of 512 x 512
NEVER_ZERO = (
    1e-3  # a key's edge pixels count this much: nothing beside others, all where nothing else is
)


@dataclass(frozen=True, eq=False)
class View:
    """What one camera sees of the model.

    ``depth``: (h, w) float32, planar, in meters, :data:`BACKGROUND` or more where there is nothing.
    ``normal``: (h, w, 3) float32, world, unit length, on either side of the surface.
    """

    camera: Camera
    depth: Floats
    normal: Floats

    @property
    def mask(self) -> Mask:
        """(h, w) bool, where the pixel's center hits the model."""
        return self.depth < BACKGROUND

    @property
    def lens(self) -> Floats:
        """(4,) float32: fl_x, fl_y, cx, cy in pixels, for kernels."""
        c = self.camera
        return np.array([c.fl_x, c.fl_y, c.cx, c.cy], np.float32)


def cameras(run: Run) -> list[Frame]:
    """All frames of the turntable in order of their number; raises InputError."""
    frames = sorted(read_transforms(run.transforms_main), key=lambda f: f.frame)
    if not frames:
        raise InputError(f"{run.transforms_main} lists no frames; run the turntable stage first.")
    return frames


def ring(frames: Sequence[Frame], number: int = 0) -> list[Frame]:
    """The frames of one ring."""
    return [f for f in frames if f.ring == number]


def read_view(run: Run, frame: Frame) -> View:
    """The geometry of a turntable frame, in later iterations with what the splat grew.

    ``run.at(0)`` gives the turntable's own. Raises InputError if it is missing or of another size.
    """
    path = run.geometry(frame.frame)
    if not path.is_file():
        raise InputError(f"The guide {path} is missing; run the turntable stage again.")
    guide = read_guide(path)
    c = frame.camera
    if guide.depth.shape != (c.height, c.width):
        h, w = guide.depth.shape
        raise InputError(
            f"The guide {path} is {w}x{h} but its camera is {c.width}x{c.height}; "
            "run the turntable stage again."
        )
    return View(
        c,
        np.ascontiguousarray(guide.depth, np.float32),
        np.ascontiguousarray(guide.normal, np.float32),
    )


def thinned(view: View, step: int) -> View:
    """Every ``step``-th pixel of a view's rows and columns, as a smaller view of its own."""
    first = (step - 1) // 2
    depth = np.ascontiguousarray(view.depth[first::step, first::step])
    normal = np.ascontiguousarray(view.normal[first::step, first::step])
    h, w = depth.shape
    c, shift = view.camera, first + 0.5 - step / 2  # a kept pixel's center less its new place's
    lens = (c.fl_x / step, c.fl_y / step, (c.cx - shift) / step, (c.cy - shift) / step)
    return View(Camera(w, h, *lens, c.matrix), depth, normal)


def cropped(view: View, box: tuple[slice, slice]) -> View:
    """The part of a view that lies in ``box``, whose bounds lie in the picture."""
    c, (rows, columns) = view.camera, box
    depth, normal = np.ascontiguousarray(view.depth[box]), np.ascontiguousarray(view.normal[box])
    h, w = depth.shape
    corner = c.cx - columns.start, c.cy - rows.start
    return View(Camera(w, h, c.fl_x, c.fl_y, *corner, c.matrix), depth, normal)


def relative_pose(source: Camera, target: Camera) -> Floats:
    """(3, 4) float32: points in ``source``'s OpenCV axes -> ``target``'s.

    Multiplied in float64, so that two cameras far from the origin do not lose their small
    difference.
    """
    return (target.world_to_opencv() @ np.linalg.inv(source.world_to_opencv()))[:3].astype(
        np.float32
    )


def depth_edges(depth: Floats, focal: float) -> Mask:
    """(h, w) bool: pixels on both sides of a step in ``depth``; the background's border is not one.

    Inverse depth is linear in the picture on any plane, however steep, so its second difference
    shows steps and not slopes. In units of a pixel's world size (depth / ``focal``), steps above
    :data:`EDGE` count.
    """
    known = depth < BACKGROUND
    inverse = np.where(known, 1 / np.maximum(depth, 1e-30), np.nan)
    edges = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        middle = [slice(None), slice(None)]
        middle[axis] = slice(1, -1)
        inner = tuple(middle)
        # NaN beside the background compares as False: the silhouette is dealt with by its own
        # distance.
        bend = np.abs(np.diff(inverse, 2, axis=axis)) * depth[inner] * focal
        edges[inner] |= bend > EDGE
    return edges


def feather_map(view: View) -> Floats:
    """(h, w) float32 of 0..1: how far inside the key's silhouette and away from depth edges a pixel
    lies.

    Edge pixels mix two surfaces (anti-aliasing, and the stylizer's brush), so colors from there
    only count where nothing better is seen. The picture's border is an edge, too.
    """
    h, w = view.depth.shape
    width = FEATHER * (h * w) ** 0.5 / 512
    out = np.zeros((h, w), np.float32)
    if not view.mask.any():
        return out
    box = bounds(view.mask, 2)
    depth, mask = view.depth[box], view.mask[box]
    inside = np.pad(mask & ~depth_edges(depth, view.camera.fl_x), 1)
    distance = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    soft = np.clip((distance - 1) / width, NEVER_ZERO, 1)
    out[box] = np.where(mask, soft, 0)
    return out


def bounds(mask: Mask, room: int) -> tuple[slice, slice]:
    """The smallest box around ``mask``, which is not empty, and ``room`` pixels more where the
    picture allows it.
    """
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return (
        slice(max(int(rows[0]) - room, 0), int(rows[-1]) + room + 1),
        slice(max(int(columns[0]) - room, 0), int(columns[-1]) + room + 1),
    )


def eroded(mask: Mask, pixels: int) -> Mask:
    """``mask`` without its outermost ``pixels``; the picture's border does not count as outside."""
    if pixels <= 0:
        return mask
    # A square structuring element is separable: two running minima instead of one big window.
    smaller = ndimage.minimum_filter(mask.astype(np.uint8), size=2 * pixels + 1, mode="nearest")
    return smaller > 0


def interior(view: View, pixels: int) -> Mask:
    """(h, w) bool: the model less ``pixels`` along its silhouettes, those inside the picture
    included.

    There every pixel, and every bilinear sample, is the color of one surface.
    """
    return eroded(view.mask & ~depth_edges(view.depth, view.camera.fl_x), pixels)

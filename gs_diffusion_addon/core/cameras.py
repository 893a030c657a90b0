"""Pinhole cameras: intrinsics, poses and the conversions between Blender/OpenGL and OpenCV.

World is Blender's (right-handed, Z up, metres). A pose is camera-to-world in OpenGL axes (+X right,
+Y up, looking along -Z), which is Blender's ``matrix_world`` without scale and what transforms.json
stores. Pixel coordinates are OpenCV's: x to the right, y down, the top left pixel's *center* at
(0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    ``width``, ``height``: picture size in pixels. ``fl_x``, ``fl_y``: focal lengths in pixels.
    ``cx``, ``cy``: principal point in pixels from the top left corner. ``matrix``: (4, 4) float64,
    camera-to-world, OpenGL axes, rigid (no scale).
    """

    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    matrix: Array

    @property
    def position(self) -> Array:
        """(3,) float64, the camera's place in the world."""
        place: Array = self.matrix[:3, 3]
        return place

    @property
    def angle_x(self) -> float:
        """Horizontal field of view in radians (``camera_angle_x``), principal point in the
        middle.
        """
        return 2.0 * math.atan(0.5 * self.width / self.fl_x)

    @property
    def centered(self) -> bool:
        """Whether ``camera_angle_x`` alone describes the intrinsics (square pixels, no shift)."""
        return (
            abs(self.cx - self.width / 2) < 1e-3
            and abs(self.cy - self.height / 2) < 1e-3
            and abs(self.fl_x / self.fl_y - 1) < 1e-6
        )

    def world_to_opencv(self) -> Array:
        """(4, 4) float64: world to camera in OpenCV axes (+Y down, +Z forward), as rasterizers want
        it.
        """
        view: Array = OPENGL_TO_OPENCV @ np.linalg.inv(self.matrix)
        return view

    def project(self, points: npt.ArrayLike) -> tuple[Array, Array]:
        """World points (..., 3) -> pixels (..., 2) and planar depth (...), in meters, positive in
        front.

        Points at or behind the camera plane get NaN pixels.
        """
        p = np.asarray(points, dtype=np.float64)
        view = self.world_to_opencv()
        local = p @ view[:3, :3].T + view[:3, 3]
        depth = local[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = np.where(depth[..., None] > 0, local[..., :2] / depth[..., None], np.nan)
        pixels = xy * (self.fl_x, self.fl_y) + (self.cx, self.cy)
        return pixels, depth

    def unproject(self, pixels: npt.ArrayLike, depth: npt.ArrayLike) -> Array:
        """Pixels (..., 2) at planar depth (...) in meters -> world points (..., 3)."""
        q = np.asarray(pixels, dtype=np.float64)
        z = np.asarray(depth, dtype=np.float64)[..., None]
        xy = (q - (self.cx, self.cy)) / (self.fl_x, self.fl_y) * z
        local = np.concatenate([xy, z], axis=-1) * (1.0, -1.0, -1.0)
        world: Array = local @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return world


def from_projection(
    projection: npt.ArrayLike, width: int, height: int, matrix: npt.ArrayLike
) -> Camera:
    """A camera out of an OpenGL projection matrix (4, 4) for a picture of ``width`` x ``height``
    pixels.

    Blender's ``calc_matrix_camera`` at render size is one; sensor fit, lens shift and pixel aspect
    are in it. ``matrix`` (4, 4) is the pose. With x_ndc = -P00 X/Z - P02 and y_ndc = -P11 Y/Z -
    P12, follow the intrinsics.
    """
    p = np.asarray(projection, dtype=np.float64)
    return Camera(
        width,
        height,
        fl_x=0.5 * width * float(p[0, 0]),
        fl_y=0.5 * height * float(p[1, 1]),
        cx=0.5 * width * (1.0 - float(p[0, 2])),
        cy=0.5 * height * (1.0 + float(p[1, 2])),
        matrix=np.asarray(matrix, dtype=np.float64),
    )


def orthonormal(matrix: npt.ArrayLike) -> Array:
    """A (4, 4) pose without scale, shear or mirroring, the viewing direction kept exactly.

    Blender's scaled parents put scale into ``matrix_world``; readers of transforms.json expect a
    rigid matrix.
    """
    m = np.asarray(matrix, dtype=np.float64)
    back = m[:3, 2] / np.linalg.norm(m[:3, 2])
    right = m[:3, 0] - back * (m[:3, 0] @ back)
    right /= np.linalg.norm(right)
    out = np.eye(4)
    out[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    out[:3, 3] = m[:3, 3]
    return out


def look_at(position: npt.ArrayLike, target: npt.ArrayLike) -> Array:
    """(4, 4) camera-to-world pose, OpenGL axes, at ``position`` looking at ``target`` with world Z
    up.
    """
    eye, aim = np.asarray(position, dtype=np.float64), np.asarray(target, dtype=np.float64)
    back = eye - aim
    back = back / np.linalg.norm(back)
    right = np.cross((0.0, 0.0, 1.0), back)
    length = float(np.linalg.norm(right))
    right = right / length if length > 1e-9 else np.array([1.0, 0.0, 0.0])
    out = np.eye(4)
    out[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    out[:3, 3] = eye
    return out

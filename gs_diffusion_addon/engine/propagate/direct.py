"""Key to key: what finished keys show of another view's surface, and how well they show it.

Used while keys are still being made one after the other (:mod:`..stylize.sequential`), where the
weights matter as much as the colors and there is no whole set of keys yet to weave. Each pixel's
point is looked up in every key that sees it; its color is the mean of theirs, weighted by how
squarely a key faces the surface there (cos^sharpness) and how far from its edges it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ..guides import BACKGROUND, View, relative_pose

STEEPEST = (
    80.0  # degrees between surface normal and key from which on a key's pixels are too stretched
)
REACH = (
    3.0  # a point is seen if a neighboring pixel of the key hits within so many pixels' world size
)
WRONG_SIDE = -0.25  # cosine from which on a normal is taken to point into the surface and is turned

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Key:
    """A restyled view: geometry, ``color`` (h, w, 3) uint8 and ``feather`` (h, w) of 0..1."""

    view: View
    color: Bytes
    feather: Floats


@dataclass(frozen=True, eq=False)
class KeySet:
    """Keys stacked for the kernel: ``depth`` and ``feather`` (K, h, w), ``color`` (K, h, w, 3)."""

    views: tuple[View, ...]
    depth: Floats
    feather: Floats
    color: Bytes
    lenses: Floats

    @classmethod
    def of(cls, keys: Sequence[Key]) -> KeySet:
        """Stack ``keys``, which share one size."""
        return cls(
            tuple(k.view for k in keys),
            np.stack([k.view.depth for k in keys]),
            np.stack([k.feather for k in keys]),
            np.stack([k.color for k in keys]),
            np.stack([k.view.lens for k in keys]),
        )


def reproject(target: View, keys: KeySet, sharpness: float) -> tuple[Floats, Floats]:
    """Color (h, w, 3) float32 of 0..1 and weight (h, w) float32 of each pixel's surface point.

    Weight 0 means that no key sees the point (or that there is none); its color is 0 then.
    """
    poses = np.stack([relative_pose(target.camera, v.camera) for v in keys.views])
    rotation = target.camera.world_to_opencv()[:3, :3].astype(np.float32)
    color = np.zeros((*target.depth.shape, 3), np.float32)
    weight = np.zeros(target.depth.shape, np.float32)
    _blend(
        target.depth,
        target.normal,
        target.lens,
        rotation,
        keys.depth,
        keys.feather,
        keys.color,
        keys.lenses,
        poses,
        np.float32(np.cos(np.radians(STEEPEST))),
        np.float32(sharpness),
        color,
        weight,
    )
    return color, weight


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _blend(
    depth: Floats,
    normal: Floats,
    lens: Floats,
    rotation: Floats,
    key_depth: Floats,
    key_feather: Floats,
    key_color: Bytes,
    key_lens: Floats,
    poses: Floats,
    steepest: np.float32,
    sharpness: np.float32,
    color: Floats,
    weight: Floats,
) -> None:
    """Fill ``color`` and ``weight``. All geometry is in the target camera's OpenCV axes.

    A bilinear sample takes only those of its four pixels that hit the very surface (within REACH),
    so neither background nor a part in front or behind bleeds in at an occluding edge.
    """
    h, w = depth.shape
    count, rows, columns = key_depth.shape
    # Each key's eye in the target's axes: -R^T t.
    eyes = np.empty((count, 3), np.float32)
    for k in range(count):
        for c in range(3):
            eyes[k, c] = -(
                poses[k, 0, c] * poses[k, 0, 3]
                + poses[k, 1, c] * poses[k, 1, 3]
                + poses[k, 2, c] * poses[k, 2, 3]
            )
    tap = np.empty(4, np.float32)
    for y in range(h):
        for x in range(w):
            z = depth[y, x]
            if z >= BACKGROUND:
                continue
            px = (x + np.float32(0.5) - lens[2]) / lens[0] * z
            py = (y + np.float32(0.5) - lens[3]) / lens[1] * z
            n0, n1, n2 = normal[y, x, 0], normal[y, x, 1], normal[y, x, 2]
            nx = rotation[0, 0] * n0 + rotation[0, 1] * n1 + rotation[0, 2] * n2
            ny = rotation[1, 0] * n0 + rotation[1, 1] * n1 + rotation[1, 2] * n2
            nz = rotation[2, 0] * n0 + rotation[2, 1] * n1 + rotation[2, 2] * n2
            # Toward this camera, which does see the point. A smooth normal just beyond the
            # silhouette is left alone: turning it would make the keys behind the model the best
            # ones.
            facing = -(nx * px + ny * py + nz * z) / np.sqrt(px * px + py * py + z * z)
            if facing < WRONG_SIDE:
                nx, ny, nz = -nx, -ny, -nz
            red = green = blue = total = np.float32(0)
            for k in range(count):
                vx, vy, vz = eyes[k, 0] - px, eyes[k, 1] - py, eyes[k, 2] - z
                cosine = (nx * vx + ny * vy + nz * vz) / np.sqrt(vx * vx + vy * vy + vz * vz)
                if cosine <= steepest:
                    continue
                pose = poses[k]
                qx = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * z + pose[0, 3]
                qy = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * z + pose[1, 3]
                qz = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * z + pose[2, 3]
                if qz <= 0:
                    continue
                fx, fy, cx, cy = key_lens[k, 0], key_lens[k, 1], key_lens[k, 2], key_lens[k, 3]
                u = fx * qx / qz + cx - np.float32(0.5)
                v = fy * qy / qz + cy - np.float32(0.5)
                if not (u > -1 and v > -1 and u < columns and v < rows):
                    continue
                i, j = int(np.floor(u)), int(np.floor(v))
                s, t = u - i, v - j
                tap[0], tap[1] = (1 - t) * (1 - s), (1 - t) * s
                tap[2], tap[3] = t * (1 - s), t * s
                reach = (REACH * qz / min(fx, fy)) ** 2
                sum_tap = sum_feather = r = g = b = np.float32(0)
                for n in range(4):
                    ii, jj = i + (n & 1), j + (n >> 1)
                    if ii < 0 or jj < 0 or ii >= columns or jj >= rows:
                        continue
                    d = key_depth[k, jj, ii]
                    if d >= BACKGROUND:
                        continue
                    dx = (ii + np.float32(0.5) - cx) / fx * d - qx
                    dy = (jj + np.float32(0.5) - cy) / fy * d - qy
                    if dx * dx + dy * dy + (d - qz) ** 2 > reach:
                        continue
                    a = tap[n] + np.float32(1e-6)
                    sum_tap += a
                    sum_feather += a * key_feather[k, jj, ii]
                    r += a * key_color[k, jj, ii, 0]
                    g += a * key_color[k, jj, ii, 1]
                    b += a * key_color[k, jj, ii, 2]
                if sum_tap > 0:
                    # Not divided by sum_tap: toward an edge, where samples drop out, the key fades.
                    share = cosine**sharpness * sum_feather
                    total += share
                    red += share * r / sum_tap
                    green += share * g / sum_tap
                    blue += share * b / sum_tap
            if total > 0:
                weight[y, x] = total
                scale = 1 / (total * np.float32(255))
                color[y, x, 0] = red * scale
                color[y, x, 1] = green * scale
                color[y, x, 2] = blue * scale

"""The one kernel behind everything that looks up a frame's surface points in other pictures.

Each pixel of a frame shows a point of the surface. The point is looked up in every picture that
sees it, and its color is the mean of theirs by the shares that each picture's pixels have. Used by
``reproject`` (woven keys and filled holes), and while keys are made one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ..guides import BACKGROUND, View, relative_pose

REACH = (
    3.0  # a point is seen if a neighboring pixel of the key hits within so many pixels' world size
)
WRONG_SIDE = -0.25  # cosine from which on a normal is taken to point into the surface and is turned
COARSER = 1.5  # pixels of a key that a frame's pixel is wide, from which on several are averaged
MOST_TAPS = 4  # samples along each side of a pixel then, at most
SEARCHED = 12  # pixels around a blank one in which its own surface is looked for
SLOPE = 1.0  # a surface is followed up to so many pixels' world size of depth a pixel

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Restyled views of one size: ``depth`` (K, h, w), ``color`` (K, h, w, 3) uint8, ``lenses``
    (K, 4).
    """

    views: tuple[View, ...]
    depth: Floats
    color: Bytes
    lenses: Floats

    @classmethod
    def of(cls, views: Sequence[View], colors: Bytes) -> Pictures:
        """Stack ``views`` that show ``colors``."""
        depth = np.stack([v.depth for v in views])
        return cls(tuple(views), depth, colors, np.stack([v.lens for v in views]))


@dataclass(frozen=True, eq=False)
class Canvas:
    """A frame being painted: ``color`` (h, w, 3) float32 of 0..1, ``total`` (h, w) float32, the
    shares that added up, and ``label`` (h, w) int16, the picture that counts most; -1 where no
    picture painted yet.
    """

    color: Floats
    total: Floats
    label: Labels

    @classmethod
    def blank(cls, shape: tuple[int, int]) -> Canvas:
        """Nothing painted."""
        color, total = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
        return cls(color, total, np.full(shape, -1, np.int16))


def paint(
    canvas: Canvas, target: View, pictures: Pictures, weight: Floats, taps: int = MOST_TAPS
) -> None:
    """Paint what is still blank and some picture shows; ``weight`` (K, h, w) are the shares.

    Where the frame's pixels are wider than a picture's (it was seen from nearer, or through a
    longer lens), up to ``taps`` x ``taps`` samples are averaged, so that detail does not alias.
    """
    poses = [relative_pose(target.camera, v.camera) for v in pictures.views]
    rotation = target.camera.world_to_opencv()[:3, :3].astype(np.float32)
    _paint(
        target.depth,
        target.normal,
        target.lens,
        rotation,
        pictures.depth,
        weight,
        pictures.color,
        pictures.lenses,
        np.stack(poses),
        taps,
        canvas.color,
        canvas.total,
        canvas.label,
    )


def close(canvas: Canvas, target: View, label: int) -> None:
    """Fill blank pixels beside another part of the model from their own part, as ``label``.

    Between strands of hair, what no picture shows of the part behind would otherwise get the
    strands' color when it is filled smoothly. Blank pixels beside one surface only stay blank.
    """
    _close(target.depth, target.lens, canvas.color, canvas.label, label)


@njit(nogil=True, cache=True, error_model="numpy")
def _close(depth: Floats, lens: Floats, color: Floats, label: Labels, mark: int) -> None:
    h, w = depth.shape
    known = label.copy()
    focal = min(lens[0], lens[1])
    for y in range(h):
        for x in range(w):
            z = depth[y, x]
            if z >= BACKGROUND or known[y, x] >= 0:
                continue
            red = green = blue = total = np.float32(0)
            other, last = False, SEARCHED
            r = 0
            while r < last:
                r += 1
                far = np.float32(SLOPE * r + 1) * z / focal
                for step in range(8 * r):  # once around the square of that radius
                    side, k = step // (2 * r), step % (2 * r) - r
                    j = y + (-r if side == 0 else r if side == 2 else k if side == 1 else -k)
                    i = x + (r if side == 1 else -r if side == 3 else k if side == 0 else -k)
                    if j < 0 or i < 0 or j >= h or i >= w or known[j, i] < 0:
                        continue
                    if abs(depth[j, i] - z) > far:
                        other = True
                        continue
                    if total == 0:
                        last = min(2 * r, SEARCHED)
                    a = np.float32(1) / np.float32(r * r)
                    total += a
                    red += a * color[j, i, 0]
                    green += a * color[j, i, 1]
                    blue += a * color[j, i, 2]
            if other and total > 0:
                label[y, x] = mark
                color[y, x, 0], color[y, x, 1] = red / total, green / total
                color[y, x, 2] = blue / total


def warm_up(pictures: Pictures, weight: Floats) -> None:
    """Have the kernel compiled (or read from numba's cache) on a one-pixel frame."""
    one = pictures.views[0]
    view = View(one.camera, one.depth[:1, :1].copy(), one.normal[:1, :1].copy())
    paint(Canvas.blank((1, 1)), view, pictures, weight)


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _paint(
    depth: Floats,
    normal: Floats,
    lens: Floats,
    rotation: Floats,
    key_depth: Floats,
    key_weight: Floats,
    key_color: Bytes,
    key_lens: Floats,
    poses: Floats,
    taps: int,
    color: Floats,
    sums: Floats,
    label: Labels,
) -> None:
    """Paint the pixels without a label. All geometry is in the target camera's OpenCV axes.

    A bilinear sample takes only those of its four pixels that hit the very surface (within REACH),
    so neither background nor a part in front or behind bleeds in at an occluding edge; toward one,
    where samples drop out, the key fades. One function, since calls would cost half as much again.
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
    half = np.float32(0.5)
    for y in range(h):
        for x in range(w):
            z = depth[y, x]
            if z >= BACKGROUND or label[y, x] >= 0:
                continue
            px = (x + half - lens[2]) / lens[0] * z
            py = (y + half - lens[3]) / lens[1] * z
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
            offset = nx * px + ny * py + nz * z
            red = green = blue = total = most = np.float32(0)
            main = -1
            for k in range(count):
                if nx * eyes[k, 0] + ny * eyes[k, 1] + nz * eyes[k, 2] <= offset:
                    continue
                pose = poses[k]
                qz = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * z + pose[2, 3]
                if qz <= 0:
                    continue
                fx, fy, cx, cy = key_lens[k, 0], key_lens[k, 1], key_lens[k, 2], key_lens[k, 3]
                side, part = 1, np.float32(1)
                if z * fx > np.float32(COARSER) * qz * lens[0]:
                    side = min(int(z * fx / (qz * lens[0]) + half), taps)
                    part = 1 / np.float32(side * side)
                ax, ay, az = px, py, z
                own = np.float32(0)
                for sub in range(side * side):
                    if side > 1:
                        # A part of the pixel, on the plane that touches the surface.
                        row, column = np.float32(sub // side), np.float32(sub % side)
                        ax = (x + (column + half) / np.float32(side) - lens[2]) / lens[0]
                        ay = (y + (row + half) / np.float32(side) - lens[3]) / lens[1]
                        slope = nx * ax + ny * ay + nz
                        az = offset / slope if abs(slope) > np.float32(0.1) else z
                        ax, ay = ax * az, ay * az
                        qz = pose[2, 0] * ax + pose[2, 1] * ay + pose[2, 2] * az + pose[2, 3]
                        if qz <= 0:
                            continue
                    qx = pose[0, 0] * ax + pose[0, 1] * ay + pose[0, 2] * az + pose[0, 3]
                    qy = pose[1, 0] * ax + pose[1, 1] * ay + pose[1, 2] * az + pose[1, 3]
                    u = fx * qx / qz + cx - half
                    v = fy * qy / qz + cy - half
                    if not (u > -1 and v > -1 and u < columns and v < rows):
                        continue
                    i, j = int(np.floor(u)), int(np.floor(v))
                    s, t = u - np.float32(i), v - np.float32(j)
                    reach = (np.float32(REACH) * qz / min(fx, fy)) ** 2
                    for n in range(4):
                        ii, jj = i + (n & 1), j + (n >> 1)
                        if ii < 0 or jj < 0 or ii >= columns or jj >= rows:
                            continue
                        share = key_weight[k, jj, ii]
                        if share <= 0:
                            continue
                        d = key_depth[k, jj, ii]
                        dx = (ii + half - cx) / fx * d - qx
                        dy = (jj + half - cy) / fy * d - qy
                        if dx * dx + dy * dy + (d - qz) ** 2 > reach:
                            continue
                        a = (s if n & 1 else 1 - s) * (t if n & 2 else 1 - t) + np.float32(1e-6)
                        a *= share * part
                        own += a
                        red += a * key_color[k, jj, ii, 0]
                        green += a * key_color[k, jj, ii, 1]
                        blue += a * key_color[k, jj, ii, 2]
                total += own
                if own > most:
                    most, main = own, k
            if total > 0:
                label[y, x] = main
                sums[y, x] = total
                scale = 1 / (total * np.float32(255))
                color[y, x, 0] = red * scale
                color[y, x, 1] = green * scale
                color[y, x, 2] = blue * scale

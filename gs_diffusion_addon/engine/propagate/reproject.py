"""Propagator ``reproject``: keyframes carried to all frames on the exact geometry.

Each pixel of a frame shows a point of the surface. The point is looked up in every key that sees
it, and its color is the mean of theirs by the keys' shares (:mod:`.weave`). The shares belong to
the surface point and not to the frame, so all frames together are pictures of one object, the loop
closed by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ...core.dataset import Frame
from ...core.errors import InputError
from ...core.events import Emit
from ...core.orbit import plan_keys
from ...core.run import Run
from ...core.settings import Settings
from ..guides import BACKGROUND, View, depth_edges, read_view, relative_pose
from ..parallel import in_order, thread_count
from . import Painted, Painter, Target, read_key
from .weave import weave

REACH = (
    3.0  # a point is seen if a neighboring pixel of the key hits within so many pixels' world size
)
WRONG_SIDE = -0.25  # cosine from which on a normal is taken to point into the surface and is turned
CRISP = 1 / 12  # of a picture's Laplacian is taken from it: the mean loss of bilinear sampling

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class KeySet:
    """Keys stacked for the kernel.

    ``depth`` (K, h, w); ``weight`` and ``spare`` (K, h, w), a key's share of its pixels, and its
    share where nothing of ``weight`` is seen; ``color`` (K, h, w, 3) uint8; ``lenses`` (K, 4).
    """

    views: tuple[View, ...]
    depth: Floats
    weight: Floats
    spare: Floats
    color: Bytes
    lenses: Floats

    @classmethod
    def of(
        cls, views: Sequence[View], colors: Bytes, mode: str = "soft", sharpness: float = 8.0
    ) -> KeySet:
        """Weave ``colors`` (K, h, w, 3) uint8 of keys of one size, see :func:`.weave.weave`."""
        woven = weave(views, colors, mode, sharpness)
        solid = [v.mask & ~depth_edges(v.depth, v.camera.fl_x) for v in views]
        crisp = np.stack([crispened(c, m) for c, m in zip(woven.color, solid, strict=True)])
        return cls(
            tuple(views),
            np.stack([v.depth for v in views]),
            woven.weight,
            woven.spare,
            crisp,
            np.stack([v.lens for v in views]),
        )


def prepare(run: Run, settings: Settings, frames: Sequence[Frame], emit: Emit) -> Painter:
    """Load all keyframes with their geometry; raises InputError if one is missing."""
    keys = load_keys(run, settings, frames, emit)
    emit("phase", message="Compiling the kernels")
    warm_up(keys)

    def paint(target: Target) -> Painted:
        color, label = reproject(target.view, keys)
        return Painted(color, label >= 0)

    return paint


def load_keys(run: Run, settings: Settings, frames: Sequence[Frame], emit: Emit) -> KeySet:
    """The run's keys, woven as the settings say; raises InputError if one is missing."""
    by_number = {f.frame: f for f in frames}
    wanted = plan_keys(settings)
    missing = [k for k in wanted if k not in by_number]
    if missing:
        raise InputError(
            f"Keyframe {missing[0]} is not a frame of {run.transforms_main.name}; "
            "run the turntable stage again."
        )
    emit("phase", message=f"Loading {len(wanted)} keyframes")

    def load(number: int) -> tuple[View, Bytes]:
        return read_view(run, by_number[number]), read_key(run, by_number[number])

    loaded = [pair for _, pair in in_order(load, wanted, thread_count(settings))]
    emit("phase", message="Fitting the keyframes together on the surface")
    colors = np.stack([color for _, color in loaded])
    return KeySet.of([view for view, _ in loaded], colors, settings.seams, settings.sharpness)


def warm_up(keys: KeySet) -> None:
    """Have the kernel compiled (or read from numba's cache) on a one-pixel frame."""
    one = keys.views[0]
    reproject(View(one.camera, one.depth[:1, :1].copy(), one.normal[:1, :1].copy()), keys)


def crispened(color: Bytes, mask: Mask) -> Bytes:
    """(h, w, 3) uint8 sharpened by what bilinear sampling between pixels will take away.

    A sample at a random place keeps 1 - (1 - cos w) / 3 of the power of frequency w along each
    axis, so its amplitude is restored to first order by adding (2 - 2 cos w) / 12 of the picture:
    a twelfth of its negative Laplacian. Pixels off ``mask`` are left alone and are no neighbors.
    """
    picture = color.astype(np.float32)
    out = picture.copy()
    for axis in (0, 1):
        difference = np.diff(picture, axis=axis)
        both = np.logical_and(*(np.take(mask, r, axis) for r in _pairs(mask.shape[axis])))
        difference *= both[..., None] * np.float32(CRISP)
        low, high = [slice(None)] * 2, [slice(None)] * 2
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        out[tuple(low)] -= difference
        out[tuple(high)] += difference
    return np.clip(out + 0.5, 0, 255).astype(np.uint8)


def _pairs(length: int) -> tuple[range, range]:
    return range(length - 1), range(1, length)


def reproject(target: View, keys: KeySet) -> tuple[Floats, npt.NDArray[np.int16]]:
    """Color (h, w, 3) float32 of 0..1 of each pixel's surface point, and the key that counts most
    there, (h, w) int16; -1 and black where no key sees the point or there is none.
    """
    poses = np.stack([relative_pose(target.camera, v.camera) for v in keys.views])
    rotation = target.camera.world_to_opencv()[:3, :3].astype(np.float32)
    color = np.zeros((*target.depth.shape, 3), np.float32)
    label = np.full(target.depth.shape, -1, np.int16)
    geometry = target.depth, target.normal, target.lens, rotation, keys.depth
    for weight in (keys.weight, keys.spare):
        _blend(*geometry, weight, keys.color, keys.lenses, poses, color, label)
    return color, label


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _blend(
    depth: Floats,
    normal: Floats,
    lens: Floats,
    rotation: Floats,
    key_depth: Floats,
    key_weight: Floats,
    key_color: Bytes,
    key_lens: Floats,
    poses: Floats,
    color: Floats,
    label: npt.NDArray[np.int16],
) -> None:
    """Paint the pixels without a label. All geometry is in the target camera's OpenCV axes.

    A bilinear sample takes only those of its four pixels that hit the very surface (within REACH),
    so neither background nor a part in front or behind bleeds in at an occluding edge; toward one,
    where samples drop out, the key fades.
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
                qx = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * z + pose[0, 3]
                qy = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * z + pose[1, 3]
                fx, fy, cx, cy = key_lens[k, 0], key_lens[k, 1], key_lens[k, 2], key_lens[k, 3]
                u = fx * qx / qz + cx - half
                v = fy * qy / qz + cy - half
                if not (u > -1 and v > -1 and u < columns and v < rows):
                    continue
                i, j = int(np.floor(u)), int(np.floor(v))
                s, t = u - np.float32(i), v - np.float32(j)
                reach = (np.float32(REACH) * qz / min(fx, fy)) ** 2
                own = np.float32(0)
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
                    a *= share
                    own += a
                    red += a * key_color[k, jj, ii, 0]
                    green += a * key_color[k, jj, ii, 1]
                    blue += a * key_color[k, jj, ii, 2]
                total += own
                if own > most:
                    most, main = own, k
            if total > 0:
                label[y, x] = main
                scale = 1 / (total * np.float32(255))
                color[y, x, 0] = red * scale
                color[y, x, 1] = green * scale
                color[y, x, 2] = blue * scale

"""Geometry passes out of a splat: where there is no model, and where the splat has left it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..core.cameras import Camera
from ..core.exr import BACKGROUND_DEPTH, write_exr
from ..core.ply import SH_C0, Splats
from .splat.backends import Backend
from .splat.drawing import draw_on_black

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

SOLID = 0.5  # alpha from which on a pixel shows the splat's surface


@dataclass(frozen=True, eq=False)
class Depth:
    """What a camera sees of a splat: planar ``depth`` (h, w) float32 in meters, the mean over
    the splats along the ray, background 1e10; ``alpha`` (h, w) float32.
    """

    depth: Floats
    alpha: Floats

    @property
    def mask(self) -> Mask:
        """Where there is a surface."""
        return self.alpha >= SOLID


def draw_depth(splats: Splats, camera: Camera, backend: Backend | None = None) -> Depth:
    """Draw the splats' depth: each has its own as its color, so a pixel's color is the mean.

    ``splats`` are in Blender's world and drawable (:func:`.splat.drawing.drawable`).
    """
    to_camera = camera.world_to_opencv()
    z = splats.means.astype(np.float64) @ to_camera[2, :3] + to_camera[2, 3]
    near, far = (float(v) for v in np.percentile(z, (0.5, 99.5)))
    span = max(far - near, 1e-6 * max(abs(far), 1.0))
    near, span = near - 0.1 * span, 1.2 * span
    shade = np.clip((z - near) / span, 0, 1).astype(np.float32)
    # A color is 0.5 + SH_C0 times the first coefficient.
    sh = np.repeat(((shade - 0.5) / SH_C0)[:, None, None], 3, axis=2)
    plain = Splats(splats.means, sh, splats.opacities, splats.scales, splats.quats)
    image, alpha = draw_on_black(plain, camera, backend)
    depth = near + span * image[0] / np.maximum(alpha, 1e-6)
    shown = np.where(alpha >= SOLID, depth, BACKGROUND_DEPTH)
    return Depth(shown.astype(np.float32), alpha.astype(np.float32))


def normals_of(camera: Camera, depth: Floats, mask: Mask, soften: float = 1.0) -> Floats:
    """(h, w, 3) float32: unit world normals of a depth map, toward the camera; 0 off ``mask``.

    A splat's depth is bumpy, so it is softened by ``soften`` pixels first, within the mask.
    """
    weight = ndimage.gaussian_filter(mask.astype(np.float32), soften)
    smooth = ndimage.gaussian_filter(np.where(mask, depth, 0), soften) / np.maximum(weight, 1e-6)
    place = positions_of(camera, np.where(mask, smooth, 1.0))
    along_y, along_x = np.gradient(place, axis=(0, 1))
    normal = np.cross(along_y, along_x)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    away = np.einsum("hwc,hwc->hw", normal, place - camera.position) > 0
    normal = np.where(away[..., None], -normal, normal)
    return np.where(mask[..., None], normal, 0).astype(np.float32)


def positions_of(camera: Camera, depth: Floats) -> npt.NDArray[np.float64]:
    """(h, w, 3) float64: world positions of pixel centers at planar ``depth``."""
    h, w = depth.shape
    y, x = np.mgrid[0:h, 0:w] + 0.5
    return camera.unproject(np.stack([x, y], -1), depth)


def filled(depth: Floats, known: Mask, wanted: Mask) -> Floats:
    """``depth`` with the nearest known value where ``wanted`` and not ``known``."""
    if not known.any() or not (wanted & ~known).any():
        return depth
    rows, columns = ndimage.distance_transform_edt(~known, return_indices=True)[1]
    return np.where(wanted & ~known, depth[rows, columns], depth).astype(np.float32)


def write_guide(
    path: Path,
    camera: Camera,
    depth: Floats,
    normal: Floats,
    index: Ints,
    material: Ints | None = None,
) -> None:
    """Write geometry passes as Blender's are: depth, normal, position, object index, and the
    material's where it is known.
    """
    mask = depth < BACKGROUND_DEPTH / 10
    place = np.where(mask[..., None], positions_of(camera, np.where(mask, depth, 1.0)), 0)
    channels: dict[str, npt.NDArray[np.float32]] = {"Depth.Z": depth}
    for name, values in (("Normal", normal), ("Position", place)):
        channels.update({f"{name}.{axis}": values[..., k] for k, axis in enumerate("XYZ")})
    channels["IndexOB.X"] = index.astype(np.float32)
    if material is not None:
        channels["IndexMA.X"] = material.astype(np.float32)
    write_exr(path, channels)

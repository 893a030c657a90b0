"""A splat model of Blender's world drawn by a turntable camera, without gradients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...core.cameras import Camera
from ...core.errors import StageError
from ...core.ply import Splats
from ..images import Bytes
from .backends import Backend, builtin
from .rasterizer import View

NEAR = 0.02  # of the distance from the camera to the splats' middle
_LOGIT_LIMIT = 30.0  # infinite logits (alpha was 255) would become NaN in the kernels


def drawable(splats: Splats) -> Splats:
    """The splats the kernels can draw; raises StageError if there are none."""
    usable = splats.selected(splats.finite)
    if not usable.count:
        raise StageError("The splat model holds no splat with finite numbers; train it again.")
    logits = np.clip(usable.opacities, -_LOGIT_LIMIT, _LOGIT_LIMIT)
    return Splats(usable.means, usable.sh, logits, usable.scales, usable.quats)


def render(splats: Splats, camera: Camera, backend: Backend | None = None) -> Bytes:
    """(H, W, 4) uint8 with straight alpha: splats in Blender's world seen by ``camera``."""
    image, alpha = draw_on_black(splats, camera, backend)
    straight = image / np.maximum(alpha, 1e-6)
    layers = np.concatenate([straight, alpha[None]]).transpose(1, 2, 0)
    pixels = (np.clip(layers, 0, 1) * 255 + 0.5).astype(np.uint8)
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def draw_on_black(
    splats: Splats, camera: Camera, backend: Backend | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Premultiplied color (3, H, W) and alpha (H, W), float32.

    Drawn in a world centered on the splats and scaled to the camera's distance, where float32 is
    exact enough and the near plane means the same for millimeters and kilometers.
    """
    arrays, view = localized(splats, camera)
    return (backend or builtin()).draw_on_black(*arrays, view)


def localized(splats: Splats, camera: Camera) -> tuple[tuple[npt.NDArray[np.float32], ...], View]:
    """The rasterizer's five arrays and view, in a world centered on the splats whose unit is the
    camera's distance.
    """
    center = np.median(splats.means, axis=0).astype(np.float64)
    scale = float(np.linalg.norm(camera.position - center)) or 1.0
    means = ((splats.means - center) / scale).astype(np.float32)
    scales = (splats.scales - np.log(scale)).astype(np.float32)
    parts = (means, splats.quats, scales, splats.opacities, splats.sh)
    arrays = tuple(np.ascontiguousarray(a, np.float32) for a in parts)
    view = View.of(camera, NEAR, (center[0], center[1], center[2]), scale)
    return arrays, view

"""The built-in rasterizer: an autograd function over the kernels, and the interface all
rasterizers share.

``rasterize(means, quats, scales, opacities, sh, view, background)`` -> :class:`Rendering`. The
reference in plain torch and gsplat on CUDA have the same signature (:mod:`.reference`,
:mod:`.gsplat_backend`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ...core.cameras import Camera
from .binning import bin_tiles, depth_order
from .jit import CAMERA, GRADIENTS, NEAR, PROJECTED, TILE_X, TILE_Y
from .project import project
from .project_backward import project_backward
from .raster import raster
from .raster_backward import raster_backward
from .runtime import Workers, workers

Floats = npt.NDArray[Any]
_SMALLEST = 512  # splats a thread must have to be worth starting


@dataclass(frozen=True, eq=False)
class View:
    """A camera as the rasterizers want it: size in pixels and OpenCV's world-to-camera
    transform.

    ``rotation`` (3, 3), ``translation`` (3,) float64; ``fl_x``, ``fl_y``, ``cx``, ``cy`` in
    pixels with the first pixel's center at 0.5; ``near`` in the world's units: splats closer to
    the camera are not drawn.
    """

    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    rotation: Floats
    translation: Floats
    near: float = 0.2

    @staticmethod
    def of(
        camera: Camera, near: float = 0.2, center: Sequence[float] = (0, 0, 0), scale: float = 1.0
    ) -> View:
        """The view of ``camera`` in a world moved by -``center`` and then divided by ``scale``.

        ``near`` is in the new world's units. Centering keeps float32 exact far from the origin.
        """
        world = camera.world_to_opencv()
        rotation = world[:3, :3]
        translation = (rotation @ np.asarray(center, np.float64) + world[:3, 3]) / scale
        return View(
            camera.width, camera.height, camera.fl_x, camera.fl_y, camera.cx, camera.cy,
            rotation, translation, near,
        )  # fmt: skip

    def halved(self) -> View:
        """The same camera with pixels twice as large; an odd last row or column is cut off."""
        return dataclasses.replace(
            self, width=self.width // 2, height=self.height // 2, fl_x=self.fl_x / 2,
            fl_y=self.fl_y / 2, cx=self.cx / 2, cy=self.cy / 2,
        )  # fmt: skip

    def packed(self, dtype: Any) -> Floats:
        """(20,) as the kernels read it (:mod:`.jit`)."""
        out = np.empty(CAMERA, np.float64)
        out[0:9] = self.rotation.ravel()
        out[9:12] = self.translation
        out[12:15] = -self.rotation.T @ self.translation
        out[15:19] = self.fl_x, self.fl_y, self.cx - 0.5, self.cy - 0.5
        out[NEAR] = self.near
        return out.astype(dtype)


@dataclass(eq=False)
class Screen:
    """What splitting needs to know of one drawing.

    ``drawn`` (N,) bool: splats in the picture; ``gradients`` (N,) float: length of the loss's
    gradient by the splat's pixel position, in 1/px, known after the backward pass. ``meta``:
    what gsplat's strategies want to know.
    """

    drawn: Any = None
    gradients: Any = None
    meta: Any = None


@dataclass(frozen=True, eq=False)
class Rendering:
    """``image`` (3, H, W), color over the background; ``alpha`` (H, W), the splats' share; both
    float.
    """

    image: torch.Tensor
    alpha: torch.Tensor
    screen: Screen = field(default_factory=Screen)


class Rasterizer(Protocol):
    """The signature of all rasterizers."""

    def __call__(
        self,
        means: torch.Tensor,
        quats: torch.Tensor,
        scales: torch.Tensor,
        opacities: torch.Tensor,
        sh: torch.Tensor,
        view: View,
        background: torch.Tensor,
    ) -> Rendering: ...


@dataclass(eq=False)
class Frame:
    """Arrays of one drawing, kept for its backward pass."""

    view: View
    camera: Floats
    degree: int
    projected: Floats
    box: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    homes: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]
    image: Floats
    light: Floats
    touched: npt.NDArray[np.int32]

    @property
    def tiles_x(self) -> int:
        """Tiles in a row."""
        return -(-self.view.width // TILE_X)

    def tile_ranges(self, pool: Workers) -> list[int]:
        """Bounds of ranges of tiles with about the same number of pairs, several a thread."""
        if pool.count == 1:
            return [0, len(self.ends)]
        cost = self.starts + 2 * np.arange(len(self.starts))  # an empty tile costs something, too
        parts = 4 * pool.count
        bounds = np.searchsorted(cost, cost[-1] * np.arange(1, parts) / parts)
        return [0, *(int(b) for b in np.maximum.accumulate(bounds)), len(self.ends)]


def degree_of(sh: Any) -> int:
    """Degree of harmonics (N, K, 3), at most 3: files of degree 4 exist, their last band is not
    drawn.
    """
    return min(3, round(float(sh.shape[1]) ** 0.5) - 1)


def draw(
    means: Floats,
    quats: Floats,
    scales: Floats,
    opacities: Floats,
    sh: Floats,
    view: View,
    background: Floats,
    pool: Workers | None = None,
) -> Frame:
    """Draw splats with the kernels, without torch; arrays as in :func:`rasterize`, C order, one
    dtype.
    """
    pool = pool or workers()
    dtype, count = means.dtype, len(means)
    degree, camera = degree_of(sh), view.packed(means.dtype)
    projected = np.empty((count, PROJECTED), dtype)
    box = np.empty((count, 4), np.int32)
    pool.run(
        pool.even(count, _SMALLEST), project, means, quats, scales, opacities, sh, degree, camera,
        view.width, view.height, projected, box,
    )  # fmt: skip
    tiles_x, tiles_y = -(-view.width // TILE_X), -(-view.height // TILE_Y)
    starts, pairs, offsets, homes = bin_tiles(depth_order(projected, box), box, tiles_x, tiles_y)
    frame = Frame(
        view, camera, degree, projected, box, starts, pairs, offsets, homes,
        np.empty(tiles_x * tiles_y, np.int64),
        np.empty((3, view.height, view.width), dtype),
        np.empty((view.height, view.width), dtype),
        np.empty(len(pairs), np.int32),
    )  # fmt: skip
    pool.run(
        frame.tile_ranges(pool), raster, tiles_x, starts, pairs, projected,
        background, frame.image, frame.light, frame.ends, frame.touched,
    )  # fmt: skip
    return frame


def draw_backward(
    frame: Frame,
    means: Floats,
    quats: Floats,
    scales: Floats,
    sh: Floats,
    d_image: Floats,
    d_alpha: Floats,
    pool: Workers | None = None,
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """Gradients of the five parameters (their shapes) and (N,) lengths of the screen gradients."""
    pool = pool or workers()
    rows = np.empty((len(frame.pairs), GRADIENTS), means.dtype)
    pool.run(
        frame.tile_ranges(pool), raster_backward, frame.tiles_x, frame.starts, frame.ends,
        frame.pairs, frame.homes, frame.projected, frame.touched, frame.image, frame.light,
        d_image, d_alpha, rows,
    )  # fmt: skip
    count = len(means)
    out = (
        np.empty_like(means), np.empty_like(quats), np.empty_like(scales),
        np.empty(count, means.dtype), np.empty_like(sh), np.empty(count, means.dtype),
    )  # fmt: skip
    pool.run(
        pool.even(count, _SMALLEST), project_backward, means, quats, scales, sh, frame.degree,
        frame.camera, frame.view.width, frame.view.height, frame.projected, frame.box,
        frame.offsets, rows, *out,
    )  # fmt: skip
    return out


def _array(tensor: torch.Tensor) -> Floats:
    return tensor.detach().contiguous().numpy()


class _Rasterize(torch.autograd.Function):
    """The kernels as one differentiable torch operation."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        means: torch.Tensor,
        quats: torch.Tensor,
        scales: torch.Tensor,
        opacities: torch.Tensor,
        sh: torch.Tensor,
        view: View,
        background: torch.Tensor,
        screen: Screen,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        arrays = tuple(_array(t) for t in (means, quats, scales, opacities, sh))
        frame = draw(*arrays, view, _array(background))
        screen.drawn = frame.box[:, 1] > frame.box[:, 0]
        ctx.frame, ctx.arrays, ctx.screen = frame, arrays, screen
        return torch.from_numpy(frame.image), torch.from_numpy(1 - frame.light)

    @staticmethod
    def backward(ctx: Any, d_image: torch.Tensor, d_alpha: torch.Tensor) -> Any:  # type: ignore[override]
        means, quats, scales, _, sh = ctx.arrays
        *gradients, ctx.screen.gradients = draw_backward(
            ctx.frame, means, quats, scales, sh, _array(d_image), _array(d_alpha)
        )
        return (*(torch.from_numpy(g) for g in gradients), None, None, None)


def rasterize(
    means: torch.Tensor,
    quats: torch.Tensor,
    scales: torch.Tensor,
    opacities: torch.Tensor,
    sh: torch.Tensor,
    view: View,
    background: torch.Tensor,
) -> Rendering:
    """Draw splats; differentiable by the first five arguments.

    ``means`` (N, 3) in the view's world; ``quats`` (N, 4) wxyz, any length; ``scales`` (N, 3)
    natural logarithms; ``opacities`` (N,) logits; ``sh`` (N, K, 3) harmonics; ``background``
    (3,). All on the processor, all float32 or all float64 (for tests; slow).
    """
    screen = Screen()
    image, alpha = _Rasterize.apply(  # type: ignore[no-untyped-call]
        means, quats, scales, opacities, sh, view, background, screen
    )
    return Rendering(image, alpha, screen)

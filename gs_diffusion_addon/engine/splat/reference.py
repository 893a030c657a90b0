"""The rasterizer in plain torch: the readable reference, and the fallback where kernels cannot
run.

The same formulas as the kernels, written as tensor operations over the splats of one tile at a
time, so torch's own autograd gives the gradients. Any dtype and device; some hundred times
slower.
"""

from __future__ import annotations

import torch

from .harmonics import C0, C1, C2, C2_XY, C2_Z, C3_A, C3_B, C3_C, C3_D, C3_E
from .jit import DILATION, JACOBIAN_LIMIT
from .rasterizer import Rendering, Screen, View, degree_of

_TILE = 32


def harmonics(directions: torch.Tensor, degree: int) -> torch.Tensor:
    """(N, (degree + 1)^2) basis values of unit directions (N, 3); see :mod:`.harmonics`."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    bands = [
        [torch.full_like(x, C0)],
        [-C1 * y, C1 * z, -C1 * x],
        [C2 * x * y, -C2 * y * z, C2_Z * (2 * zz - xx - yy), -C2 * x * z, C2_XY * (xx - yy)],
        [
            -C3_A * y * (3 * xx - yy),
            C3_B * x * y * z,
            -C3_C * y * (4 * zz - xx - yy),
            C3_D * z * (2 * zz - 3 * xx - 3 * yy),
            -C3_C * x * (4 * zz - xx - yy),
            C3_E * z * (xx - yy),
            -C3_A * x * (xx - 3 * yy),
        ],
    ]
    return torch.stack([value for band in bands[: degree + 1] for value in band], -1)


def rotations(quats: torch.Tensor) -> torch.Tensor:
    """(N, 3, 3) rotations of quaternions (N, 4) wxyz of any length."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True).clamp_min(1e-12)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(-1, 3, 3)


def _clamped(slope: torch.Tensor, focal: float, principal: float, size: int) -> torch.Tensor:
    """x/z limited to 1.3 tan(fov/2) (:func:`.geometry.clamped_slope`); ``principal`` in pixels."""
    extra = JACOBIAN_LIMIT * 0.5 * size / focal
    return slope.clamp(-principal / focal - extra, (size - principal) / focal + extra)


def rasterize(
    means: torch.Tensor,
    quats: torch.Tensor,
    scales: torch.Tensor,
    opacities: torch.Tensor,
    sh: torch.Tensor,
    view: View,
    background: torch.Tensor,
) -> Rendering:
    """As :func:`.rasterizer.rasterize`."""
    rotation = torch.as_tensor(view.rotation).to(means)
    shift = torch.as_tensor(view.translation).to(means)
    x, y, z = (means @ rotation.T + shift).unbind(-1)
    opacity = torch.sigmoid(opacities)
    drawn = torch.nonzero((z > view.near) & (opacity * 255 > 1))[:, 0]
    drawn = drawn[torch.argsort(z[drawn], stable=True)]
    x, y, z, opacity = x[drawn], y[drawn], z[drawn], opacity[drawn]

    pixel = torch.stack([view.fl_x * x / z + view.cx, view.fl_y * y / z + view.cy], -1)
    zero = torch.zeros_like(z)
    slope_x = _clamped(x / z, view.fl_x, view.cx, view.width)
    slope_y = _clamped(y / z, view.fl_y, view.cy, view.height)
    jacobian = torch.stack(
        [
            torch.stack([view.fl_x / z, zero, -view.fl_x * slope_x / z], -1),
            torch.stack([zero, view.fl_y / z, -view.fl_y * slope_y / z], -1),
        ],
        -2,
    )
    shape = jacobian @ rotation @ rotations(quats[drawn]) * torch.exp(scales[drawn])[:, None]
    covariance = shape @ shape.transpose(1, 2) + DILATION * torch.eye(2).to(means)
    conic = torch.linalg.inv(covariance)

    degree = degree_of(sh)
    eye = -rotation.T @ shift
    directions = torch.nn.functional.normalize(means[drawn] - eye, dim=-1)
    weights = harmonics(directions, degree)
    color = 0.5 + (weights[..., None] * sh[drawn, : weights.shape[1]]).sum(1)
    color = color.clamp_min(0)

    if pixel.requires_grad:
        pixel.retain_grad()
    image, alpha = _composite(pixel, covariance, conic, opacity, color, view, background)
    mask = torch.zeros(len(means), dtype=torch.bool)
    mask[drawn] = True
    return Rendering(image, alpha, _LateScreen(mask.numpy(), pixel, drawn))


class _LateScreen(Screen):
    """Screen gradients read from the pixel positions' gradient when they are asked for."""

    def __init__(self, drawn: object, pixel: torch.Tensor, order: torch.Tensor) -> None:
        self.drawn, self._pixel, self._order = drawn, pixel, order

    @property
    def gradients(self) -> object:  # type: ignore[override]
        """(N,) lengths of the gradients by pixel position."""
        out = torch.zeros(len(self.drawn))  # type: ignore[arg-type]
        if self._pixel.grad is not None:
            out[self._order] = self._pixel.grad.norm(dim=-1).float()
        return out.numpy()


def _composite(
    pixel: torch.Tensor,
    covariance: torch.Tensor,
    conic: torch.Tensor,
    opacity: torch.Tensor,
    color: torch.Tensor,
    view: View,
    background: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend depth-sorted splats tile by tile -> image (3, H, W), alpha (H, W)."""
    with torch.no_grad():
        reach = 2 * torch.log(255 * opacity)
        half = torch.sqrt(reach[:, None] * torch.diagonal(covariance, dim1=1, dim2=2)) + 1
        low, high = pixel - half, pixel + half
    rows = []
    for top in range(0, view.height, _TILE):
        bottom = min(top + _TILE, view.height)
        row = []
        for left in range(0, view.width, _TILE):
            right = min(left + _TILE, view.width)
            here = (low[:, 0] < right) & (high[:, 0] > left)
            here &= (low[:, 1] < bottom) & (high[:, 1] > top)
            k = torch.nonzero(here)[:, 0]
            row.append(_tile(pixel[k], conic[k], opacity[k], color[k], (top, bottom, left, right)))
        rows.append(torch.cat(row, 2))
    layers = torch.cat(rows, 1)
    light = layers[3]
    return layers[:3] + light * background[:, None, None].to(layers), 1 - light


def _tile(
    pixel: torch.Tensor,
    conic: torch.Tensor,
    opacity: torch.Tensor,
    color: torch.Tensor,
    box: tuple[int, int, int, int],
) -> torch.Tensor:
    """(4, h, w): premultiplied color, and the light that passes all splats of the tile."""
    top, bottom, left, right = box
    ys = torch.arange(top, bottom).to(pixel) + 0.5
    xs = torch.arange(left, right).to(pixel) + 0.5
    dx = xs[None, None, :] - pixel[:, 0, None, None]
    dy = ys[None, :, None] - pixel[:, 1, None, None]
    a, b, c = (conic[:, i, j, None, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    power = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    alpha = (opacity[:, None, None] * torch.exp(power)).clamp_max(0.99)
    alpha = torch.where(alpha >= 1 / 255, alpha, torch.zeros_like(alpha))
    passing = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(passing[:1]), passing[:-1]]) if len(alpha) else passing
    layers = torch.einsum("nhw,nc->chw", alpha * before, color)
    last = passing[-1:] if len(alpha) else torch.ones((1, *power.shape[1:])).to(pixel)
    return torch.cat([layers, last])

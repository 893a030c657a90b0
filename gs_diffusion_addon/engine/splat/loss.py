"""The training loss: (1 - w) L1 + w (1 - SSIM), as a torch function over the kernels and in
plain torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional

from .loss_kernels import RADIUS, STRIP, loss_and_gradient, window
from .runtime import workers

Crop = tuple[int, int, int, int]
DSSIM = 0.2  # share of D-SSIM in the loss (Kerbl et al. 2023)


def crop_of(alpha: torch.Tensor, object_box: Crop) -> Crop:
    """The part of a picture that can contribute to the loss: rows and columns, past-the-last
    ones excluded.

    ``alpha`` (H, W) of the rendering; ``object_box`` holds the target's opaque pixels. Elsewhere
    both pictures show the background, so both losses are zero; the margin is what SSIM's window
    reaches.
    """
    height, width = alpha.shape
    top, bottom, left, right = object_box
    rows, columns = (
        np.flatnonzero(1 - alpha.detach().amax(axis).numpy() < np.float32(0.999)) for axis in (1, 0)
    )
    if len(rows):
        top, bottom = min(top, int(rows[0])), max(bottom, int(rows[-1]) + 1)
        left, right = min(left, int(columns[0])), max(right, int(columns[-1]) + 1)
    if top >= bottom:
        return 0, height, 0, width
    margin = 2 * RADIUS  # SSIM differs within one radius, and looks one further
    return (
        max(0, top - margin),
        min(height, bottom + margin),
        max(0, left - margin),
        min(width, right + margin),
    )


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, image: torch.Tensor, target: torch.Tensor, crop: Crop, weight: float
    ) -> torch.Tensor:
        x, y = (t.detach().contiguous().numpy() for t in (image, target))
        top, bottom = crop[:2]
        strips = 3 * -(-(bottom - top) // STRIP)
        unlike, absolute = np.empty(strips, np.float32), np.empty(strips, np.float32)
        gradient = np.empty_like(x)
        gradient[:, :top] = gradient[:, bottom:] = 0
        workers().run(
            list(range(strips + 1)), loss_and_gradient, x.ravel(), y.ravel(), *x.shape[1:],
            np.array(crop, np.int64), np.float32(weight), np.float32(1 / x.size),
            gradient.ravel(), unlike, absolute,
        )  # fmt: skip
        ctx.gradient = torch.from_numpy(gradient)
        sums = (float(part.sum(dtype=np.float64)) for part in (absolute, unlike))
        value = sum(share * part for share, part in zip((1 - weight, weight), sums, strict=True))
        return image.new_tensor(value / x.size)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> Any:  # type: ignore[override]
        gradient = ctx.gradient if slope == 1 else ctx.gradient * slope
        return gradient, None, None, None


def l1_dssim(
    image: torch.Tensor, target: torch.Tensor, crop: Crop | None = None, weight: float = DSSIM
) -> torch.Tensor:
    """The loss of ``image`` (3, H, W) against ``target``, float32 of 0..1, averaged over the
    whole picture.

    Outside ``crop`` (rows, then columns) the two are taken to be equal.
    """
    if crop is None:
        crop = (0, image.shape[1], 0, image.shape[2])
    return _Loss.apply(image, target, crop, weight)  # type: ignore[no-untyped-call, no-any-return]


def ssim_map(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """SSIM (3, H, W) of two pictures in plain torch, any device; the kernels' reference."""
    taps = torch.from_numpy(window()).to(image)
    kernel = (taps[:, None] * taps).expand(3, 1, -1, -1)

    def filtered(picture: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(picture[None], kernel, padding=RADIUS, groups=3)[0]

    mx, my = filtered(image), filtered(target)
    vx = filtered(image * image) - mx * mx
    vy = filtered(target * target) - my * my
    covariance = filtered(image * target) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mx * my + c1) * (2 * covariance + c2)) / (
        (mx * mx + my * my + c1) * (vx + vy + c2)
    )


def l1_dssim_torch(
    image: torch.Tensor, target: torch.Tensor, crop: Crop | None = None, weight: float = DSSIM
) -> torch.Tensor:
    """:func:`l1_dssim` in plain torch, for CUDA and for the fallback without kernels; the whole
    picture.
    """
    return (1 - weight) * (image - target).abs().mean() + weight * (
        1 - ssim_map(image, target).mean()
    )


def psnr(image: npt.ArrayLike, target: npt.ArrayLike) -> float:
    """Peak signal-to-noise ratio of two pictures of 0..1, in dB; 100 for equal ones."""
    error = float(np.mean((np.asarray(image, np.float64) - np.asarray(target, np.float64)) ** 2))
    return min(100.0, -10 * float(np.log10(max(error, 1e-10))))

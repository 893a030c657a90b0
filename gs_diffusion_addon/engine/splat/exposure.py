"""Per-view exposure: how much brighter each training picture is than the model, by channel.

Restyled views differ in brightness although they show one thing; with a gain of its own a view
need not paint that difference onto the splats. The gain is the least-squares one of the picture
against the drawing, c.t / c.c over the object, averaged over a view's visits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from ..images import Bytes
from .rasterizer import Rendering

Gains = npt.NDArray[np.float64]
_NEW = 0.5  # share of a visit in a view's gain
_LEAST, _MOST = 0.5, 2.0


def visit(
    gains: Gains, k: int, rendering: Rendering, rgba: Bytes, background: torch.Tensor
) -> None:
    """Update row ``k`` of ``gains`` (views, 3) from a drawing of that view, in place."""
    with torch.no_grad():
        light = (1 - rendering.alpha)[None].cpu().numpy()
        drawn = rendering.image.cpu().numpy() - light * background.cpu().numpy()[:, None, None]
    opaque = rgba[..., 3] > 127
    inside = drawn[:, opaque]
    target = rgba[opaque][:, :3].T / np.float32(255)
    power = (inside * inside).sum(1, dtype=np.float64)
    if (power > 1e-6).all():
        gain = (inside * target).sum(1, dtype=np.float64) / power
        gains[k] += _NEW * (np.clip(gain, _LEAST, _MOST) - gains[k])


def center(gains: Gains) -> None:
    """Make the views' mean logarithm zero, so that the model itself keeps its brightness."""
    gains /= np.exp(np.log(gains).mean(0))


def exposed(
    rendering: Rendering, gain: npt.NDArray[np.float64], background: torch.Tensor
) -> torch.Tensor:
    """(3, H, W): the drawing with the model's light times ``gain`` (3,), the background's as is."""
    factor = torch.from_numpy(gain.astype(np.float32)).to(background.device)[:, None, None]
    behind = (1 - rendering.alpha)[None] * background[:, None, None]
    return rendering.image * factor + (1 - factor) * behind

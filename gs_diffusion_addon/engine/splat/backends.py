"""What draws and judges during training: the kernels, their plain torch reference, or gsplat on
CUDA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

from ...core.ply import Splats
from . import gsplat_backend, rasterizer, reference
from .dataset import Picture
from .gsplat_strategy import Strategy
from .loss import Crop, crop_of, l1_dssim, l1_dssim_torch
from .loss_kernels import composite, composite_blocks
from .model import model_of
from .rasterizer import Rasterizer, View
from .runtime import forget_kernels, workers

Floats = npt.NDArray[np.float32]
Loss = Callable[[torch.Tensor, torch.Tensor, Crop | None], torch.Tensor]


@dataclass(frozen=True)
class Backend:
    """A way to train: where tensors live, how splats are drawn, how pictures are compared.

    ``kernels``: ours on the processor, which limit the loss to the part of the picture that the
    object covers, and step the parameters. ``strategy``: adds and removes splats instead of the
    recipe's own rounds.
    """

    name: str
    device: str
    rasterize: Rasterizer
    loss: Loss
    kernels: bool = False
    strategy: Strategy | None = None

    def target(self, picture: Picture, background: torch.Tensor) -> torch.Tensor:
        """(3, H, W) float32: the picture over ``background`` (3,)."""
        height, width, block = picture.view.height, picture.view.width, picture.block
        if self.kernels:
            out, behind = np.empty((3, height, width), np.float32), background.numpy()
            pool, rgba = workers(), np.ascontiguousarray(picture.rgba)
            if block == 1:
                pool.run(pool.even(height), composite, rgba, behind, out)
            else:
                pool.run(pool.even(height), composite_blocks, rgba, block, behind, out)
            return torch.from_numpy(out)
        pixels = torch.from_numpy(picture.rgba).to(self.device).permute(2, 0, 1) / 255
        full = pixels[:3] * pixels[3] + background[:, None, None] * (1 - pixels[3])
        return full if block == 1 else torch.nn.functional.avg_pool2d(full[None], block)[0]

    def draw_on_black(self, *arrays_and_view: Any) -> tuple[Floats, Floats]:
        """Color (3, H, W) and alpha (H, W) on black, numpy in and out, without gradients.

        Takes the rasterizer's five arrays and its view.
        """
        *arrays, view = arrays_and_view
        with torch.no_grad():
            tensors = (torch.from_numpy(a).to(self.device) for a in arrays)
            drawn = self.rasterize(*tensors, view, torch.zeros(3, device=self.device))
        return drawn.image.cpu().numpy(), drawn.alpha.cpu().numpy()

    def crop(self, alpha: torch.Tensor, picture: Picture) -> Crop | None:
        """The part of the picture the loss needs, or None for all of it."""
        return crop_of(alpha, picture.box) if self.kernels else None


def builtin() -> Backend:
    """The numba kernels on the processor."""
    return Backend("builtin", "cpu", rasterizer.rasterize, l1_dssim, kernels=True)


def plain() -> Backend:
    """Plain torch on the processor: correct, and some hundred times slower."""
    return Backend("plain torch", "cpu", reference.rasterize, l1_dssim_torch)


def gsplat(strategy: str = "recipe", device: str = "cuda") -> Backend:
    """gsplat on CUDA; see :mod:`.gsplat_backend`, and :mod:`.gsplat_strategy` for ``strategy``
    default and mcmc.
    """
    own = None if strategy == "recipe" else Strategy(strategy)
    return Backend("gsplat", device, gsplat_backend.rasterize, l1_dssim_torch, strategy=own)


def processor() -> tuple[Backend, str | None]:
    """The kernels, compiled and tried; or plain torch and the sentence that announces it."""
    backend = builtin()
    try:
        try:
            warm_up(backend)
        except numba.core.errors.NumbaError:
            raise
        except Exception:  # what a damaged file of the cache raises; any other comes again
            if not forget_kernels():
                raise
            warm_up(backend)
    except numba.core.errors.NumbaError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return plain(), (
            f"The fast kernels cannot be compiled on this machine ({reason}); plain torch draws "
            "the splats instead, some hundred times slower."
        )
    return backend, None


def warm_up(backend: Backend) -> None:
    """Draw, compare, differentiate and step once with a tiny picture and with its half, so that
    everything is compiled.
    """
    view = View(16, 16, 16.0, 16.0, 8.0, 8.0, np.eye(3), np.zeros(3), 0.1)
    background = torch.zeros(3, device=backend.device)
    one = Splats(
        np.float32([[0, 0, 2]]), np.zeros((1, 1, 3), np.float32), np.zeros(1, np.float32),
        np.full((1, 3), -1.5, np.float32), np.float32([[1, 0, 0, 0]]),
    )  # fmt: skip
    model = model_of(one, backend.device, 1.0, backend.kernels)
    rendering = backend.rasterize(*model.arguments(), view, background)
    rgba = np.full((16, 16, 4), 255, np.uint8)
    picture = Picture(rgba, None, view, (0, 16, 0, 16), 0)  # type: ignore[arg-type]
    target = backend.target(picture, background)
    crop = backend.crop(rendering.alpha, picture)
    backend.loss(rendering.image, target, crop).backward()
    model.optimizer.step()
    backend.target(picture.halved(), background)

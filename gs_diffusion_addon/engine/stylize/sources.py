"""What is restyled: the frames' pictures, and the plain color behind them.

From the second iteration on that is what the last splat shows, or the turntable again, or a mix of
both. With the turntable alone the splat is only a guide, as in Instruct-GS2GS, which edits the
original pictures again and again and lets the splat make the edits agree: keyframes take their
broad colors from it, and tile control shows it to the diffusion model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ...core.errors import InputError
from ...core.run import Run
from ...core.settings import Settings
from ..guides import cameras
from ..images import GRAY, Bytes, read_rgba, to_bytes, write_png
from ..parallel import in_order, thread_count
from .collage import Layout

Color = tuple[float, float, float]
Floats = npt.NDArray[np.float32]

BROAD = 0.04  # of the picture's side: what is wider than this counts as broad color


def prepare_sources(run: Run, settings: Settings) -> None:
    """Write run.sources, every frame's picture to restyle, unless that is the last splat's render
    or the turntable's frame as it is.
    """
    if run.iteration <= 1 or settings.source == "last":
        return
    share = settings.source_blend if settings.source == "blend" else 0.0
    last = run.at(run.iteration - 1)

    def write(number: int) -> None:
        path = run.sources / f"{number:05d}.png"
        if not path.is_file():
            original, splat = read_rgba(run.frame(number)), read_rgba(last.render(number))
            write_png(path, mixed(original, splat, share))

    for _ in in_order(write, [f.frame for f in cameras(run)], thread_count(settings)):
        pass


def mixed(original: Bytes, splat: Bytes, share: float) -> Bytes:
    """(H, W, 4) uint8, straight alpha: ``share`` of the splat's picture, the rest the original's.

    Mixed premultiplied, so that what only one of them shows is neither dark nor bright.
    """
    if share <= 0:
        return original
    a, b = original.astype(np.float32) / 255, splat.astype(np.float32) / 255
    alpha = (1 - share) * a[..., 3:] + share * b[..., 3:]
    color = (1 - share) * a[..., :3] * a[..., 3:] + share * b[..., :3] * b[..., 3:]
    return to_bytes(np.concatenate([color / np.maximum(alpha, 1e-6), alpha], axis=-1))


def guiding(run: Run, settings: Settings) -> Run | None:
    """The iteration whose splat guides this one's keyframes; None if it does not."""
    on = run.iteration > 1 and settings.source == "original" and settings.splat_guide > 0
    return run.at(run.iteration - 1) if on else None


def guided(run: Run, settings: Settings, number: int, styled: Bytes) -> Bytes:
    """A restyled keyframe (H, W, 3) uint8 with its broad colors drawn to the last splat's."""
    last = guiding(run, settings)
    if last is None:
        return styled
    return toward(styled, read_rgba(last.render(number)), settings.splat_guide)


def toward(styled: Bytes, guide: Bytes, share: float) -> Bytes:
    """``styled`` (H, W, 3) uint8, its broad colors moved by ``share`` to those of ``guide`` (H, W,
    4), where that shows something; detail stays.
    """
    alpha = guide[..., 3].astype(np.float32) / 255
    sigma = BROAD * max(alpha.shape)
    weight = np.maximum(ndimage.gaussian_filter(alpha, sigma), 1e-3)

    def broad(color: Bytes) -> Floats:
        layers = [
            ndimage.gaussian_filter(color[..., c].astype(np.float32) / 255 * alpha, sigma) / weight
            for c in range(3)
        ]
        return np.stack(layers, axis=-1)

    move = share * (broad(guide[..., :3]) - broad(styled)) * alpha[..., None]
    return to_bytes(styled.astype(np.float32) / 255 + move)


def backdrop(sources: Iterable[Bytes]) -> Color:
    """The plain color behind ``sources`` ((H, W, 4) uint8): halfway from gray to their mean."""
    total, weight = np.zeros(3), 0.0
    for rgba in sources:
        alpha = rgba[..., 3].astype(np.float64) / 255
        total += np.einsum("hwc,hw->c", rgba[..., :3].astype(np.float64) / 255, alpha)
        weight += float(alpha.sum())
    color = np.array(GRAY) if weight == 0 else (total / weight + GRAY) / 2
    red, green, blue = (round(float(c), 4) for c in color)
    return red, green, blue


def checked(path: Path, layout: Layout) -> Bytes:
    """Read a source (H, W, 4) uint8 of the layout's frame size. Raises InputError."""
    rgba = read_rgba(path)
    if rgba.shape[:2] != (layout.height, layout.width):
        raise InputError(
            f"{path} has {rgba.shape[1]}x{rgba.shape[0]} pixels, the first frame "
            f"{layout.width}x{layout.height}."
        )
    return rgba

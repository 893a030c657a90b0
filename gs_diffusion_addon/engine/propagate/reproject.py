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
from ...core.keyframes import used
from ...core.run import Run
from ...core.settings import Settings
from ..guides import View, depth_edges, read_view
from ..parallel import in_order, thread_count
from . import Painted, Painter, Target, alpha_of, kernel, read_key, unmixed
from .weave import weave

CRISP = 1 / 13
"""How much of a picture's Laplacian is taken from it. Bilinear sampling loses 1/12 on average; a
little less keeps every model measured within a tenth of its keys' sharpness (bench/propagation.py).
"""

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Fills:
    """Views in which holes were filled, and ``weight`` (K, h, w), positive where."""

    pictures: kernel.Pictures
    weight: Floats


@dataclass(frozen=True, eq=False)
class KeySet:
    """Keys ready for the kernel.

    ``weight`` and ``spare`` (K, h, w): a key's share of its pixels, and its share where nothing of
    ``weight`` is seen. ``fills``: what there is for points that no key sees.
    """

    pictures: kernel.Pictures
    weight: Floats
    spare: Floats
    fills: Fills | None = None

    @classmethod
    def of(
        cls, views: Sequence[View], colors: Bytes, mode: str = "soft", sharpness: float = 8.0
    ) -> KeySet:
        """Weave ``colors`` (K, h, w, 3) uint8 of keys of one size, see :func:`.weave.weave`."""
        woven = weave(views, colors, mode, sharpness)
        crisp = [crispened(c, solid(v)) for c, v in zip(woven.color, views, strict=True)]
        return cls(kernel.Pictures.of(views, np.stack(crisp)), woven.weight, woven.spare)


def solid(view: View) -> Mask:
    """(h, w) bool: the model less the pixels at its inner silhouettes."""
    return view.mask & ~depth_edges(view.depth, view.camera.fl_x)


def prepare(run: Run, settings: Settings, frames: Sequence[Frame], emit: Emit) -> Painter:
    """Load all keyframes with their geometry; raises InputError if one is missing."""
    keys = load_keys(run, settings, frames, emit)
    emit("phase", message="Compiling the kernels")
    kernel.warm_up(keys.pictures, keys.weight)
    if settings.holes == "patches":
        from . import holes

        emit("phase", message="Filling what no keyframe sees")
        keys = holes.complete(run, settings, frames, keys)

    def paint(target: Target) -> Painted:
        return closed(target.view, keys)[0]

    return paint


def load_keys(run: Run, settings: Settings, frames: Sequence[Frame], emit: Emit) -> KeySet:
    """The run's keys, woven as the settings say; raises InputError if one is missing."""
    by_number = {f.frame: f for f in frames}
    wanted = used(run, settings)
    missing = [k for k in wanted if k not in by_number]
    if missing:
        raise InputError(
            f"Keyframe {missing[0]} is not a frame of {run.transforms_main.name}; "
            "run the turntable stage again."
        )
    emit("phase", message=f"Loading {len(wanted)} keyframes")

    def load(number: int) -> tuple[View, Bytes]:
        view, key = read_view(run, by_number[number]), read_key(run, by_number[number])
        return view, unmixed(key, alpha_of(run.source(number), view), view.mask)

    loaded = [pair for _, pair in in_order(load, wanted, thread_count(settings))]
    emit("phase", message="Fitting the keyframes together on the surface")
    colors = np.stack([color for _, color in loaded])
    return KeySet.of([view for view, _ in loaded], colors, settings.seams, settings.sharpness)


def crispened(color: Bytes, mask: Mask) -> Bytes:
    """(h, w, 3) uint8 sharpened by what bilinear sampling between pixels will take away.

    A sample at a random place keeps 1 - (1 - cos w) / 3 of the power of frequency w along each
    axis, so its amplitude is restored to first order by adding (2 - 2 cos w) / 12 of the picture:
    ``CRISP`` times its negative Laplacian. Pixels off ``mask`` are left alone and are no neighbors.
    """
    return _crispened(color, mask)


@njit(nogil=True, cache=True)
def _crispened(color: Bytes, mask: Mask) -> Bytes:
    h, w = mask.shape
    out = color.copy()
    for y in range(h):
        for x in range(w):
            if not mask[y, x]:
                continue
            for c in range(3):
                own = np.float32(color[y, x, c])
                value = own
                for j, i in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                    if 0 <= j < h and 0 <= i < w and mask[j, i]:
                        value += (own - np.float32(color[j, i, c])) * np.float32(CRISP)
                out[y, x, c] = np.uint8(min(max(value + np.float32(0.5), 0), 255))
    return out


def reproject(target: View, keys: KeySet) -> tuple[Floats, kernel.Labels]:
    """Color (h, w, 3) float32 of 0..1 of each pixel's surface point, and the key that counts most
    there, (h, w) int16, those of filled holes counting on; -1 and black where nothing is known.
    """
    canvas = painted(target, keys)
    return canvas.color, canvas.label


def closed(target: View, keys: KeySet) -> tuple[Painted, kernel.Labels]:
    """The frame with blank pixels beside another part of the model filled from their own part, and
    the labels of :func:`reproject`, which these do not have.
    """
    canvas = painted(target, keys)
    label = canvas.label.copy()
    kernel.close(canvas, target, 0)
    seen = (label >= 0) & (label < len(keys.pictures.views))
    return Painted(canvas.color, canvas.label >= 0, seen), label


def painted(target: View, keys: KeySet, taps: int = kernel.MOST_TAPS) -> kernel.Canvas:
    """The frame from the keys' own parts, then from whatever key sees a point, then from what was
    filled in.
    """
    canvas = kernel.Canvas.blank(target.depth.shape)  # type: ignore[arg-type]
    for weight in (keys.weight, keys.spare):
        kernel.paint(canvas, target, keys.pictures, weight, taps)
    if keys.fills is not None:
        seen = canvas.label >= 0
        kernel.paint(canvas, target, keys.fills.pictures, keys.fills.weight, taps)
        canvas.label[(canvas.label >= 0) & ~seen] += len(keys.pictures.views)
    return canvas

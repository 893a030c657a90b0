"""Posed pictures as the trainer uses them: uint8 pixels, cameras, and a normalized world.

Training happens in a local world: centered on what the cameras look at and divided by their
extent, so that float32 and the learning rates mean the same for a ring in millimeters and a
house in kilometers. :class:`World` goes both ways.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.cameras import Camera
from ...core.dataset import Frame
from ...core.errors import InputError
from ...core.ply import Splats
from ..images import Bytes, read_rgba
from .loss import Crop
from .rasterizer import View
from .sources import (
    check_size,
    no_data_set,
    picture_path,
    reconstructed,
    reconstruction,
    straight_frames,
)

_EVERY = 8  # frame of an undivided data set is held out
NEAR = 0.02  # of the extent; graphdeco's 0.2 m for the 4-10 m its scenes extend


@dataclass(frozen=True, eq=False)
class World:
    """The local world: ``local = (world - center) / scale``; ``center`` (3,), both float64."""

    center: npt.NDArray[np.float64]
    scale: float

    @staticmethod
    def of(cameras: Sequence[Camera]) -> World:
        """Centered on the point nearest to all optical axes; scale = 1.1 x the cameras' largest
        distance.

        1.1 x the largest distance from the cameras' mean is graphdeco's extent, which the
        paper's learning rates refer to; from the point looked at it is the same for a ring and
        also defined for one camera.
        """
        places = np.array([c.position for c in cameras])
        axes = np.array([-c.matrix[:3, 2] for c in cameras])
        across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
        total = across.sum(0)
        center = places.mean(0) + axes.mean(0)
        if np.linalg.cond(total) < 1e6:
            center = np.linalg.solve(total, (across @ places[:, :, None])[..., 0].sum(0))
        reach = float(np.linalg.norm(places - center, axis=1).max())
        return World(center, 1.1 * reach if reach > 0 else 1.0)

    def view(self, camera: Camera) -> View:
        """A camera's view of the local world."""
        return View.of(camera, NEAR, self.center, self.scale)

    def localized(self, points: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """World points (N, 3) -> local ones."""
        return ((np.asarray(points, np.float64) - self.center) / self.scale).astype(np.float32)

    def splats_out(self, local: Splats) -> Splats:
        """A local model in Blender's world."""
        means = local.means.astype(np.float64) * self.scale + self.center
        scales = local.scales + np.float32(np.log(self.scale))
        return Splats(means.astype(np.float32), local.sh, local.opacities, scales, local.quats)

    def splats_in(self, splats: Splats) -> Splats:
        """A model in Blender's world -> local."""
        scales = splats.scales - np.float32(np.log(self.scale))
        return Splats(
            self.localized(splats.means), splats.sh, splats.opacities, scales, splats.quats
        )


@dataclass(frozen=True, eq=False)
class Picture:
    """One posed picture: ``rgba`` (H, W, 4) uint8, its camera and local view, where it is
    opaque.

    ``box``: first and past-the-last row, first and past-the-last column of the pixels with alpha
    > 0; for an empty picture (H, 0, W, 0), which grows to anything in :func:`.loss.crop_of`.
    ``weight`` multiplies the picture's loss. ``depth`` (H, W) float32, if known: the surface's
    camera z in local units, infinite where there is none. ``block``: a pixel of ``view`` and
    ``box`` is the mean of a square of this many times this many pixels of ``rgba``.
    """

    rgba: Bytes
    camera: Camera
    view: View
    box: Crop
    frame: int
    weight: float = 1.0
    depth: npt.NDArray[np.float32] | None = None
    block: int = 1

    def halved(self) -> Picture:
        """The same picture at half its size, without depth; shares the pixels."""
        view, (top, bottom, left, right) = self.view.halved(), self.box
        box = (
            min(top // 2, view.height), min((bottom + 1) // 2, view.height),
            min(left // 2, view.width), min((right + 1) // 2, view.width),
        )  # fmt: skip
        return dataclasses.replace(self, view=view, box=box, depth=None, block=2 * self.block)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and held-out pictures in one local world."""

    train: list[Picture]
    held_out: list[Picture]
    world: World

    @property
    def shown(self) -> bool:
        """Whether any training picture has an opaque pixel."""
        return any(p.box[1] > p.box[0] for p in self.train)


def _box(alpha: npt.NDArray[Any]) -> Crop:
    rows, columns = np.nonzero(alpha.any(1))[0], np.nonzero(alpha.any(0))[0]
    if not len(rows):
        return alpha.shape[0], 0, alpha.shape[1], 0
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def load_picture(folder: Path, frame: Frame, world: World) -> Picture:
    """Read a frame's picture; raises InputError when it is missing or of another size than its
    camera.
    """
    path = picture_path(folder, frame.file_path)
    rgba = read_rgba(path)
    camera = frame.camera
    check_size(path, (rgba.shape[1], rgba.shape[0]), camera)
    return Picture(rgba, camera, world.view(camera), _box(rgba[..., 3] > 0), frame.frame)


def load(folder: Path) -> Dataset:
    """The data set of transforms_train.json and, for judging, transforms_val.json or _test.json
    in ``folder``.

    Raises InputError when a file is missing or there is no training picture.
    """
    return _dataset(folder, *_split_files(folder, ("val", "test")))


def load_any(folder: Path, images: str = "") -> Dataset:
    """Any data set of posed pictures: transforms_train.json with transforms_test.json (or _val),
    else transforms.json or a COLMAP model, every eighth of whose frames is held out, as the field
    does.

    ``images``: where a COLMAP model's pictures are (default: images). Raises InputError when there
    is none of them, or no training picture.
    """
    if (folder / "transforms_train.json").is_file():
        return _dataset(folder, *_split_files(folder, ("test", "val")))
    model = reconstruction(folder)
    if model:
        frames = reconstructed(folder, model, images)
    elif (folder / "transforms.json").is_file():
        frames = straight_frames(folder / "transforms.json")
    else:
        raise no_data_set(folder)
    held = frames[::_EVERY] if len(frames) >= _EVERY else []
    return _dataset(folder, [f for f in frames if f not in held], held)


def _split_files(folder: Path, judges: Sequence[str]) -> tuple[list[Frame], list[Frame]]:
    frames = straight_frames(folder / "transforms_train.json")
    for name in judges:
        path = folder / f"transforms_{name}.json"
        found = straight_frames(path) if path.is_file() else []
        if found:
            return frames, found
    return frames, []


def _dataset(folder: Path, frames: Sequence[Frame], held: Sequence[Frame]) -> Dataset:
    if not frames:
        raise InputError(f"The data set {folder} holds no frames to train on.")
    world = World.of([f.camera for f in frames])
    return Dataset(
        [load_picture(folder, f, world) for f in frames],
        [load_picture(folder, f, world) for f in held],
        world,
    )

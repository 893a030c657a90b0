"""Data sets for installed trainers: the frames of ``run.gs`` in the layout each reads right.

All are written in Blender's world, so a result comes back without a rotation. Frames are composited
in float on a stated background. Readers that know no principal point get pictures padded until it
lies in their middle; :class:`Framed` remembers by how much, so that renders can be cropped again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...core.cameras import Camera
from ...core.colmap import write_cameras
from ...core.dataset import Frame, read_transforms, write_transforms
from ...core.errors import InputError
from ...core.exr import read_guide
from ...core.run import Run, atomic, write_json
from ..dataset import place_file
from ..images import over, read_rgba, to_bytes, write_png

DEPTH_UNIT = 512.0
"""graphdeco's depth maps of transforms scenes hold round(512 / z)."""

HOLD_OUT = 8
"""graphdeco's COLMAP reader holds out every 8th name, the first included."""

_BACKGROUND = 1e9  # planar depth from which on a pixel shows nothing


@dataclass(frozen=True, eq=False)
class Framed:
    """A frame as a trainer gets it: its camera there, and what was added on the left and on top.

    ``frame`` is the run's own; ``source`` its picture with straight alpha.
    """

    frame: Frame
    source: Path
    camera: Camera
    left: int = 0
    top: int = 0

    def cropped(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A picture in the trainer's frame -> the run's."""
        c = self.frame.camera
        return pixels[self.top : self.top + c.height, self.left : self.left + c.width]


@dataclass(frozen=True)
class Sets:
    """Training and held-out frames of an iteration."""

    train: list[Framed]
    test: list[Framed]

    @property
    def all(self) -> list[Framed]:
        """Both."""
        return [*self.train, *self.test]


def sets_of(run: Run, centered: bool) -> Sets:
    """The frames of ``run.gs``; ``centered`` pads them for readers without a principal point.

    Raises InputError when there is no training frame.
    """
    parts = []
    for name in ("train", "test"):
        path = run.gs / f"transforms_{name}.json"
        frames = read_transforms(path) if path.is_file() else []
        parts.append([framed(f, run.gs / f"{f.file_path}.png", centered) for f in frames])
    if not parts[0]:
        raise InputError(f"{run.gs / 'transforms_train.json'} holds no frames to train on.")
    return Sets(*parts)


def all_views(run: Run, centered: bool) -> list[Framed]:
    """All turntable frames in order of their number, with their restyled pictures."""
    frames = sorted(read_transforms(run.transforms_main), key=lambda f: f.frame)
    return [framed(f, run.stylized_frame(f.frame), centered) for f in frames]


def framed(frame: Frame, source: Path, centered: bool) -> Framed:
    """A frame for a trainer, padded to have its principal point in the middle if asked for."""
    c = frame.camera
    if not centered:
        return Framed(frame, source, c)
    left, width = _centered(c.cx, c.width)
    top, height = _centered(c.cy, c.height)
    camera = replace(c, width=width, height=height, cx=c.cx + left, cy=c.cy + top)
    return Framed(frame, source, camera, left, top)


def _centered(principal: float, size: int) -> tuple[int, int]:
    """Pixels to add before, and the new size, that bring ``principal`` within 1/2 px of the middle.

    Whole pixels only; what is left (less than half a pixel) is a shift of the picture that these
    readers cannot be told.
    """
    shift = round(2 * principal - size)
    return max(0, -shift), size + abs(shift)


def is_square(frames: Sequence[Framed]) -> bool:
    """Whether one ``camera_angle_x`` and one size describe all cameras."""
    first = frames[0].camera
    return all(
        abs(f.camera.fl_x / f.camera.fl_y - 1) < 1e-6
        and (f.camera.width, f.camera.height) == (first.width, first.height)
        and abs(f.camera.fl_x / first.fl_x - 1) < 1e-6
        for f in frames
    )


def picture(framed: Framed, background: Sequence[float]) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8: the frame over ``background``, padded as its camera says."""
    flat = to_bytes(over(read_rgba(framed.source), background))
    c = framed.camera
    if flat.shape[:2] == (c.height, c.width):
        return flat
    out = np.broadcast_to(to_bytes(background), (c.height, c.width, 3)).copy()
    out[framed.top : framed.top + flat.shape[0], framed.left : framed.left + flat.shape[1]] = flat
    return out


def padded(framed: Framed, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(h, w) in the run's frame -> the trainer's, zero outside."""
    c = framed.camera
    out = np.zeros((c.height, c.width), np.float32)
    out[framed.top : framed.top + values.shape[0], framed.left : framed.left + values.shape[1]] = (
        values
    )
    return out


# --- transforms, as NeRF's synthetic scenes -----------------------------------------------------


def write_transforms_scene(
    run: Run,
    folder: Path,
    train: Sequence[Framed],
    test: Sequence[Framed],
    background: Sequence[float],
    depths: bool = False,
) -> None:
    """``transforms_{train,test}.json``, opaque pictures, ``points3d.ply``, depth maps if asked for.

    graphdeco wants both files to be there and appends ".png" to each ``file_path``. Written last,
    so that where they are, all they name is there. What is there already is kept.
    """
    _points(run, folder / "points3d.ply")
    for name, members in (("train", train), ("test", test)):
        for f in members:
            _opaque(folder / name / f"r_{f.frame.frame}.png", f, background)
            if depths:
                _depth(folder / "depths" / f"r_{f.frame.frame}.png", run, f, DEPTH_UNIT)
    for name, members in (("train", train), ("test", test)):
        entries = [
            Frame(f"./{name}/r_{f.frame.frame}", f.camera, f.frame.frame, f.frame.ring)
            for f in members
        ]
        write_transforms(folder / f"transforms_{name}.json", entries)


def _points(run: Run, target: Path) -> None:
    if not target.is_file():
        place_file(run.gs / "points3d.ply", target)


def _opaque(path: Path, framed: Framed, background: Sequence[float]) -> None:
    if not path.is_file():
        write_png(path, picture(framed, background))


def inverse_depth(run: Run, framed: Framed) -> npt.NDArray[np.float32]:
    """(H, W) float32: 1 / planar depth in 1/m as the trainer sees it, 0 in the background.

    Raises InputError when the frame's guide is missing.
    """
    path = run.guide(framed.frame.frame)
    if not path.is_file():
        raise InputError(f"The guide {path} is missing; run the turntable stage again.")
    depth = read_guide(path).depth
    shown = depth < _BACKGROUND
    return padded(framed, np.where(shown, 1 / np.where(shown, depth, 1), 0).astype(np.float32))


def _depth(path: Path, run: Run, framed: Framed, unit: float) -> None:
    """A 16-bit PNG of round(unit / z)."""
    if path.is_file():
        return
    values = np.clip(np.rint(inverse_depth(run, framed) * unit), 0, 65535).astype(np.uint16)
    with atomic(path) as temporary:
        Image.fromarray(values).save(temporary, format="PNG")


def depths_fit(run: Run, frames: Sequence[Framed]) -> bool:
    """Whether round(512 / z) resolves these depths: to 1 % or better, below the 16 bits' end."""
    values = inverse_depth(run, frames[0])
    shown = values[values > 0]
    if not len(shown):
        return False
    return bool(np.median(shown) * DEPTH_UNIT > 50 and shown.max() * DEPTH_UNIT < 60000)


# --- COLMAP's text format -----------------------------------------------------------------------


def hold_out_order(train: Sequence[Framed], test: Sequence[Framed]) -> list[Framed]:
    """The frames in an order of names in which exactly the held-out ones are every 8th.

    A held-out frame that finds no place is left out; where they are too few, they come again.
    Without any, all frames are for training, which then holds out some of its own.
    """
    if not test:
        return list(train)
    places = math.ceil(len(train) / (HOLD_OUT - 1))
    step = max(1, len(test) // places)
    held = [test[(k * step) % len(test)] for k in range(places)]
    order: list[Framed] = []
    rest = iter(train)
    for k in range(len(train) + places):
        order.append(held[k // HOLD_OUT] if k % HOLD_OUT == 0 else next(rest))
    return order


def write_colmap_scene(
    run: Run,
    folder: Path,
    order: Sequence[Framed],
    background: Sequence[float],
    depths: bool = False,
) -> None:
    """``images/``, ``sparse/0/{cameras,images}.txt`` as core/colmap.py has it, ``points3D.ply``.

    Names sort in the given order. Depth maps hold 65536 z_near / z, with their scale in
    ``depth_params.json`` as graphdeco reads them.
    """
    sparse = folder / "sparse" / "0"
    names = [f"{k:05d}.png" for k in range(len(order))]
    for name, f in zip(names, order, strict=True):
        _opaque(folder / "images" / name, f, background)
    if depths:
        _colmap_depths(run, folder, names, order)
    _points(run, sparse / "points3D.ply")
    cameras = [(name, f.camera) for name, f in zip(names, order, strict=True)]
    write_cameras(sparse, cameras, text=True)


def _colmap_depths(run: Run, folder: Path, names: Sequence[str], order: Sequence[Framed]) -> None:
    nearest = max(float(inverse_depth(run, f).max()) for f in order)
    if nearest <= 0:
        raise InputError("No frame's guide shows the model, so there is no depth to train with.")
    # The reader computes value / 65536 * scale; the nearest point takes the largest value, 65535.
    scale = nearest * 65536 / 65535
    for name, f in zip(names, order, strict=True):
        _depth(folder / "depths" / name, run, f, 65536 / scale)
    params = {Path(name).stem: {"scale": scale, "offset": 0.0} for name in names}
    write_json(folder / "sparse" / "0" / "depth_params.json", params)


# --- nerfstudio's transforms.json ---------------------------------------------------------------


def write_nerfstudio_scene(
    run: Run,
    folder: Path,
    sets: Sets,
    *,
    names: tuple[str, str],
    points: str,
    background: Sequence[float] | None,
    model: str | None,
) -> None:
    """``transforms`` files with full intrinsics for each frame and extensions in ``file_path``.

    ``names``: of the training and the held-out file (empty: none is written). ``background``: None
    keeps the pictures' alpha. ``model``: the file's ``camera_model``, None leaves it out. Sizes may
    differ from frame to frame.
    """
    _points(run, folder / points)
    for name, part, members in zip(names, ("train", "test"), (sets.train, sets.test), strict=True):
        if not name:
            continue
        entries = []
        for f in members:
            path = folder / part / f"r_{f.frame.frame}.png"
            if background is None and not path.is_file():
                place_file(f.source, path)
            elif background is not None:
                _opaque(path, f, background)
            entries.append(_nerfstudio_frame(f"{part}/{path.name}", f.camera))
        head = {"camera_model": model} if model else {}
        write_json(folder / name, {**head, "ply_file_path": points, "frames": entries})


def _nerfstudio_frame(path: str, c: Camera) -> dict[str, object]:
    return {
        "file_path": path,
        "w": c.width,
        "h": c.height,
        "fl_x": c.fl_x,
        "fl_y": c.fl_y,
        "cx": c.cx,
        "cy": c.cy,
        "transform_matrix": c.matrix.tolist(),
    }

"""Where posed pictures come from: a transforms file, a folder with them, or a COLMAP model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ...core import colmap
from ...core.cameras import Camera
from ...core.dataset import Frame, read_transforms
from ...core.errors import InputError
from ...core.run import read_json
from ...core.upstream import Lens, lens_of
from ..images import size_of

IMAGES = "images"
"""The folder beside COLMAP's ``sparse`` that holds its pictures."""

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_DIVISIONS = ("train", "val", "test")
_BENT = 0.5  # pixels; what a lens may move without being taken for straight
_ROUNDING = 0.03  # how far shrunk pictures' sides may be from the camera's proportions


def picture_path(folder: Path, file_path: str) -> Path:
    """The picture that a transforms file in ``folder`` means; .png where it names no format."""
    path = folder / file_path
    if path.suffix.lower() not in _PICTURES:
        path = path.with_name(path.name + ".png")
    return path


def frames_in(path: Path) -> list[Frame]:
    """Frames of a transforms file; sizes come from the pictures where it names none."""
    return read_transforms(path, lambda name: size_of(picture_path(path.parent, name)))


def straight_frames(path: Path) -> list[Frame]:
    """:func:`frames_in`; raises InputError where the lens bends what no camera here would."""
    frames = frames_in(path)
    lens = lens_of(path, read_json(path))
    bent = float(np.max([_bend(f.camera, lens) for f in frames] or [0.0]))
    if not bent <= _BENT:
        raise InputError(
            f"{path}: its lens shifts pixels by up to {bent:.1f} (k1, k2, k3, p1, p2), and cameras "
            f"here have none; undistort the pictures first, for instance with COLMAP's "
            f"image_undistorter."
        )
    return frames


def _bend(camera: Camera, lens: Lens) -> float:
    """How far, in pixels, a lens moves the point of the picture's border that it moves most."""
    side = np.linspace(0, 1, 33)
    row, column = (side[:, None] * camera.height, side * camera.width)
    x, y = (column - camera.cx) / camera.fl_x, (row - camera.cy) / camera.fl_y
    bent_x, bent_y = lens.bent(x, y)
    return float(np.hypot((bent_x - x) * camera.fl_x, (bent_y - y) * camera.fl_y).max())


def frames_of(source: Path, straight: bool = False) -> list[Frame]:
    """All frames of a transforms file or of a data set's folder, each once.

    Their ``file_path`` is relative to :func:`home_of`. Raises InputError for a folder without any,
    and with ``straight`` for a lens with distortion.
    """
    read = straight_frames if straight else frames_in
    if not source.is_dir():
        return read(source)
    model = reconstruction(source)
    if model:
        return reconstructed(source, model)
    parts = [source / f"transforms_{name}.json" for name in _DIVISIONS]
    files = [p for p in parts if p.is_file()] or [source / "transforms.json"]
    if not files[0].is_file():
        raise no_data_set(source)
    frames = [frame for path in files for frame in read(path)]
    return list({frame.file_path: frame for frame in frames}.values())


def home_of(source: Path) -> Path:
    """The folder that a source's pictures are named from."""
    return source if source.is_dir() else source.parent


def no_data_set(folder: Path) -> InputError:
    """The error for a folder in which nothing is found."""
    return InputError(
        f"{folder} is no data set: it has no transforms_train.json, no transforms.json and no "
        f"COLMAP model (sparse/0)."
    )


def check_size(path: Path, size: tuple[int, int], camera: Camera) -> None:
    """Raise InputError for a picture of another size (width, height) than its camera's."""
    if size != (camera.width, camera.height):
        raise InputError(
            f"{path} is {size[0]}x{size[1]} pixels, but its transforms file says "
            f"{camera.width}x{camera.height}."
        )


# --- COLMAP ---------------------------------------------------------------------------------------


def reconstruction(folder: Path) -> Path | None:
    """The COLMAP model of a data set; None beside a transforms file, whose world may be another."""
    if any((folder / name).is_file() for name in ("transforms_train.json", "transforms.json")):
        return None
    return colmap.model_in(folder)


def reconstructed(folder: Path, model: Path, images: str = "") -> list[Frame]:
    """Frames of a COLMAP model, in the order of their names, named from ``folder``.

    ``images``: the folder of the pictures (default: images). Cameras are brought to the pictures'
    size, so that shrunk copies of them (images_4) can be used. Raises InputError for pictures of
    other proportions.
    """
    frames = []
    for frame in colmap.read_frames(model):
        name = (Path(images or IMAGES) / frame.file_path).as_posix()
        path = folder / name
        frames.append(replace(frame, file_path=name, camera=_fitted(frame.camera, path)))
    return frames


def _fitted(camera: Camera, path: Path) -> Camera:
    """The camera for a picture of another size; pixels count from its corner, so all scales."""
    width, height = size_of(path)
    x, y = width / camera.width, height / camera.height
    if abs(x / y - 1) > _ROUNDING:
        raise InputError(
            f"{path} is {width}x{height} pixels, but its COLMAP camera is for "
            f"{camera.width}x{camera.height}; name the folder of its pictures with --images."
        )
    return replace(
        camera, width=width, height=height,
        fl_x=camera.fl_x * x, fl_y=camera.fl_y * y, cx=camera.cx * x, cy=camera.cy * y,
    )  # fmt: skip


def start_file(folder: Path) -> Path:
    """The file of points that a data set brings along: points3d.ply, else its COLMAP model's; it
    need not exist.
    """
    model = reconstruction(folder)
    found = colmap.points_of(model) if model else None
    return found or folder / "points3d.ply"

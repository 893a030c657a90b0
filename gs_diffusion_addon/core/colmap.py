"""COLMAP's models: ``cameras``, ``images`` and ``points3D``, as ``.bin`` or ``.txt``, in and out.

The format is that of COLMAP's documentation, "Output format". Poses are world-to-camera in OpenCV
axes, a quaternion w x y z and a translation; the first pixel's center is at 0.5, as in
:mod:`.cameras`. Its world is whatever it was reconstructed in and is kept. Only pinhole cameras are
read: a lens with distortion is COLMAP's to undistort. Two-dimensional points and tracks are passed
over, and none are written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .cameras import OPENGL_TO_OPENCV, Array, Camera
from .dataset import Frame, check_focal, check_size
from .errors import InputError
from .inside import plain
from .ply import Points, read_points
from .run import write_bytes, write_text

MODELS = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"),
    *("FULL_OPENCV", "FOV", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE"),
)
"""Names of the camera models, by their number in ``.bin`` files."""

_PARAMETERS = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4}
_ENDINGS = (".bin", ".txt")
_PLACES = ("sparse/0", "sparse", "colmap/sparse/0", ".")
_FARTHEST = 1e15  # a translation beyond it is no number that float32 can train with

_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<iiQQ")  # id, model, width, height; then the parameters
_IMAGE = struct.Struct("<I7dI")  # id, quaternion, translation, camera; then the name
_POINT = struct.Struct("<Q3d3BdQ")  # id, place, color, error, length of the track
_POINT_2D, _TRACK = 24, 8  # bytes of an entry


@dataclass(frozen=True)
class Lens:
    """A camera of the model: size and focal lengths and principal point in pixels."""

    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float


# --- where a model is -----------------------------------------------------------------------------


def model_in(data: Path) -> Path | None:
    """The folder below ``data`` that holds a COLMAP model, the usual places first; None without."""
    for place in _PLACES:
        if any((data / place / f"images{e}").is_file() for e in _ENDINGS):
            return data / place
    return None


def _file(folder: Path, name: str) -> Path:
    """``name`` of a model, binary before text as COLMAP does; raises InputError without."""
    for ending in _ENDINGS:
        if (folder / f"{name}{ending}").is_file():
            return folder / f"{name}{ending}"
    raise InputError(f"{folder} is no whole COLMAP model: it has no {name}.bin and no {name}.txt.")


def points_of(folder: Path) -> Path | None:
    """The model's file of points: points3D.bin, .txt, or .ply as some trainers write it."""
    places = [folder / f"points3D{e}" for e in (*_ENDINGS, ".ply")]
    return next((p for p in places if p.is_file()), None)


# --- reading --------------------------------------------------------------------------------------


def read_frames(folder: Path) -> list[Frame]:
    """The model's images in the order of their names, which ``file_path`` is, with extension.

    Raises InputError when a file is missing or damaged, or a camera is not a pinhole's.
    """
    lenses = read_lenses(_file(folder, "cameras"))
    path = _file(folder, "images")
    images = _images_binary(path) if path.suffix == ".bin" else _images_text(path)
    frames: dict[str, Frame] = {}
    for pose, lens, name in images:
        if lens not in lenses:
            raise InputError(f"{path}: the image {name!r} has the camera {lens}, which is missing.")
        if not plain(name):
            raise InputError(f"{path}: the image name {name!r} leads out of the images' folder.")
        frames[name] = Frame(name, _camera(path, name, pose, lenses[lens]))
    if not frames:
        raise InputError(f"{path} holds no images.")
    ordered = [frames[name] for name in sorted(frames)]
    return [Frame(f.file_path, f.camera, k) for k, f in enumerate(ordered)]


def _camera(path: Path, name: str, pose: Sequence[float], lens: Lens) -> Camera:
    """A camera out of a world-to-camera pose: quaternion w x y z of any length, translation."""
    numbers = np.array(pose, np.float64)
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(numbers[:4]))
    if not (1e-6 < length < 1e6 and np.abs(numbers[4:]).max() < _FARTHEST):
        raise InputError(f"{path}: the pose of the image {name!r} is no camera's.")
    w, x, y, z = numbers[:4] / length
    view = np.eye(4)
    view[:3, :3] = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    matrix = np.eye(4)
    matrix[:3, :3] = view[:3, :3].T @ OPENGL_TO_OPENCV[:3, :3]
    matrix[:3, 3] = -view[:3, :3].T @ numbers[4:]
    return Camera(lens.width, lens.height, lens.fl_x, lens.fl_y, lens.cx, lens.cy, matrix)


def read_lenses(path: Path) -> dict[int, Lens]:
    """The cameras of ``cameras.bin`` or ``.txt`` by their number; raises InputError."""
    found = _cameras_binary(path) if path.suffix == ".bin" else _cameras_text(path)
    return {camera[0]: _lens(path, *camera) for camera in found}


def _lens(
    path: Path, number: int, model: str, width: int, height: int, values: Sequence[float]
) -> Lens:
    if model not in _PARAMETERS:
        raise InputError(
            f"{path}: camera {number} has the lens model {model}, which is not a pinhole's; "
            f"undistort the pictures with 'colmap image_undistorter' and name its output folder."
        )
    if len(values) != _PARAMETERS[model]:
        raise InputError(f"{path}: camera {number} has {len(values)} parameters, not {model}'s.")
    fl_x, fl_y, cx, cy = values if model == "PINHOLE" else (values[0], *values)
    where = f"{path}: camera {number}"
    if not (width >= 1 and height >= 1 and np.isfinite(values).all()):
        raise InputError(f"{where} has a size or a parameter that no camera has.")
    check_size(where, width, height)
    check_focal(where, (width, height), (fl_x, fl_y))
    return Lens(width, height, fl_x, fl_y, cx, cy)


def read_points3d(path: Path) -> Points:
    """``points3D.bin`` or ``.txt`` with its colors, without normals; any other file as .ply.

    Raises InputError.
    """
    if path.suffix not in _ENDINGS:
        return read_points(path)
    rows = _points_binary(path) if path.suffix == ".bin" else _points_text(path)
    table = np.array(list(rows), np.float64).reshape(-1, 6)
    with np.errstate(over="ignore"):
        places = table[:, :3].astype(np.float32)
    colors = np.clip(np.nan_to_num(table[:, 3:]), 0, 255).astype(np.uint8)
    return Points(places, np.zeros_like(places), colors)


# --- .bin -----------------------------------------------------------------------------------------


class _Bytes:
    """A binary file read from front to back; asked for more than it has, it raises InputError."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, _read(path), 0

    def take(self, shape: struct.Struct) -> tuple[float, ...]:
        start = self.skip(shape.size)
        return shape.unpack_from(self.data, start)

    def skip(self, size: int) -> int:
        """Step over ``size`` bytes; where they began."""
        start = self.at
        if size > len(self.data) - start:
            raise InputError(f"{self.path} is cut off or damaged: it ends in an entry's middle.")
        self.at += size
        return start

    def name(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise InputError(f"{self.path} is cut off or damaged: a name in it has no end.")
        text = self.data[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return text

    def count(self) -> int:
        return int(self.take(_COUNT)[0])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None


def _cameras_binary(path: Path) -> Iterator[tuple[int, str, int, int, Sequence[float]]]:
    file = _Bytes(path)
    for _ in range(file.count()):
        number, model, width, height = map(int, file.take(_CAMERA))
        name = MODELS[model] if 0 <= model < len(MODELS) else f"number {model}"
        # Without its number of parameters nothing behind an unknown model can be found; _lens ends.
        values = file.take(struct.Struct(f"<{_PARAMETERS.get(name, 0)}d"))
        yield number, name, width, height, values


def _images_binary(path: Path) -> Iterator[tuple[Sequence[float], int, str]]:
    file = _Bytes(path)
    for _ in range(file.count()):
        _, *pose, lens = file.take(_IMAGE)
        name = file.name()
        file.skip(file.count() * _POINT_2D)
        yield pose, int(lens), name


def _points_binary(path: Path) -> Iterator[Sequence[float]]:
    file = _Bytes(path)
    for _ in range(file.count()):
        _, *row, _, track = file.take(_POINT)
        file.skip(int(track) * _TRACK)
        yield row


# --- .txt -----------------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    """The lines without comments; empty ones stay, since an image may have an empty second line."""
    text = _read(path).decode("utf-8", "replace")
    return [line.strip() for line in text.split("\n") if not line.lstrip().startswith("#")]


def _bad_line(path: Path, line: str) -> InputError:
    return InputError(f"{path} is damaged: it has the line {line[:60]!r}.")


def _whole(word: str) -> int:
    if len(word) > 19:
        raise ValueError("more digits than 64 bits hold")
    return int(word)


def _cameras_text(path: Path) -> Iterator[tuple[int, str, int, int, Sequence[float]]]:
    for line in filter(None, _lines(path)):
        try:
            number, model, width, height, *values = line.split()
            size = (_whole(width), _whole(height))
            row = (_whole(number), model, *size, [float(v) for v in values])
        except ValueError:
            raise _bad_line(path, line) from None
        yield row


def _images_text(path: Path) -> Iterator[tuple[Sequence[float], int, str]]:
    lines = iter(_lines(path))
    for line in lines:
        if not line:
            continue
        try:
            _, *pose, lens, name = line.split(maxsplit=9)
            row = ([float(v) for v in pose], _whole(lens), name)
        except ValueError:
            raise _bad_line(path, line) from None
        if len(pose) != 7:
            raise _bad_line(path, line)
        points = next(lines, "")  # x, y and a number each; left out, the next image stands here
        if len(points.split()) % 3:
            raise _bad_line(path, points)
        yield row


def _points_text(path: Path) -> Iterator[Sequence[float]]:
    for line in filter(None, _lines(path)):
        words = line.split(maxsplit=7)
        try:
            row = [float(v) for v in words[1:7]]
        except ValueError:
            raise _bad_line(path, line) from None
        if len(row) != 6:
            raise _bad_line(path, line)
        yield row


# --- writing --------------------------------------------------------------------------------------


def write_cameras(folder: Path, views: Sequence[tuple[str, Camera]], text: bool) -> None:
    """``images`` and ``cameras`` of named pictures, one PINHOLE camera for each set of intrinsics.

    Images are numbered from 1 in the given order. Written as ``.txt`` or as ``.bin``.
    """
    lenses = {_lens_of(camera): 0 for _, camera in views}
    lenses = {lens: k + 1 for k, lens in enumerate(lenses)}
    rows = [(_pose(camera), lenses[_lens_of(camera)], name) for name, camera in views]
    if text:
        _write_text(folder, rows, lenses)
        return
    parts = [_COUNT.pack(len(rows))]
    for k, (pose, lens, name) in enumerate(rows):
        parts += [_IMAGE.pack(k + 1, *pose, lens), name.encode() + b"\0", _COUNT.pack(0)]
    write_bytes(folder / "images.bin", b"".join(parts))
    parts = [_COUNT.pack(len(lenses))]
    for c, k in lenses.items():
        parts.append(_CAMERA.pack(k, MODELS.index("PINHOLE"), c.width, c.height))
        parts.append(struct.pack("<4d", c.fl_x, c.fl_y, c.cx, c.cy))
    write_bytes(folder / "cameras.bin", b"".join(parts))


def _write_text(
    folder: Path, rows: Sequence[tuple[Sequence[float], int, str]], lenses: dict[Lens, int]
) -> None:
    lines: list[str] = []
    for k, (pose, lens, name) in enumerate(rows):
        # The second line of each image lists its 2-D points; there are none.
        lines += [f"{k + 1} {_words(pose)} {lens} {name}", ""]
    _write_lines(folder / "images.txt", lines)
    _write_lines(
        folder / "cameras.txt",
        [f"{k} PINHOLE {c.width} {c.height} {_words((c.fl_x, c.fl_y, c.cx, c.cy))}"
         for c, k in lenses.items()],
    )  # fmt: skip


def write_points3d(folder: Path, points: Points, text: bool) -> None:
    """``points3D`` with numbers from 1 and without tracks, as ``.txt`` or as ``.bin``."""
    rows = zip(points.positions.tolist(), points.colors.tolist(), strict=True)
    if text:
        lines = [f"{k + 1} {_words(p)} {r} {g} {b} 0" for k, (p, (r, g, b)) in enumerate(rows)]
        _write_lines(folder / "points3D.txt", lines)
        return
    parts = [_COUNT.pack(len(points.positions))]
    parts += [_POINT.pack(k + 1, *place, *color, 0.0, 0) for k, (place, color) in enumerate(rows)]
    write_bytes(folder / "points3D.bin", b"".join(parts))


def _lens_of(c: Camera) -> Lens:
    return Lens(c.width, c.height, float(c.fl_x), float(c.fl_y), float(c.cx), float(c.cy))


def _pose(camera: Camera) -> list[float]:
    view = camera.world_to_opencv()
    return [float(v) for v in (*quaternion(view[:3, :3]), *view[:3, 3])]


def _words(numbers: Sequence[float]) -> str:
    return " ".join(repr(float(v)) for v in numbers)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))


def quaternion(rotation: npt.NDArray[np.float64]) -> Array:
    """(3, 3) rotation -> unit quaternion w x y z, w >= 0 (Bar-Itzhack 2000: the dominant
    eigenvector, exact for every angle).
    """
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    _, vectors = np.linalg.eigh(k)
    x, y, z, w = vectors[:, -1]
    out = np.array([w, x, y, z])
    return -out if w < 0 else out

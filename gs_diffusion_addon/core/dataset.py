"""transforms*.json reading and writing, and the train/val/test split.

A :class:`Frame` is a picture's path (relative, without extension, as the original experiment and
graphdeco expect) with its camera. Files carry ``camera_angle_x`` for readers that know nothing
else, and fl_x, fl_y, cx, cy, w, h for those that do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import json_text
from .cameras import Array, Camera
from .errors import InputError
from .inside import plain
from .run import write_json

_LARGEST = 65536  # pixels; a larger picture cannot be meant
_SHORTEST = 1e-4  # of the picture's longer side: a focal length that no lens has
_SHEAR = 0.05  # how far a pose may be from a rotation; other programs round to few digits


@dataclass(frozen=True, eq=False)
class Frame:
    """One entry of transforms.json: ``./train_main/r_0``, its camera, its frame number and ring."""

    file_path: str
    camera: Camera
    frame: int = -1
    ring: int = 0


def write_transforms(path: Path, frames: Sequence[Frame]) -> None:
    """Write ``frames`` (which share one set of intrinsics) as transforms.json, atomically.

    Raises InputError for frames of mixed intrinsics: the format's top-level fields hold one set.
    """
    if not frames:
        write_json(path, {"camera_angle_x": 0.0, "frames": []})
        return
    first = frames[0].camera
    for frame in frames:
        c = frame.camera
        if (c.width, c.height) != (first.width, first.height) or not np.allclose(
            (c.fl_x, c.fl_y, c.cx, c.cy), (first.fl_x, first.fl_y, first.cx, first.cy)
        ):
            raise InputError(
                f"{path.name}: frame {frame.file_path} has other intrinsics than the first frame."
            )
    write_json(
        path,
        {
            "camera_angle_x": first.angle_x,
            "camera_model": "PINHOLE",
            "fl_x": first.fl_x,
            "fl_y": first.fl_y,
            "cx": first.cx,
            "cy": first.cy,
            "w": first.width,
            "h": first.height,
            "frames": [
                {
                    "file_path": f.file_path,
                    "frame": f.frame,
                    "ring": f.ring,
                    "transform_matrix": f.camera.matrix.tolist(),
                }
                for f in frames
            ],
        },
    )


SizeOf = Callable[[str], tuple[int, int]]


def read_transforms(path: Path, size_of: SizeOf | None = None) -> list[Frame]:
    """Frames of a transforms.json: ours, graphdeco's, NeRF-synthetic's.

    Where the file names no size (``w``, ``h``), as NeRF-synthetic's do not, ``size_of`` answers
    width and height of the picture with a frame's ``file_path``; without it that is a fault.
    Matrices are checked to be finite 4x4 and made rigid. Raises InputError with the place of the
    fault.
    """
    try:
        data = json_text.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from None
    if not isinstance(data, dict) or not isinstance(data.get("frames"), list):
        raise InputError(f"{path} is not a transforms file: it has no list 'frames'.")
    return [_frame(path, data, entry, k, size_of) for k, entry in enumerate(data["frames"])]


def _frame(path: Path, shared: dict[str, Any], entry: Any, k: int, size_of: SizeOf | None) -> Frame:
    if not isinstance(entry, dict):
        raise InputError(f"{path}: frame {k} is not an object.")

    def number(name: str) -> float | None:
        value = entry.get(name, shared.get(name))
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise InputError(f"{path}: frame {k} has {name} = {value!r}, which is not a number.")
        return float(value)

    try:
        matrix = np.array(entry.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, (0, 0, 0, 1)])
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError(f"{path}: frame {k} has no finite 4x4 transform_matrix.")
    matrix = _rigid(path, k, matrix)
    file_path = entry.get("file_path")
    if not isinstance(file_path, str):
        raise InputError(f"{path}: frame {k} has no file_path.")
    if not plain(file_path):
        raise InputError(f"{path}: the file_path of frame {k} leads out of the data set's folder.")
    width, height = number("w"), number("h")
    if size_of is not None and (width is None or height is None):
        width, height = size_of(file_path)
    if width is None or height is None or width < 1 or height < 1:
        raise InputError(f"{path}: the size of frame {k} is missing (w and h).")
    check_size(f"{path}: frame {k}", width, height)
    angle, fl_x = number("camera_angle_x"), number("fl_x")
    if fl_x is None:
        if angle is None:
            raise InputError(f"{path}: frame {k} has neither fl_x nor camera_angle_x.")
        if not 0 < angle < np.pi:
            raise InputError(
                f"{path}: frame {k} has camera_angle_x = {angle:g}, which is no angle between 0 "
                f"and pi (radians)."
            )
        fl_x = 0.5 * width / float(np.tan(angle / 2))
    fl_y = number("fl_y") or fl_x
    check_focal(f"{path}: frame {k}", (width, height), (fl_x, fl_y))
    cx, cy = number("cx"), number("cy")
    camera = Camera(
        int(width),
        int(height),
        fl_x,
        fl_y,
        width / 2 if cx is None else cx,
        height / 2 if cy is None else cy,
        matrix,
    )
    return Frame(
        file_path,
        camera,
        int(number("frame") or 0) if "frame" in entry else k,
        int(number("ring") or 0),
    )


def check_size(where: str, width: float, height: float) -> None:
    """Raise InputError for a picture that is larger than any can be meant to be."""
    if max(width, height) > _LARGEST:
        raise InputError(f"{where} is said to be {width:g}x{height:g} pixels large.")


def check_focal(where: str, size: tuple[float, float], focal: tuple[float, float]) -> None:
    """Raise InputError for focal lengths, in pixels, that no camera of this ``size`` has."""
    if not all(_SHORTEST < f / max(size) < 1 / _SHORTEST for f in focal):
        raise InputError(f"{where} has a focal length that no camera has ({focal[0]:g}).")


def _rigid(path: Path, k: int, matrix: Array) -> Array:
    """The pose without its scale; raises InputError if it is singular, sheared or mirrored.

    A camera of such a pose would give other pictures than those beside it.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
        rotation = matrix[:3, :3] / scale if abs(scale) > 1e-30 else np.zeros((3, 3))
        error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if not error < _SHEAR or scale < 0 or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise InputError(
            f"{path}: the transform_matrix of frame {k} is no camera's pose: it is singular, "
            f"sheared or mirrored."
        )
    return np.block([[rotation, matrix[:3, 3:]], [np.zeros((1, 3)), np.ones((1, 1))]])


def split_frames(
    rings: Sequence[int], shares: tuple[float, float, float], seed: int
) -> tuple[list[int], list[int], list[int]]:
    """Positions of the training, validation and test frames, each sorted.

    ``rings`` gives the ring of each frame in order. On every ring the test frames are evenly spaced
    (so that held-out quality is measured all around) with a phase drawn from ``seed``; ring 0 has
    at least 8 of them as long as that leaves it two thirds of its views for training. Validation
    frames are drawn from the rest.
    """
    _, val_share, test_share = shares
    rng = np.random.default_rng(seed)
    ring_of = np.asarray(rings)
    test: list[int] = []
    for ring in np.unique(ring_of):
        members = np.nonzero(ring_of == ring)[0]
        wanted = max(1, round(len(members) * test_share)) if test_share > 0 else 0
        if ring == 0 and test_share > 0:
            wanted = max(wanted, min(8, len(members) // 3))
        wanted = min(wanted, len(members) - (ring == ring_of[0]))  # the first ring keeps one view
        phase = rng.random()
        test += [int(members[int((k + phase) * len(members) / wanted)]) for k in range(wanted)]
    rest = np.setdiff1d(np.arange(len(ring_of)), test)
    # Readers such as nerfstudio's look at the first validation frame: there is one if there may be.
    count = max(1, round(len(ring_of) * val_share)) if val_share > 0 else 0
    val = sorted(int(k) for k in rng.choice(rest, size=min(count, len(rest) - 1), replace=False))
    train = [int(k) for k in rest if int(k) not in set(val)]
    return train, val, sorted(test)

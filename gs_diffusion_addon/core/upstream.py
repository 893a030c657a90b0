"""Posed pictures without a Blender scene: an original experiment's folder, or any transforms.json.

Read here: the cameras, where each frame's picture is, and the lens. Files that lack pictures, as
instant-ngp's often do, are used without those frames as long as most are there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import json_text
from .cameras import Array
from .dataset import Frame, SizeOf, read_transforms
from .errors import InputError
from .inside import plain

TRANSFORMS = ("transforms_train_main.json", "transforms.json", "transforms_train.json")
FOLDERS = ("", "train_main", "images", "train")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".PNG", ".JPG", ".JPEG")
VIDEO = "iter0.mp4"
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".mp4"}
FEWEST = 8  # frames a ring has at least
DISTORTED = ("k1", "k2", "k3", "p1", "p2")
PINHOLES = ("", "PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "RADIAL", "SIMPLE_RADIAL", "FULL_OPENCV")


@dataclass(frozen=True)
class Lens:
    """Radial (k1, k2, k3) and tangential (p1, p2) distortion as OpenCV has them."""

    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    p1: float = 0.0
    p2: float = 0.0

    @property
    def straight(self) -> bool:
        """Whether there is no distortion."""
        return not any((self.k1, self.k2, self.k3, self.p1, self.p2))

    def bent(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Where rays that meet the plane at depth 1 in ``x``, ``y`` come in, by OpenCV's model."""
        r = x * x + y * y
        radial = 1 + r * (self.k1 + r * (self.k2 + r * self.k3))
        return (
            x * radial + 2 * self.p1 * x * y + self.p2 * (r + 2 * x * x),
            y * radial + self.p1 * (r + 2 * y * y) + 2 * self.p2 * x * y,
        )


@dataclass(frozen=True)
class Shot:
    """A frame of somebody's data: its place in the file and its picture, None if only a video has
    it.
    """

    place: int
    picture: Path | None


@dataclass(frozen=True)
class Source:
    """What a folder offers: its transforms file, the usable shots in order, and its video.

    ``missing`` names frames left out; ``lens`` belongs to all of them.
    """

    transforms: Path
    shots: tuple[Shot, ...]
    video: Path | None
    lens: Lens
    missing: tuple[str, ...] = ()

    @property
    def from_video(self) -> bool:
        """Whether the frames' pictures are taken from the video."""
        return all(shot.picture is None for shot in self.shots)


def find(folder: Path, most: int = 0) -> Source:
    """What there is in ``folder``; at most ``most`` shots, evenly spaced (0: all).

    Raises InputError with what is wrong and what to do.
    """
    path = _transforms(folder)
    data = _read(path)
    entries = data["frames"]
    base = path.parent
    shots, missing = [], []
    for place, entry in enumerate(entries):
        name = entry.get("file_path") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise InputError(f"{path}: frame {place} has no file_path.")
        picture = picture_of(base, name)
        if picture is None:
            missing.append(name)
        else:
            shots.append(Shot(place, picture))
    video = base / VIDEO if (base / VIDEO).is_file() else None
    if not shots and video is not None:
        shots, missing = [Shot(place, None) for place in range(len(entries))], []
    _require(path, len(entries), len(shots), missing)
    shots.sort(key=lambda shot: _order(entries[shot.place], shot.place))
    if most and len(shots) > most:
        shots = [shots[k * len(shots) // most] for k in range(most)]
    return Source(path, tuple(shots), video, lens_of(path, data), tuple(missing))


def frames_of(source: Source, size_of: SizeOf) -> list[Frame]:
    """The cameras of the source's shots, numbered 0, 1, … as one ring; raises InputError."""
    every = read_transforms(source.transforms, size_of)
    return [
        replace(every[shot.place], file_path=f"./train_main/r_{k}", frame=k, ring=0)
        for k, shot in enumerate(source.shots)
    ]


def picture_of(base: Path, name: str) -> Path | None:
    """The picture a ``file_path`` means: as named, without its ending, or in a usual folder.

    Nothing outside ``base`` is looked at: the file may be a stranger's.
    """
    named = Path(name.replace("\\", "/"))
    usual = [base / folder / named.name for folder in FOLDERS] if plain(named.name) else []
    for start in [*([base / named] if plain(name) else []), *usual]:
        if start.is_file():
            return start
        for ending in ENDINGS:
            candidate = start.with_name(start.name + ending)
            if candidate.is_file():
                return candidate
    return None


def _transforms(folder: Path) -> Path:
    if folder.is_file() and folder.suffix == ".json":
        return folder
    if not folder.is_dir():
        raise InputError(f"The folder {folder} does not exist; name another with --main-folder.")
    for name in TRANSFORMS:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"{folder} holds no cameras: there is no {', no '.join(TRANSFORMS)} in it; "
        "name a folder with one by --main-folder."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json_text.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from None
    if not isinstance(data, dict) or not isinstance(data.get("frames"), list):
        raise InputError(f"{path} is not a transforms file: it has no list 'frames'.")
    return data


def _require(path: Path, count: int, usable: int, missing: list[str]) -> None:
    first = f", the first is {missing[0]!r}" if missing else ""
    if usable < (count + 1) // 2:
        raise InputError(
            f"{path} names {count} pictures and {len(missing)} of them are missing{first}; put "
            "them where it says, or correct its file_path entries."
        )
    if usable < FEWEST:
        raise InputError(f"{path} has {usable} usable frames{first}; at least {FEWEST} are needed.")


def _order(entry: dict[str, Any], place: int) -> tuple[float, int]:
    """By its own frame number, else by the number in its name, else by its place."""
    number = entry.get("frame")
    if isinstance(number, int):
        return float(number), place
    digits = re.findall(r"\d+", Path(str(entry["file_path"])).stem)
    return (float(digits[-1]) if digits else float(place)), place


def lens_of(path: Path, data: dict[str, Any]) -> Lens:
    """The distortion that all frames share.

    Raises InputError for lenses that are no distorted pinhole, and for frames that differ.
    """
    lenses = set()
    for entry in [data, *data["frames"]]:
        model = str(entry.get("camera_model", data.get("camera_model", "")))
        if model.upper() not in PINHOLES or entry.get("is_fisheye"):
            raise InputError(
                f"{path}: cameras of the model {model or 'fisheye'!r} are not supported; undistort "
                "the pictures to PINHOLE first, for instance with COLMAP's image_undistorter."
            )
        values = {n: entry.get(n, data.get(n, 0.0)) for n in DISTORTED}
        if not all(isinstance(v, (int, float)) for v in values.values()):
            raise InputError(f"{path}: the lens distortion k1 … p2 is not all numbers.")
        if entry is not data or not data["frames"]:
            lenses.add(Lens(**{n: float(v) for n, v in values.items()}))
    if len(lenses) > 1:
        raise InputError(
            f"{path}: its frames were taken through different lenses, which is not supported; "
            "undistort the pictures first."
        )
    return lenses.pop() if lenses else Lens()

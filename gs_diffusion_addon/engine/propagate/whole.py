"""A whole ring restyled by some other program: a folder of numbered pictures, or one video."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from ...core.errors import InputError
from ..images import read_rgb
from .handoff import Handoff

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"}
VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm"}

Bytes = npt.NDArray[np.uint8]


@dataclass
class Sequence:
    """Frames of the whole ring, in files of one each or already decoded."""

    files: list[Path]
    decoded: list[Bytes] = field(default_factory=list)

    def frame(self, position: int) -> Bytes:
        """The ring's frame at ``position``, (h, w, 3) uint8."""
        return self.decoded[position] if self.decoded else read_rgb(self.files[position])


@dataclass
class Result:
    """What lies in ``result/``, looked at again and again; nothing is decoded twice.

    ``stamps``: names, sizes and times of what lay there at the last look. ``reason``: what keeps
    that from being the whole ring, in words; empty while there is nothing or it still grows.
    """

    handoff: Handoff
    stamps: list[tuple[str, int, int]] = field(default_factory=list)
    reason: str = ""
    _judged: bool = False

    def look(self) -> Sequence | None:
        """The whole ring in the frames' size, once it is there and is as it was the last time."""
        found = self._listed()
        if found != self.stamps:
            self.stamps, self.reason, self._judged = found, "", False
            return None
        if self._judged or not found:
            return None
        self._judged = True
        judged = _judge([self.handoff.result / name for name, *_ in found], self.handoff)
        self.reason = judged if isinstance(judged, str) else ""
        return None if isinstance(judged, str) else judged

    def _listed(self) -> list[tuple[str, int, int]]:
        folder, found = self.handoff.result, []
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.suffix.lower() in PICTURES | VIDEOS:
                with suppress(OSError):  # moved away since
                    stat = path.stat()
                    found.append((path.name, stat.st_size, stat.st_mtime_ns))
        return sorted(found)


def _judge(found: list[Path], handoff: Handoff) -> Sequence | str:
    """The whole ring out of these files, or why they are not that."""
    pictures = sorted((p for p in found if p.suffix.lower() in PICTURES), key=_number)
    videos = [p for p in found if p.suffix.lower() in VIDEOS]
    if len(pictures) >= handoff.count:
        wanted = pictures[: handoff.count]
        return next(filter(None, (_misfit(p, handoff) for p in wanted)), Sequence(wanted))
    if len(videos) == 1:
        frames = _decode(videos[0], handoff)
        return frames if isinstance(frames, str) else Sequence([], frames)
    if videos:
        return f"result/ holds {len(videos)} videos instead of one"
    return f"result/ holds {len(pictures)} of {handoff.count} pictures"


def _decode(path: Path, handoff: Handoff) -> list[Bytes] | str:
    """The video's first frames, as many as the ring has; or why it does not have them.

    H.264 needs even sides: an odd one may have been padded by one.
    """
    frames: list[Bytes] = []
    reader = imageio_ffmpeg.read_frames(str(path))
    try:
        width, height = next(reader)["size"]
        if (width - handoff.width, height - handoff.height) not in product((0, 1), repeat=2):
            return _sizes(path, width, height, handoff)
        for raw in reader:
            pixels = np.frombuffer(raw, np.uint8).reshape(height, width, 3)
            frames.append(pixels[: handoff.height, : handoff.width].copy())
            if len(frames) == handoff.count:
                return frames
    except (OSError, RuntimeError, KeyError, StopIteration):
        return f"result/{path.name} is not readable"
    finally:
        reader.close()
    return f"result/{path.name} has {len(frames)} of {handoff.count} frames"


def _number(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else -1, path.name


def _misfit(path: Path, handoff: Handoff) -> str:
    """Why a picture cannot be taken; empty if it can."""
    try:
        height, width, _ = read_rgb(path).shape
    except InputError:
        return f"result/{path.name} is not readable"
    if (width, height) == (handoff.width, handoff.height):
        return ""
    return _sizes(path, width, height, handoff)


def _sizes(path: Path, width: int, height: int, handoff: Handoff) -> str:
    return f"result/{path.name} is {width}x{height} instead of {handoff.width}x{handoff.height}"

"""A whole ring restyled by some other program: a folder of numbered pictures, or one video."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from PIL import Image

from ..images import read_rgb
from .handoff import Handoff
from .watch import Watcher

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


def find(watcher: Watcher) -> Sequence | None:
    """What lies in ``result/``, if it is the whole ring in the frames' size and no longer grows."""
    handoff = watcher.handoff
    if not handoff.result.is_dir():
        return None
    found = [p for p in handoff.result.iterdir() if p.suffix.lower() in PICTURES | VIDEOS]
    settled = [watcher.stable(p) for p in found]
    if not found or not all(settled):
        return None
    pictures = sorted((p for p in found if p.suffix.lower() in PICTURES), key=_number)
    if len(pictures) >= handoff.count:
        wanted = pictures[: handoff.count]
        return Sequence(wanted) if all(_fits(p, handoff) for p in wanted) else None
    videos = [p for p in found if p.suffix.lower() in VIDEOS]
    if len(videos) == 1:
        frames = _decode(videos[0], handoff)
        return Sequence([], frames) if len(frames) == handoff.count else None
    return None


def _decode(path: Path, handoff: Handoff) -> list[Bytes]:
    """The video's first frames, as many as the ring has, if they have its size.

    H.264 needs even sides: an odd one may have been padded by one.
    """
    frames: list[Bytes] = []
    reader = imageio_ffmpeg.read_frames(str(path))
    try:
        width, height = next(reader)["size"]
        if (width - handoff.width, height - handoff.height) not in product((0, 1), repeat=2):
            return []
        for raw in reader:
            pixels = np.frombuffer(raw, np.uint8).reshape(height, width, 3)
            frames.append(pixels[: handoff.height, : handoff.width].copy())
            if len(frames) == handoff.count:
                break
    except (OSError, RuntimeError, KeyError, StopIteration):
        return []
    finally:
        reader.close()
    return frames


def _number(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else -1, path.name


def _fits(path: Path, handoff: Handoff) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
            return image.size == (handoff.width, handoff.height)
    except (OSError, SyntaxError, ValueError):
        return False

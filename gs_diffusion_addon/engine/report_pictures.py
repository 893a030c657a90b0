"""The report's pictures: shrunk, WebP-compressed and turned into data URIs, so that one file holds
all.

Transparent pictures stay transparent and show well on a light and on a dark page.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ..core.errors import InputError


@dataclass(frozen=True)
class Detail:
    """How much the pictures may take: their widest sides in pixels, WebP quality, and numbers."""

    thumb: int
    page: int
    spin: int
    turns: int
    quality: int
    iterations: int


# From lavish to frugal; the report takes the first that fits its size.
DETAILS = (
    Detail(thumb=256, page=900, spin=400, turns=48, quality=82, iterations=8),
    Detail(thumb=220, page=720, spin=340, turns=36, quality=74, iterations=5),
    Detail(thumb=160, page=480, spin=240, turns=24, quality=65, iterations=3),
    Detail(thumb=96, page=320, spin=160, turns=16, quality=50, iterations=2),
)


FULL_DIFFERENCE = 0.25
# Five colors of matplotlib's "inferno", whose lightness grows evenly.
HEAT_COLORS = np.array(
    [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32
)


@dataclass(frozen=True)
class Picture:
    """A picture for the page: data URI and size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Sprite:
    """Many frames in one picture, row by row: ``columns`` x ``rows`` cells of ``width`` x
    ``height``.
    """

    uri: str
    columns: int
    rows: int
    count: int
    width: int
    height: int


def picture(path: Path, side: int, quality: int) -> Picture | None:
    """The picture no bigger than ``side``; None if the file is not there."""
    if not path.is_file():
        return None
    image = _load(path, side)
    return Picture(_uri(image, quality), image.width, image.height)


def sprite(paths: Sequence[Path], detail: Detail) -> Sprite | None:
    """About ``detail.turns`` of the frames in one picture; None unless all are there."""
    if not paths or not all(p.is_file() for p in paths):
        return None
    count = min(detail.turns, len(paths))
    chosen = [paths[k * len(paths) // count] for k in range(count)]
    cells = [_load(p, detail.spin) for p in chosen]
    width, height = cells[0].size
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = Image.new("RGBA", (columns * width, rows * height))
    for k, cell in enumerate(cells):
        place = (k % columns * width, k // columns * height)
        sheet.paste(cell.resize((width, height)).convert("RGBA"), place)
    return Sprite(_uri(sheet, detail.quality), columns, rows, count, width, height)


def difference(first: Path, second: Path, side: int, quality: int) -> Picture | None:
    """Where two pictures differ, as a heat map: transparent where both are, then dark violet for
    none to yellow for a quarter of the whole scale or more. None unless both are there.
    """
    if not (first.is_file() and second.is_file()):
        return None
    one, two = (
        np.asarray(_load(p, side).convert("RGBA"), np.float32) / 255 for p in (first, second)
    )
    if one.shape != two.shape:
        return None
    over_black = np.abs(one[..., :3] * one[..., 3:] - two[..., :3] * two[..., 3:]).mean(-1)
    rgb = heat_colors(np.clip(over_black / FULL_DIFFERENCE, 0, 1))
    alpha = 255 * np.maximum(one[..., 3:], two[..., 3:])
    image = Image.fromarray(np.rint(np.concatenate([rgb, alpha], -1)).astype(np.uint8))
    return Picture(_uri(image, quality), image.width, image.height)


def heat_colors(level: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Colors (..., 3) of 0..255 of levels from 0, dark violet, to 1, yellow."""
    place = np.asarray(level, np.float32) * (len(HEAT_COLORS) - 1)
    low = np.minimum(place.astype(int), len(HEAT_COLORS) - 2)
    part = (place - low)[..., None]
    mixed = HEAT_COLORS[low] * (1 - part) + HEAT_COLORS[low + 1] * part
    return mixed.astype(np.float32)  # type: ignore[no-any-return]


def _load(path: Path, side: int) -> Image.Image:
    """RGB or RGBA, shrunk with colors weighted by alpha, so that no hidden color comes out."""
    try:
        with Image.open(path) as file:
            image = file.convert("RGBA" if "A" in file.getbands() else "RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(f"The picture {path} cannot be read: {error}.") from None
    scale = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if size == image.size:
        return image
    if image.mode == "RGB":
        return image.resize(size, Image.Resampling.LANCZOS)
    return image.convert("RGBa").resize(size, Image.Resampling.HAMMING).convert("RGBA")


def _uri(image: Image.Image, quality: int) -> str:
    data = io.BytesIO()
    image.save(data, format="WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")

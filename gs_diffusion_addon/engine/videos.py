"""More videos of a finished iteration: side by side with its source, ping-pong, GIF and WebP.

All show ring 0 of the splat's renders; each is one file beside the run's iterK.mp4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..core.errors import InputError
from ..core.run import Run, atomic, read_manifest, run_settings
from .images import BLACK, Bytes, over, read_rgba, to_bytes
from .video import encode, write_video

WHITE = (1.0, 1.0, 1.0)
GIF_STEP = 2  # every second view: GIF's times are whole hundredths of a second, and size counts
GIF_MILLISECONDS = 70
WEBP_MILLISECONDS = 33
WEBP_QUALITY = 80
GAP = 8  # pixels between the two pictures side by side


def make(root: Path, iteration: int, kind: str, width: int) -> Path:
    """Write the file of that ``kind`` for an iteration and return its path.

    ``side-by-side``: source left, splat right, MP4. ``ping-pong``: there and back again, MP4.
    ``gif``: on white, every second view; ``webp``: transparent; both at most ``width`` pixels wide,
    and endless. Raises InputError if pictures are missing.
    """
    run = Run(root, iteration)
    views = run_settings(read_manifest(root)).views
    renders = _whole([run.render(k) for k in range(views)], f"renders of iteration {iteration}")
    stem = f"iter{iteration}"
    if kind == "side-by-side":
        sources = _whole([run.source(k) for k in range(views)], "source frames")
        return side_by_side(root / f"{stem}-side-by-side.mp4", sources, renders)
    if kind == "ping-pong":
        path = root / f"{stem}-ping-pong.mp4"
        write_video(path, there_and_back(renders))
        return path
    return animated(root / f"{stem}.{kind}", renders, width)


def there_and_back(frames: Sequence[Path]) -> list[Path]:
    """All frames and back to the second, so that the loop shows no frame twice in a row."""
    return [*frames, *frames[-2:0:-1]]


def side_by_side(path: Path, left: Sequence[Path], right: Sequence[Path]) -> Path:
    """An MP4 of two sequences of equal length beside each other, over black."""
    height, width = read_rgba(left[0]).shape[:2]
    size = (2 * width + GAP + (GAP % 2), height + height % 2)

    def pictures() -> Iterator[Bytes]:
        for pair in zip(left, right, strict=True):
            canvas = np.zeros((size[1], size[0], 3), np.uint8)
            for number, file in enumerate(pair):
                pixels = to_bytes(over(read_rgba(file), BLACK))
                if pixels.shape[:2] != (height, width):
                    raise InputError(f"{file} is not {width}x{height} pixels as {left[0]} is.")
                start = number * (width + GAP)
                canvas[:height, start : start + width] = pixels
            yield canvas

    encode(path, pictures(), size)
    return path


def animated(path: Path, frames: Sequence[Path], width: int) -> Path:
    """An endless GIF (on white) or WebP (transparent) of the frames, shrunk to ``width``."""
    if not 16 <= width <= 4096:
        raise InputError(f"--width must lie between 16 and 4096 pixels, not {width}.")
    gif = path.suffix == ".gif"
    pictures = [_shrunk(f, width, opaque=gif) for f in (frames[::GIF_STEP] if gif else frames)]
    with atomic(path) as temporary:
        if gif:
            palette = _palette(pictures[:: max(1, len(pictures) // 6)])
            pictures = [_indexed(p, palette) for p in pictures]
            options = {"duration": GIF_MILLISECONDS, "optimize": False}
        else:
            options = {"duration": WEBP_MILLISECONDS, "quality": WEBP_QUALITY, "method": 4}
        first, *rest = pictures
        first.save(temporary, save_all=True, append_images=rest, loop=0, **options)
    return path


def _palette(some: Sequence[Image.Image]) -> Image.Image:
    """256 colors for all pictures, or they would flicker; the last is white."""
    sheet = Image.new("RGB", (some[0].width * len(some), some[0].height))
    for k, picture in enumerate(some):
        sheet.paste(picture, (k * picture.width, 0))
    chosen = sheet.quantize(255, method=Image.Quantize.MEDIANCUT)
    colors = (chosen.getpalette() or [])[: 3 * 255]
    chosen.putpalette([*colors, *([255] * (768 - len(colors)))])
    return chosen


def _indexed(picture: Image.Image, palette: Image.Image) -> Image.Image:
    """The picture in the palette's colors, and white where it is white: nearly would show."""
    made = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    white = (np.asarray(picture) == 255).all(-1)
    whole = Image.fromarray(np.where(white, 255, np.asarray(made)).astype(np.uint8), "P")
    whole.putpalette(palette.getpalette() or [])
    return whole


def _shrunk(file: Path, width: int, opaque: bool) -> Image.Image:
    pixels = read_rgba(file)
    height = max(1, round(pixels.shape[0] * min(1.0, width / pixels.shape[1])))
    size = (min(width, pixels.shape[1]), height)
    if opaque:
        return Image.fromarray(to_bytes(over(pixels, WHITE))).resize(size, Image.Resampling.LANCZOS)
    # Weighted by alpha, so that no hidden color comes out at the edges.
    image = Image.fromarray(pixels).convert("RGBa")
    return image.resize(size, Image.Resampling.HAMMING).convert("RGBA")


def _whole(paths: list[Path], what: str) -> list[Path]:
    lacking = [p for p in paths if not p.is_file()]
    if lacking:
        raise InputError(f"{len(lacking)} {what} are missing, {lacking[0]} first; run it first.")
    return paths

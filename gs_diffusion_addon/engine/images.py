"""Pictures in and out, and alpha done once: straight in files, float composites on a stated
background.

All colors are display-referred sRGB; composites are made in that space, as Blender's film and the
trainers do.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from ..core.errors import InputError
from ..core.run import atomic

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

BLACK = (0.0, 0.0, 0.0)
GRAY = (0.5, 0.5, 0.5)

MOST_PIXELS = 1 << 26
"""8192 x 8192, the largest --size; anything larger is refused instead of filling the memory."""

Image.MAX_IMAGE_PIXELS = MOST_PIXELS

_DENSEST = 10_000
"""Pixels a byte of a file can stand for: a PNG's black and white ones reach 8 * 1032."""

_FAULTS = (
    *(OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError),
    *(TypeError, LookupError, OverflowError, EOFError, struct.error, zlib.error),
)
"""What Pillow's decoders raise for damaged files."""


def read_rgba(path: Path) -> Bytes:
    """(H, W, 4) uint8, straight alpha; pictures without alpha are opaque. Raises InputError."""
    return _read(path, "RGBA")


def read_rgb(path: Path) -> Bytes:
    """(H, W, 3) uint8; alpha, if any, is dropped and not composited. Raises InputError."""
    return _read(path, "RGB")


def _read(path: Path, mode: str) -> Bytes:
    try:
        with Image.open(path) as image:
            _believe(image, path.stat().st_size)
            return np.array(_in_bytes(image).convert(mode))
    except FileNotFoundError:
        raise InputError(f"The picture {path} does not exist.") from None
    except _FAULTS as error:
        raise InputError(f"The picture {path} cannot be read: {error}.") from None


def _in_bytes(image: Image.Image) -> Image.Image:
    """A picture with 8 bits a channel: of gray ones with 16 the upper half, as Pillow does itself
    for colored ones; it would cut gray ones off at 255. Raises ValueError for numbers whose white
    nobody knows.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are numbers of 32 bits; store it with 8 or 16 bits")
    return image


def _believe(image: Image.Image, count: int) -> None:
    """Raise ValueError for a header that a file of ``count`` bytes cannot keep, before memory is
    taken for it.
    """
    pixels = image.width * image.height
    if pixels > MOST_PIXELS or (pixels > 1 << 20 and pixels > _DENSEST * count):
        raise ValueError(f"{count} bytes that claim to be {image.width} x {image.height} pixels")


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture, from its header alone. Raises InputError."""
    return _header(path)[0]


def has_alpha(path: Path) -> bool:
    """Whether a picture's pixels can be transparent, from its header alone. Raises InputError."""
    return _header(path)[1]


def _header(path: Path) -> tuple[tuple[int, int], bool]:
    try:
        with Image.open(path) as image:
            _believe(image, path.stat().st_size)
            return image.size, image.has_transparency_data
    except FileNotFoundError:
        raise InputError(f"The picture {path} does not exist.") from None
    except _FAULTS as error:
        raise InputError(f"The picture {path} cannot be read: {error}.") from None


def write_png(path: Path, pixels: Bytes, text: Mapping[str, str] | None = None) -> None:
    """Write (H, W, 3 or 4) uint8 as PNG, atomically, with ``text`` chunks (prompt, parameters)."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    with atomic(path) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(
            temporary, format="PNG", compress_level=3, pnginfo=info
        )


def encode_png(pixels: Bytes) -> bytes:
    """(H, W, 3 or 4) uint8 as the bytes of a PNG file."""
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(target, format="PNG", compress_level=3)
    return target.getvalue()


def decode_rgb(data: bytes) -> Bytes:
    """The bytes of a picture file of any format -> (H, W, 3) uint8. Raises InputError."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            _believe(image, len(data))
            return np.array(_in_bytes(image).convert("RGB"))
    except _FAULTS as error:
        raise InputError(f"A picture of {len(data)} bytes cannot be read: {error}.") from None


def over(rgba: Bytes, background: Sequence[float]) -> Floats:
    """Composite (H, W, 4) uint8 with straight alpha on a color (3 floats of 0..1) -> (H, W, 3)
    float32 of 0..1.
    """
    pixels = rgba.astype(np.float32) / 255
    alpha = pixels[..., 3:]
    result: Floats = pixels[..., :3] * alpha + np.asarray(background, np.float32) * (1 - alpha)
    return result


def read_on_black(path: Path) -> Bytes:
    """A picture's colors composited on black, (H, W, 3) uint8. Raises InputError."""
    return to_bytes(over(read_rgba(path), BLACK))


def to_bytes(pixels: npt.ArrayLike) -> Bytes:
    """Floats of 0..1 -> uint8, rounded and clipped."""
    return (np.clip(np.asarray(pixels, np.float32), 0, 1) * 255 + 0.5).astype(np.uint8)


def resized(pixels: Bytes, width: int, height: int) -> Bytes:
    """(H, W, C) uint8 resampled to ``height`` x ``width`` (Lanczos; a no-op at the same size)."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))

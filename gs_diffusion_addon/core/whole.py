"""Whether a file is whole, by its format's own structure: not empty, cut off or filled with zeros.

A file that somebody edited is whole; one that a failing disk, a power cut or another program's
hand left in pieces is not. Nothing is decoded, so this costs little more than reading the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from . import json_text
from .errors import InputError
from .exr import complete
from .ply_format import read_header

_END = 64
_BLOCK = 1 << 20


def whole(path: Path) -> bool:
    """Whether the file is there and, as far as its kind is known, nothing of it is missing."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            if not size or _blank(file, 0, size) or _blank(file, max(0, size - _END), size):
                return False
            file.seek(0)
            check = _CHECKS.get(path.suffix.lower())
            return check is None or check(file, path, size)
    except OSError:
        return False


def _blank(file: BinaryIO, start: int, end: int) -> bool:
    """Whether the bytes from ``start`` up to ``end`` (one block at most) are all zero."""
    file.seek(start)
    return not file.read(min(_END, end - start)).strip(b"\0")


def _png(file: BinaryIO, path: Path, size: int) -> bool:
    """All chunks up to the last one, with the sums that stand behind them."""
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        return False
    while len(head := file.read(8)) == 8:
        left, sum_ = int.from_bytes(head[:4], "big"), zlib.crc32(head[4:])
        if left > size:
            return False
        while left and (block := file.read(min(left, _BLOCK))):
            sum_, left = zlib.crc32(block, sum_), left - len(block)
        if left or file.read(4) != sum_.to_bytes(4, "big"):
            return False
        if head[4:] == b"IEND":
            return True
    return False


def _mp4(file: BinaryIO, path: Path, size: int) -> bool:
    """Boxes that fill the file exactly, the table of frames (moov) among them."""
    at, kinds = 0, set()
    while at < size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:
            return False
        kinds.add(head[4:8])
        at += length
    return at == size and b"moov" in kinds


def _ply(file: BinaryIO, path: Path, size: int) -> bool:
    """A header, and room for the rows that it promises."""
    try:
        header = read_header(file, path)
    except InputError:
        return False
    if header.order == "=" or any(element.lists for element in header.elements):
        return True
    return header.offset + sum(e.count * e.dtype.itemsize for e in header.elements) <= size


def _json(file: BinaryIO, path: Path, size: int) -> bool:
    try:
        json_text.loads(file.read())
    except ValueError:
        return False
    return True


def _exr(file: BinaryIO, path: Path, size: int) -> bool:
    return complete(path)


_CHECKS: dict[str, Callable[[BinaryIO, Path, int], bool]] = {
    ".png": _png,
    ".mp4": _mp4,
    ".ply": _ply,
    ".json": _json,
    ".exr": _exr,
}

KINDS = frozenset(_CHECKS)
"""Extensions of files whose structure is known."""

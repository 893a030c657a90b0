"""Content hashes: what tells a changed file from an unchanged one, whatever the clock says."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

_SETTLED = 2.0
"""Seconds after its last change from which on a file's hash is remembered: a second change within
one tick of the file system's clock would not show."""

MISSING = "missing"

_remembered: dict[tuple[int, ...], str] = {}


def digest(parts: Iterable[str | bytes]) -> str:
    """A short content hash over ``parts`` in order."""
    h = hashlib.blake2b(digest_size=12)
    for part in parts:
        raw = part.encode("utf-8") if isinstance(part, str) else part
        h.update(len(raw).to_bytes(8, "little") + raw)
    return h.hexdigest()


def file_digest(path: Path) -> str:
    """Content hash of a file, :data:`MISSING` if there is none; each is read once a process."""
    try:
        with open(path, "rb") as file:
            stat = os.fstat(file.fileno())
            key = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            if key not in _remembered:
                h = hashlib.blake2b(digest_size=12)
                while block := file.read(1 << 20):
                    h.update(block)
                changed = max(stat.st_ctime, stat.st_mtime)  # Windows: ctime is the creation
                if abs(time.time() - changed) < _SETTLED:
                    return h.hexdigest()
                _remembered[key] = h.hexdigest()
    except FileNotFoundError:
        return MISSING
    return _remembered[key]

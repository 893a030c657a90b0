"""PNG files without the texts in them: Cycles writes how long it took, so that equal pictures
differ."""

from __future__ import annotations

from pathlib import Path

_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"tIME")


def without_text(data: bytes) -> bytes:
    """The same PNG file without its texts and times; what is no PNG comes back as it is."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    kept, at = [data[:8]], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in _TEXTS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def strip_text(path: Path) -> None:
    """Rewrite a PNG file in place without its texts."""
    path.write_bytes(without_text(path.read_bytes()))

"""EbSynth's project file, ``.ebs`` (EbSynth Beta, "EBS05"), from its documented layout.

Little endian; a string is an int32 byte length and UTF-8 bytes without a terminator. Paths are
relative to the file; ``[#####]`` stands for a frame's number with as many digits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

MOST_ROWS = 15  # more rows hide the program's "Run All" button, and from 20 on they are not kept


@dataclass(frozen=True)
class Synthesis:
    """One row of a project: a key, the frames it is carried to, and the files they go into."""

    key: int
    first: int
    last: int
    output: str
    use_first: bool = True
    use_last: bool = True


@dataclass(frozen=True)
class Project:
    """A project with the program's own defaults."""

    video: str
    keys: str
    rows: Sequence[Synthesis]
    mask: str = ""
    mask_on: bool = False
    key_weight: float = 1.0
    video_weight: float = 4.0
    mask_weight: float = 1.0
    mapping: float = 10.0
    deflicker: float = 1.0
    diversity: float = 3500.0
    detail: int = 1
    use_gpu: bool = True
    fps: float = 30.0


def encode(project: Project) -> bytes:
    """The project as the bytes of its file."""
    p = project
    out = b"EBS05\0" + _text(p.video) + _text(p.mask) + _text(p.keys)
    weights = (p.key_weight, p.video_weight, p.mask_weight, p.mapping, p.deflicker, p.diversity)
    out += struct.pack("<?6f", p.mask_on, *weights)
    out += struct.pack("<i", len(p.rows))
    for row in p.rows:
        out += struct.pack("<i??ii", row.key, row.use_first, row.use_last, row.first, row.last)
        out += _text(row.output)
    return out + b"V02\0" + struct.pack("<i?fi", p.detail, p.use_gpu, p.fps, 704)


def _text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack("<i", len(raw)) + raw

"""PlayCanvas' compressed.ply: 16 bytes a splat, quantized between the bounds of its chunk.

Elements: ``chunk`` (for 256 splats: bounds of position, log scale and, in newer files, color),
``vertex`` (four packed 32-bit words) and perhaps ``sh`` (one byte a harmonic). Layout and decoding
as PlayCanvas' engine documents them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .errors import InputError
from .ply_format import Floats, Table, columns

WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_CHUNK = 256
_BOUNDS = tuple(
    f"{end}_{axis}"
    for axes in (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
    for end in ("min", "max")
    for axis in axes
)
_GEOMETRY_BOUNDS = _BOUNDS[:12]


def decode(
    path: Path, elements: Mapping[str, Table]
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Positions (N, 3), colors of 0..1 (N, 3), logits (N,), log scales (N, 3), quats (N, 4).

    ``elements`` holds the rows of 'chunk' and 'vertex'. Opacity 0 and 255 become logits of -inf
    and inf. Raises InputError.
    """
    packed, chunk = elements["vertex"], elements.get("chunk")
    lacking = [n for n in WORDS if n not in (packed.dtype.names or ())]
    if chunk is None or lacking or len(chunk) * _CHUNK < len(packed):
        raise InputError(f"{path} is a damaged compressed splat file: its chunks do not match.")
    bounds = _bounds(path, chunk)
    per_splat = np.repeat(bounds, _CHUNK, axis=0)[: len(packed)].reshape(-1, 3, 2, 3)
    position, rotation, scale, color = (packed[n].astype(np.uint32) for n in WORDS)
    rgba = _bits(color, (24, 16, 8, 0), (8, 8, 8, 8))
    with np.errstate(divide="ignore"):
        opacities = np.log(rgba[:, 3]) - np.log1p(-rgba[:, 3])

    def spread(values: Floats, kind: int) -> Floats:
        low, high = per_splat[:, kind, 0], per_splat[:, kind, 1]
        result: Floats = low + values * (high - low)
        return result

    return (
        spread(_bits(position, (21, 11, 0), (11, 10, 11)), 0),
        spread(rgba[:, :3], 2),
        opacities,
        spread(_bits(scale, (21, 11, 0), (11, 10, 11)), 1),
        _smallest_three(rotation),
    )


def harmonics(values: Floats) -> Floats:
    """f_rest out of the bytes of the element 'sh' (as floats): -4..4, the ends exact."""
    unit = np.where(values == 0, 0, np.where(values == 255, 1, (values + 0.5) / 256))
    rest: Floats = ((unit - 0.5) * 8).astype(np.float32)
    return rest


def _bounds(path: Path, chunk: Table) -> Floats:
    """(C, 18) lower and upper bounds of position, log scale and color."""
    present = chunk.dtype.names or ()
    missing = [n for n in _GEOMETRY_BOUNDS if n not in present]
    if missing:
        raise InputError(
            f"{path} is a damaged compressed splat file: its chunks lack {', '.join(missing)}."
        )
    bounds = np.zeros((len(chunk), len(_BOUNDS)), np.float32)
    bounds[:, 15:] = 1  # older files have no color bounds: colors are 0..1
    names = [n for n in _BOUNDS if n in present]
    bounds[:, [_BOUNDS.index(n) for n in names]] = columns(chunk, names)
    return bounds


def _bits(packed: Table, shifts: Sequence[int], widths: Sequence[int]) -> Floats:
    """Fields of packed 32-bit words as (N, len(shifts)) float32 of 0..1."""
    fields = [
        ((packed >> np.uint32(s)) & np.uint32((1 << w) - 1)) / np.float32((1 << w) - 1)
        for s, w in zip(shifts, widths, strict=True)
    ]
    return np.stack(fields, axis=1).astype(np.float32)


def _smallest_three(packed: Table) -> Floats:
    """Quaternions w, x, y, z from the place of their largest component and the other three."""
    small = (_bits(packed, (20, 10, 0), (10, 10, 10)) - 0.5) * np.float32(2**0.5)
    largest = np.sqrt(np.maximum(0, 1 - (small**2).sum(1)))
    place = (packed >> np.uint32(30)).astype(np.intp)
    quats = np.empty((len(packed), 4), np.float32)
    for k in range(4):
        rows = place == k
        quats[rows] = np.insert(small[rows], k, largest[rows], axis=1)
    return quats

"""Splat models as .spz, the compact format of web viewers: about 16 bytes a splat, and at most
9 more for view-dependent color of degree 1, 45 for degree 3.

Niantic's version 2 (github.com/nianticlabs/spz, load-spz.cc): a gzip stream of a 16-byte header and
then one plane each of positions (24-bit fixed point), opacities, colors, scales, rotations and the
other harmonics (a byte a number). Y points up and X to the right in it, so the model is turned from
Blender's Z-up.
"""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .harmonics import turned
from .ply import Splats
from .run import write_bytes

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

MAGIC, VERSION = 0x5053474E, 2
MOST_FRACTION_BITS = 20  # a micrometer, when the coordinates are in meters
COLOR_SCALE = 0.15  # of f_dc, so that colors a little out of 0..1 survive
UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # Z-up to Y-up
MOST_DEGREE = 3
STEPS = (1, 2)
"""Steps of the harmonics of degree 1 and of the others, in 1/128. Niantic's own writer takes 8 and
16, which is nothing at all for the faint harmonics of a short training.
"""
TURN = math.sqrt(0.5)  # half of the quarter turn about X that takes Z-up to Y-up


def write_spz(path: Path, splats: Splats) -> None:
    """Write the model atomically; see :func:`spz_bytes`."""
    write_bytes(path, spz_bytes(splats))


def spz_bytes(splats: Splats) -> bytes:
    """The model as an .spz file; the same model gives the same bytes.

    Splats with numbers that cannot be used are left out; the others are ordered along a curve
    through space, since neighbors compress well together. Raises InputError if none is left.
    """
    chosen = np.flatnonzero(splats.finite)
    if len(chosen) == 0:
        raise InputError("The model has no splat that could be written as .spz.")
    order = chosen[np.argsort(morton(splats.means[chosen]), kind="stable")]
    x, y, z = splats.means[order].astype(np.float64).T
    points = np.stack([x, z, -y], 1)
    bits = fraction_bits(float(np.abs(points).max()))
    degree = min(splats.degree, MOST_DEGREE)
    header = struct.pack("<IIIBBBB", MAGIC, VERSION, len(order), degree, bits, 0, 0)
    planes = [
        _fixed(points, bits),
        _byte(255 * _sigmoid(splats.opacities[order])),
        _byte(255 * (COLOR_SCALE * splats.sh[order, 0].astype(np.float64) + 0.5)),
        _byte(16 * (splats.scales[order].astype(np.float64) + 10)),
        _rotations(splats.quats[order]),
        _harmonics(splats.sh[order, : (degree + 1) ** 2]),
    ]
    data = header + b"".join(p.tobytes() for p in planes)
    return gzip.compress(data, compresslevel=9, mtime=0)


def fraction_bits(largest: float) -> int:
    """Bits behind the point so that coordinates up to ``largest`` fit 24 bits with a sign."""
    if largest <= 0:
        return MOST_FRACTION_BITS
    bits = 23 - math.ceil(math.log2(largest) + 1e-9)
    if bits < 0:
        raise InputError("The model is too far from the origin for .spz (over 8000 km).")
    return min(bits, MOST_FRACTION_BITS)


def morton(points: Floats) -> npt.NDArray[np.int64]:
    """(N,) place of each of the (N, 3) points on a Z-order curve through their box, 30 bits."""
    low, high = points.min(0), points.max(0)
    cell = ((points - low) / np.maximum(high - low, 1e-30) * 1023).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


def _fixed(points: npt.NDArray[np.float64], bits: int) -> Bytes:
    """(N, 3, 3): each coordinate as three bytes, the lowest first."""
    whole = np.clip(np.rint(points * (1 << bits)), -(1 << 23), (1 << 23) - 1).astype("<i4")
    return whole.view(np.uint8).reshape(-1, 3, 4)[..., :3]


def _rotations(quats: Floats) -> Bytes:
    """(N, 3): x, y, z of the turned unit quaternions with w >= 0, each as a byte."""
    w, x, y, z = quats.astype(np.float64).T
    # (TURN, -TURN, 0, 0) times the quaternion: a quarter turn about X after its own.
    turned = TURN * np.stack([w + x, x - w, y + z, z - y], 1)
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    unit = np.where(length > 0, turned / np.maximum(length, 1e-30), (TURN, -TURN, 0, 0))
    unit *= np.where(unit[:, :1] < 0, -1.0, 1.0)
    return _byte(127.5 * unit[:, 1:] + 127.5)


def _harmonics(coefficients: Floats) -> Bytes:
    """(N, K - 1, 3): the harmonics after the constant one, turned to Y up, 1 a byte's 128 steps."""
    whole = np.rint(128 * turned(coefficients, UP)[:, 1:].astype(np.float64)) + 128
    step = np.where(np.arange(whole.shape[1]) < 3, *STEPS)[:, None]
    return _byte((whole + step // 2) // step * step)


def _sigmoid(logits: Floats) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -40, 40)))


def _byte(values: npt.NDArray[np.float64]) -> Bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

"""3D Gaussian Splatting models and point clouds in PLY files, in every layout met in the wild.

:func:`read_splats` takes graphdeco's layout, other writers' orders and number types, files without
normals, any degree of harmonics, and PlayCanvas' compressed.ply; :func:`write_splats` writes
graphdeco's. Everything else in the program talks about :class:`Splats` and :class:`Points` and
knows nothing of the format.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import ply_compressed
from .errors import InputError
from .ply_format import (
    Element,
    Floats,
    Table,
    columns,
    opened,
    read_elements,
    read_header,
    spread,
    write_vertices,
)

Bytes = npt.NDArray[np.uint8]

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic: color = 0.5 + SH_C0 * f_dc."""

_POSITION = ("x", "y", "z")
_NORMAL = ("nx", "ny", "nz")
_RGB = ("red", "green", "blue")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALE = ("scale_0", "scale_1", "scale_2")
_ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
_NEEDED = (*_POSITION, *_DC, "opacity", *_SCALE, *_ROTATION)
_REST_COUNTS = (0, 9, 24, 45, 72)


@dataclass(frozen=True, eq=False)
class Splats:
    """A splat model: N anisotropic Gaussians in Blender's world (meters), as the .ply stores them.

    ``means`` (N, 3): centers. ``sh`` (N, K, 3), K = (degree + 1)²: spherical harmonics, ``[:, 0]``
    is f_dc. ``opacities`` (N,): logits, ±inf allowed. ``scales`` (N, 3): natural logarithms of the
    standard deviations. ``quats`` (N, 4): rotations w, x, y, z, perhaps not normalized. All
    float32. Of files that were read, ``sh`` is contiguous by coefficient: ``sh[:, k]``.
    """

    means: Floats
    sh: Floats
    opacities: Floats
    scales: Floats
    quats: Floats

    @property
    def count(self) -> int:
        """Number of splats."""
        return len(self.means)

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics."""
        return math.isqrt(self.sh.shape[1]) - 1

    @property
    def finite(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: splats whose numbers can all be used (an infinite opacity can)."""
        usable: npt.NDArray[np.bool_] = ~np.isnan(self.opacities)
        for part in (self.means, self.scales, self.quats, *self.sh.transpose(1, 0, 2)):
            # A finite sum has finite terms, and is found without an array of answers.
            with np.errstate(over="ignore", invalid="ignore"):
                if np.isfinite(part.sum()):
                    continue
            usable &= np.isfinite(part).all(1)
        return usable

    def selected(self, which: npt.NDArray[Any]) -> Splats:
        """The splats of a mask or an index array."""
        parts = (self.means, self.sh, self.opacities, self.scales, self.quats)
        return Splats(*(part[which] for part in parts))


@dataclass(frozen=True, eq=False)
class Points:
    """A point cloud: ``positions``, ``normals`` (N, 3) float32, ``colors`` (N, 3) uint8."""

    positions: Floats
    normals: Floats
    colors: Bytes


# --- splats -------------------------------------------------------------------------------------


def read_splats(path: Path) -> Splats:
    """Read a splat model; numbers stay as stored (logits, logarithms, unnormalized quaternions).

    Raises InputError when the file is missing, damaged, cut off, or holds no splats.
    """
    with opened(path) as file:
        header = read_header(file, path)
        vertex = header.element("vertex")
        if vertex is None:
            raise InputError(f"{path} has no element 'vertex', so it holds no splats.")
        if "packed_position" in vertex.names:
            tables = read_elements(file, path, header, ("chunk", "vertex", "sh"))
            return _from_compressed(path, tables, header.element("sh"))
        rest = _rest_count(path, vertex)
        missing = [n for n in _NEEDED if n not in vertex.names]
        if missing:
            raise InputError(
                f"{path} holds no splats: its vertices lack {', '.join(missing)}; a mesh or point "
                "cloud is imported with File > Import > Stanford PLY."
            )
        table = read_elements(file, path, header, ("vertex",))["vertex"]
    return _from_table(table, rest)


def holds_splats(path: Path) -> bool:
    """Whether the file's header is that of a splat model and not of bare points; raises InputError
    when it is no PLY file.
    """
    with opened(path) as file:
        vertex = read_header(file, path).element("vertex")
    return vertex is not None and bool({_DC[0], "packed_position"} & set(vertex.names))


def _from_table(table: Table, rest: int) -> Splats:
    count, extra = len(table), rest // 3
    means, scales = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    opacities, quats = np.empty(count, np.float32), np.empty((count, 4), np.float32)
    # Coefficient by coefficient, since Blender and most other uses take one at a time.
    sh = np.empty((1 + extra, count, 3), np.float32)
    targets = [("opacity", opacities), *zip(_ROTATION, quats.T, strict=True)]
    for names, array in ((_POSITION, means), (_SCALE, scales), (_DC, sh[0])):
        targets += zip(names, array.T, strict=True)
    for k in range(rest):  # all of red, then green, then blue
        targets.append((f"f_rest_{k}", sh[1 + k % extra, :, k // extra]))
    spread(table, targets)
    return Splats(means, sh.transpose(1, 0, 2), opacities, scales, quats)


def write_splats(path: Path, splats: Splats) -> None:
    """Write graphdeco's layout (binary little endian, all float32, zero normals), atomically."""
    count, rest = splats.count, 3 * (splats.sh.shape[1] - 1)
    names = (*_POSITION, *_NORMAL, *_DC, *_rest_names(rest), "opacity", *_SCALE, *_ROTATION)
    table = np.zeros((count, len(names)), "<f4")
    table[:, 0:3] = splats.means
    table[:, 6:9] = splats.sh[:, 0]
    table[:, 9 : 9 + rest] = splats.sh[:, 1:].transpose(0, 2, 1).reshape(count, rest)
    table[:, 9 + rest] = splats.opacities
    table[:, 10 + rest : 13 + rest] = splats.scales
    table[:, 13 + rest :] = splats.quats
    write_vertices(path, [f"float {n}" for n in names], table)


def _rest_names(count: int) -> tuple[str, ...]:
    return tuple(f"f_rest_{k}" for k in range(count))


def _rest_count(path: Path, element: Element) -> int:
    """Number of f_rest properties; they have to be a whole degree's, without gaps."""
    rest = sum(n.startswith("f_rest_") for n in element.names)
    if rest not in _REST_COUNTS:
        raise InputError(
            f"{path} has {rest} f_rest properties; spherical harmonics of degree 0 to 4 have "
            f"{', '.join(map(str, _REST_COUNTS))}."
        )
    gap = next((n for n in _rest_names(rest) if n not in element.names), None)
    if gap is not None:
        raise InputError(f"{path} has {rest} f_rest properties but no {gap}.")
    return rest


def _harmonics(dc: Floats, rest: Floats | None) -> Floats:
    """(N, K, 3) out of f_dc (N, 3) and f_rest (N, 3(K-1)): all of red, then green, then blue."""
    if rest is None:
        return dc[:, None]
    count, width = rest.shape
    by_channel = rest.reshape(count, 3, width // 3)
    return np.concatenate([dc[:, None], by_channel.transpose(0, 2, 1)], axis=1)


def _from_compressed(path: Path, tables: dict[str, Table], element: Element | None) -> Splats:
    means, colors, opacities, scales, quats = ply_compressed.decode(path, tables)
    rest = None
    if element is not None and (count := _rest_count(path, element)):
        if element.count != len(means):
            raise InputError(f"{path} is a damaged compressed splat file: its 'sh' does not match.")
        rest = ply_compressed.harmonics(columns(tables["sh"], _rest_names(count)))
    sh = _harmonics((colors - np.float32(0.5)) / np.float32(SH_C0), rest)
    return Splats(means, sh, opacities, scales, quats)


# --- points -------------------------------------------------------------------------------------


def read_points(path: Path) -> Points:
    """Read a point cloud, or a mesh's vertices: x y z, and nx ny nz, red green blue where present.

    Missing normals are zero, missing colors white; colors stored as floats are taken as 0..1.
    Raises InputError.
    """
    with opened(path) as file:
        header = read_header(file, path)
        vertex = header.element("vertex")
        missing = [n for n in _POSITION if vertex is None or n not in vertex.names]
        if vertex is None or missing:
            raise InputError(f"{path} holds no points: its vertices lack {', '.join(missing)}.")
        table = read_elements(file, path, header, ("vertex",))["vertex"]
    normals = np.zeros((len(table), 3), np.float32)
    if all(n in vertex.names for n in _NORMAL):
        normals = columns(table, _NORMAL)
    colors = np.full((len(table), 3), 255, np.uint8)
    if all(n in vertex.names for n in _RGB):
        values = np.nan_to_num(columns(table, _RGB))
        if vertex.dtype[_RGB[0]].kind == "f":
            values = values * 255 + 0.5
        colors = np.clip(values, 0, 255).astype(np.uint8)
    return Points(columns(table, _POSITION), normals, colors)


def write_points(path: Path, points: Points) -> None:
    """Write x y z nx ny nz (float32) red green blue (uint8), binary little endian, atomically."""
    row = np.dtype([("position", "<f4", (3,)), ("normal", "<f4", (3,)), ("color", "u1", (3,))])
    table = np.empty(len(points.positions), row)
    table["position"], table["normal"] = points.positions, points.normals
    table["color"] = points.colors
    properties = [f"float {n}" for n in (*_POSITION, *_NORMAL)] + [f"uchar {n}" for n in _RGB]
    write_vertices(path, properties, table)

"""Where the first splats are: on the model's surface, on its depth maps, or inside its
silhouettes.

All functions return local splats (:class:`.dataset.World`). A surface point becomes a disc whose
radius makes N discs cover the surface once: s = sqrt(area / N / pi), estimated around each point
from its neighbors (for points scattered with density rho, pi d_k^2 rho = k on average, so s =
d_k / sqrt(k)). Splats are returned in the order of :mod:`.curve`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ...core.cameras import Camera
from ...core.exr import Guide
from ...core.ply import SH_C0, Points, Splats
from .curve import along_curve
from .dataset import Picture, World

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_NEIGHBORS = 8
_THICKNESS = 0.25  # of a disc, along its normal
_OPACITY, _FAINT = 0.7, 0.1  # on a known surface; where nothing is known


def from_points(points: Points, world: World, count: int, degree: int, seed: int) -> Splats:
    """Discs on ``count`` of ``points`` (all, if there are fewer), turned to their normals.

    Points that are not finite are left out; where a normal is missing (zero) the splat is round.
    """
    usable = np.isfinite(points.positions).all(1)
    chosen = np.nonzero(usable)[0]
    if len(chosen) > count:
        rng = np.random.default_rng((seed, 1))
        chosen = np.sort(rng.choice(chosen, count, replace=False))
    positions = world.localized(points.positions[chosen])
    normals = np.nan_to_num(points.normals[chosen])
    lengths = np.linalg.norm(normals, axis=1)
    flat = lengths > 1e-6
    normals[flat] /= lengths[flat, None]
    radius = spacing(positions)
    scales = np.repeat(np.log(radius)[:, None], 3, axis=1)
    scales[flat, 2] += np.float32(np.log(_THICKNESS))
    quats = np.tile(np.float32([1, 0, 0, 0]), (len(positions), 1))
    quats[flat] = z_to(normals[flat])
    return _splats(positions, points.colors[chosen], scales, quats, degree, _OPACITY)


def spacing(positions: Floats) -> Floats:
    """(N,) disc radius for each point, from the distances to its nearest neighbors."""
    if len(positions) < 2:
        return np.full(len(positions), 0.05, np.float32)
    k = min(_NEIGHBORS, len(positions) - 1)
    distances = cKDTree(positions).query(positions, k + 1)[0][:, 1:]
    radius = np.sqrt((distances**2 / np.arange(1, k + 1)).mean(1))
    middle = float(np.median(radius)) or 1e-3
    return np.clip(radius, 0.2 * middle, 4 * middle).astype(np.float32)


def z_to(normals: Floats) -> Floats:
    """(N, 4) quaternions wxyz that turn +Z to unit ``normals`` by the shortest way."""
    x, y, z = normals.T
    quats = np.stack([1 + z, -y, x, np.zeros_like(x)], axis=1)
    lengths = np.linalg.norm(quats, axis=1, keepdims=True)
    opposite = lengths[:, 0] < 1e-4  # half a turn, about any horizontal axis
    quats[opposite] = (0, 1, 0, 0)
    lengths[opposite] = 1
    return (quats / lengths).astype(np.float32)


def _splats(
    positions: Floats,
    colors: npt.NDArray[np.uint8],
    scales: Floats,
    quats: Floats,
    degree: int,
    opacity: float,
) -> Splats:
    sh = np.zeros((len(positions), (degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = (colors.astype(np.float32) / 255 - 0.5) / SH_C0
    logit = np.full(len(positions), np.log(opacity / (1 - opacity)), np.float32)
    splats = Splats(positions, sh, logit, scales.astype(np.float32), quats)
    return splats.selected(along_curve(positions))


def points_of_guides(
    pictures: Sequence[Picture], guides: Sequence[Guide | None], count: int, seed: int
) -> Points:
    """About ``count`` surface points from the depth maps of views, in the world, colored by
    their own view.

    ``guides`` belong to ``pictures``; None where a view has none. Views without geometry add
    nothing.
    """
    rng = np.random.default_rng((seed, 2))
    parts: list[tuple[npt.NDArray[np.float64], Floats, npt.NDArray[np.uint8]]] = []
    known = [(p, g) for p, g in zip(pictures, guides, strict=True) if g is not None]
    for picture, guide in known:
        rows, columns = np.nonzero(guide.mask & (picture.rgba[..., 3] > 127))
        wanted = min(len(rows), -(-count // len(known)))
        pick = rng.choice(len(rows), wanted, replace=False) if wanted else np.empty(0, np.int64)
        rows, columns = rows[pick], columns[pick]
        pixels = np.stack([columns + 0.5, rows + 0.5], axis=1)
        positions = picture.camera.unproject(pixels, guide.depth[rows, columns])
        parts.append((positions, guide.normal[rows, columns], picture.rgba[rows, columns, :3]))
    if not parts:
        none = np.empty((0, 3), np.float32)
        return Points(none, none, np.empty((0, 3), np.uint8))
    positions, normals, colors = (np.concatenate(p) for p in zip(*parts, strict=True))
    return Points(positions.astype(np.float32), normals.astype(np.float32), colors)


def colored(
    positions: Floats, pictures: Sequence[Picture], guides: Sequence[Guide | None]
) -> npt.NDArray[np.uint8]:
    """(N, 3) uint8: each world point's mean color over the views that see it; gray where none
    does.

    A view sees a point when its depth map (if it has one) is not nearer than the point by more
    than 1 % and the picture is opaque there.
    """
    total, weight = np.zeros((len(positions), 3)), np.zeros(len(positions))
    for picture, guide in zip(pictures, guides, strict=True):
        pixels, depth = picture.camera.project(positions)
        k = np.nonzero(_inside(pixels, depth, picture.camera))[0]
        x, y = pixels[k].astype(np.int64).T
        seen = picture.rgba[y, x, 3] > 127
        if guide is not None:
            seen &= depth[k] < guide.depth[y, x] * 1.01
        k, x, y = k[seen], x[seen], y[seen]
        total[k] += picture.rgba[y, x, :3]
        weight[k] += 1
    mean = total / np.maximum(weight, 1)[:, None]
    return np.where(weight[:, None] > 0, mean + 0.5, 128).astype(np.uint8)


def from_silhouettes(
    pictures: Sequence[Picture], world: World, count: int, degree: int, seed: int
) -> Splats:
    """Faint round splats at random points that every silhouette contains; no geometry is needed.

    Points are drawn from the sphere all cameras look at. Pictures without alpha exclude nothing,
    so there this is the field's random initialization. At most 24 views, evenly chosen, carve.
    """
    rng = np.random.default_rng((seed, 3))
    chosen = pictures[:: max(1, len(pictures) // 24)]
    reach = max(_reach(p, world) for p in chosen)
    found: list[Floats] = []
    total = 0
    for _ in range(40):
        points = rng.normal(size=(4 * count, 3))
        points *= (reach * rng.random(len(points)) ** (1 / 3) / np.linalg.norm(points, axis=1))[
            :, None
        ]
        for picture in chosen:
            points = points[_in_silhouette(points * world.scale + world.center, picture)]
        found.append(points.astype(np.float32))
        total += len(points)
        if total >= count:
            break
    positions = np.concatenate(found)[:count]
    colors = colored(
        (positions * world.scale + world.center).astype(np.float32), chosen, [None] * len(chosen)
    )
    scales = np.repeat(np.log(spacing(positions))[:, None], 3, axis=1)
    quats = np.tile(np.float32([1, 0, 0, 0]), (len(positions), 1))
    return _splats(positions, colors, scales, quats, degree, _FAINT)


def _reach(picture: Picture, world: World) -> float:
    """Local radius of what a camera sees around the world's center, by its wider half angle."""
    camera = picture.camera
    distance = float(np.linalg.norm(camera.position - world.center)) / world.scale
    return distance * max(camera.width / camera.fl_x, camera.height / camera.fl_y) / 2


def _inside(pixels: Doubles, depth: Doubles, camera: Camera) -> npt.NDArray[np.bool_]:
    inside: npt.NDArray[np.bool_] = (depth > 0) & (pixels >= 0).all(1)
    inside &= (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
    return inside


def in_picture(points: npt.ArrayLike, camera: Camera) -> npt.NDArray[np.bool_]:
    """(N,) bool: whether world points (N, 3) fall into a camera's picture."""
    return _inside(*camera.project(points), camera)


def _in_silhouette(points: npt.NDArray[np.float64], picture: Picture) -> npt.NDArray[np.bool_]:
    """(N,) bool: whether world points fall on opaque pixels; outside the picture they do not."""
    pixels, depth = picture.camera.project(points)
    inside = _inside(pixels, depth, picture.camera)
    k = np.nonzero(inside)[0]
    x, y = pixels[k].astype(np.int64).T
    inside[k] = picture.rgba[y, x, 3] > 127
    return inside

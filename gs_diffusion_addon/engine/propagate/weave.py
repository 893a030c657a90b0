"""Keys made ready to be put together: brightness levelled, and the share each has of each pixel.

Three ways to weave the keys into one surface. ``soft`` mixes all keys that see a point. ``hard``
takes each point from the key that faces it best. ``hidden`` lets every point come from one key as
well, but puts the borders where the keys agree (:mod:`.labels`), and lets the two sides differ in
their fine detail only: what is coarser than :data:`COARSE` is the soft mix of all keys on either
side (two bands, as in Burt and Adelson, "A multiresolution spline", 1983, on the surface instead of
in a picture).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..guides import View, feather_map
from . import labels, surface

STEEPEST = 80.0  # degrees between surface and key from which on its pixels are too stretched
COARSE = 30  # averaging steps that part coarse from fine: about 4.5 cells, 11 pixels of 512
SOFT_POWER = 6.0  # cos^p of the coarse band
FEATHER = 1  # averaging steps over which one key's detail gives way to the next one's
FACING = 0.35  # what a node pays for a key that sees it edge-on
SEAM = 1.0  # what a border pays for a difference between two keys of the whole range
SWEEPS = 4
NOISE, TRUST = 10 / 255, 0.3  # standard deviations of a color and of a gain

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Run = Callable[[Callable[[int], None], Sequence[int]], None]


@dataclass(frozen=True, eq=False)
class Woven:
    """``color`` (K, h, w, 3) uint8, corrected; ``weight`` (K, h, w) float32, each key's share of
    its pixels; ``spare`` the same for points to which nothing of ``weight`` belongs; ``gains``
    (K, 3); ``share`` of the nodes of the surface by key, (K,).
    """

    color: Bytes
    weight: Floats
    spare: Floats
    gains: Floats
    share: Floats


def facing(view: View) -> Floats:
    """(h, w) float32: the cosine between surface and line of sight, 0 beyond STEEPEST.

    Normals on the far side of the surface count as turned.
    """
    c = view.camera
    h, w = view.depth.shape
    x = (np.arange(w, dtype=np.float32) + 0.5 - c.cx) / c.fl_x
    y = (np.arange(h, dtype=np.float32) + 0.5 - c.cy) / c.fl_y
    axes = c.matrix[:3, :3].astype(np.float32)
    local = view.normal @ axes
    dot = local[..., 0] * x - local[..., 1] * y[:, None] - local[..., 2]
    cosine = np.abs(dot) / np.sqrt(1 + x * x + (y * y)[:, None])
    keep = view.mask & (cosine > np.cos(np.radians(STEEPEST)))
    return np.where(keep, cosine, 0).astype(np.float32)


def weave(views: Sequence[View], colors: Bytes, mode: str, sharpness: float) -> Woven:
    """Make ready keys ``colors`` (K, h, w, 3) uint8 seen by ``views`` in ``mode``, see above.

    ``sharpness`` is p of cos^p for ``soft``.
    """
    cosines = np.stack([facing(v) for v in views])
    feathers = np.stack([feather_map(v) for v in views])
    spare = cosines**sharpness * feathers
    count = len(views)
    ones = np.ones((count, 3), np.float32)
    if not any(v.mask.any() for v in views):
        return Woven(colors, spare, spare, ones, np.zeros(count, np.float32))
    nodes = surface.build(views)
    color, seen, quality = _on_nodes(nodes, colors, cosines, feathers)
    gains = solve_gains(color, seen)
    color *= gains
    share = np.zeros(count, np.float32)
    if mode == "soft":
        return Woven(_scaled(colors, gains), spare, spare, gains, share)
    data = np.where(seen > 0, FACING * (1 - quality), labels.NEVER).astype(np.float32)
    seam = SEAM if mode == "hidden" else 0.0
    sweeps = SWEEPS if mode == "hidden" else 0
    graph = nodes.first, nodes.neighbor
    chosen = (
        labels.solve(*graph, data, color, seen, seam, sweeps)
        if sweeps
        else data.argmin(1).astype(np.int32)
    )
    own = (chosen[:, None] == np.arange(count)).astype(np.float32)
    share = own.mean(0)
    steps = FEATHER if mode == "hidden" else 0
    own = surface.smooth(nodes, own, steps)
    lift = np.zeros_like(color)
    if mode == "hidden":
        lift = coarse_lift(nodes, color, seen, quality)
    weight = np.empty_like(spare)
    out = np.empty_like(colors)
    for k in range(count):
        values = np.concatenate([own[:, k : k + 1], lift[:, k]], 1)
        field = surface.spread(nodes, k, values, spare.shape[1:])
        weight[k] = field[..., 0] * np.minimum(feathers[k], 1)
        picture = colors[k] * gains[k] + 255 * field[..., 1:]
        out[k] = np.clip(picture + 0.5, 0, 255)
    return Woven(out, weight, spare, gains, share)


def _on_nodes(
    nodes: surface.Surface, colors: Bytes, cosines: Floats, feathers: Floats
) -> tuple[Floats, Floats, Floats]:
    """(color (N, K, 3) of 0..1, seen (N, K) pixels, quality (N, K) of 0..1) of every key."""
    count = len(colors)
    color = np.zeros((nodes.count, count, 3), np.float32)
    seen = np.zeros((nodes.count, count), np.float32)
    quality = np.zeros_like(seen)
    for k in range(count):
        weight = feathers[k] * (cosines[k] > 0)
        color[:, k], _ = surface.gather(nodes, k, colors[k].astype(np.float32) / 255, weight)
        worth = (cosines[k] * feathers[k])[..., None]
        mean, seen[:, k] = surface.gather(nodes, k, worth, (cosines[k] > 0).astype(np.float32))
        quality[:, k] = mean[:, 0]
    return color, seen, quality


def solve_gains(color: Floats, seen: Floats) -> Floats:
    """(K, 3) factors that bring the keys to one brightness where they see the same nodes.

    Least squares of differences in units of NOISE, each gain held to 1 in units of TRUST (Brown and
    Lowe, "Automatic panoramic image stitching", 2007, section 6), for each channel on its own.
    """
    count = seen.shape[1]
    known = (seen > 0).astype(np.float64)
    overlap = known.T @ known
    np.fill_diagonal(overlap, 0)
    out = np.ones((count, 3), np.float32)
    for c in range(3):
        value = color[..., c].astype(np.float64) * known
        # Squares of k's own color where l sees it too, and products of the two.
        squares = (value**2).T @ known
        products = value.T @ value
        np.fill_diagonal(squares, 0)
        np.fill_diagonal(products, 0)
        matrix = -2 * products / NOISE**2
        np.fill_diagonal(matrix, 2 * squares.sum(1) / NOISE**2 + overlap.sum(1) / TRUST**2 + 1e-9)
        gains = np.linalg.solve(matrix, overlap.sum(1) / TRUST**2 + 1e-9)
        out[:, c] = np.clip(gains / gains.mean(), 0.5, 2)
    return out


def coarse_lift(nodes: surface.Surface, color: Floats, seen: Floats, quality: Floats) -> Floats:
    """(N, K, 3): what has to be added to each key so that all have the same coarse band.

    It is the difference to the soft mix, averaged over the part that the key sees: nothing where
    the keys agree, however differently far each of them sees around.
    """
    count = seen.shape[1]
    known = np.minimum(seen, 1)
    soft = (quality**SOFT_POWER * known)[..., None]
    mixed = (soft * color).sum(1) / np.maximum(soft.sum(1), 1e-12)
    weight = np.minimum(quality * 10, 1) * known
    weight[soft.sum((1, 2)) < 1e-9] = 0
    missing = (mixed[:, None] - color) * weight[..., None]
    packed = np.concatenate([missing.reshape(nodes.count, -1), weight], 1)
    packed = surface.smooth(nodes, packed, COARSE)
    total = packed[:, -count:, None]
    lift = packed[:, :-count].reshape(nodes.count, count, 3) / np.maximum(total, 1e-9)
    return np.where(total > 1e-4, lift, 0).astype(np.float32)


def _scaled(colors: Bytes, gains: Floats) -> Bytes:
    scaled = colors * gains[:, None, None] + 0.5
    return np.clip(scaled, 0, 255).astype(np.uint8)

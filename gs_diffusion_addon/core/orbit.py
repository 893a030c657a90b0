"""Turntable poses: closed rings of cameras around a center, ring 0 first, then the further
rings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .cameras import Array, Camera, look_at
from .errors import InputError
from .settings import Settings, all_rings
from .values import Ring, parse_frames

CELL_GRAIN = 8  # px; a collage's cells are multiples of it
SMALLEST_CELL = 64  # px; a keyframe shown smaller than this has nothing left to restyle


@dataclass(frozen=True, eq=False)
class View:
    """One view of the turntable: frame number, ring, azimuth and elevation in degrees, and pose
    (4, 4), camera-to-world, OpenGL axes.
    """

    frame: int
    ring: int
    azimuth: float
    elevation: float
    matrix: Array


def turntable(
    rings: Sequence[Ring], center: Array, distance: float, start: float = 0.0
) -> list[View]:
    """Poses of all rings around ``center`` (3,) at ``distance`` meters, from azimuth ``start``
    degrees.

    Azimuth 0 is the front view (-Y, Blender's), angles run counterclockwise seen from above, and a
    ring is closed: its last view is one step before its first. Every other ring starts half a
    step later, so that views of neighboring rings interleave.
    """
    views: list[View] = []
    for number, ring in enumerate(rings):
        phase = 0.5 * (number % 2)
        for k in range(ring.count):
            azimuth = math.radians(start) + 2 * math.pi * (k + phase) / ring.count
            elevation = math.radians(ring.elevation)
            direction = np.array(
                [
                    math.cos(elevation) * math.sin(azimuth),
                    -math.cos(elevation) * math.cos(azimuth),
                    math.sin(elevation),
                ]
            )
            pose = look_at(center + distance * direction, center)
            views.append(View(len(views), number, math.degrees(azimuth), ring.elevation, pose))
    return views


def framing_distance(
    points: Array, rotations: Sequence[Array], camera: Camera, margin: float
) -> float:
    """Distance from which ``points`` (N, 3), about the center, fit the picture in every view.

    ``rotations`` are the views' (3, 3) camera-to-world, OpenGL axes; ``camera`` gives the
    intrinsics. A point at (x, y, z) in camera axes around the center is d - z in front of a camera
    at distance d and lands inside while ``|x| fl margin <= side (d - z)``, so the distance it wants
    is ``z + |x| fl margin / side``; the largest one of all points and views fits all. ``side`` is
    the principal point's distance from the nearer border, in pixels.
    """
    sides = np.array(
        [
            max(1.0, min(camera.cx, camera.width - camera.cx)),
            max(1.0, min(camera.cy, camera.height - camera.cy)),
        ]
    )
    slopes = np.array([camera.fl_x, camera.fl_y]) * margin / sides
    distance = 0.0
    for rotation in rotations:
        local = points @ rotation
        wanted = local[:, 2:] + np.abs(local[:, :2]) * slopes
        distance = max(distance, float(wanted.max()))
    return distance


def key_frames(count: int, keys: int, first: int = 0) -> list[int]:
    """``keys`` frames spread evenly over a closed ring of ``count`` frames that starts at frame
    ``first``.

    Right for any pair of numbers: the gaps, the one across the loop's seam included, differ by at
    most one.
    """
    keys = min(keys, count)
    return [first + (k * count) // keys for k in range(keys)]


def plan_keys(settings: Settings) -> list[int]:
    """The frames that are restyled, sorted: ``keys`` on ring 0 and ``ring_keys`` on each further
    ring.

    With the propagator ``none`` every frame is one.
    """
    frames: list[int] = []
    first = 0
    for number, ring in enumerate(all_rings(settings)):
        wanted = settings.keys if number == 0 else settings.ring_keys
        if settings.propagator == "none":
            wanted = ring.count
        frames += key_frames(ring.count, wanted, first)
        first += ring.count
    return frames


def used_keys(settings: Settings, planned: Sequence[int] | None = None) -> list[int]:
    """The keyframes that the others are made of: the planned ones but those that the user rejects.

    ``planned`` are the evenly spread ones if it is not given. Raises InputError when none is left.
    """
    rejected = parse_frames(settings.reject_keys)
    keys = plan_keys(settings) if planned is None else planned
    used = [frame for frame in keys if frame not in rejected]
    if not used:
        raise InputError("--reject-keys leaves no keyframe; reject fewer.")
    return used


def require_first_ring(keys: Sequence[int], count: int) -> None:
    """Raise InputError if none of the keyframes is on ring 0, which has ``count`` frames: EbSynth's
    program knows no other.
    """
    if not any(key < count for key in keys):
        raise InputError(
            "EbSynth paints ring 0, and no keyframe is left there; reject fewer (--reject-keys), "
            "raise --keys, or choose --propagator reproject."
        )


def cell_room(longest: int, sides: int, page_size: int) -> int:
    """Pixels, a multiple of 8, that a keyframe's longest side has on a page of ``sides`` x
    ``sides`` that is ``page_size`` pixels long. Raises InputError for too few to show the frame,
    whose own longest side is ``longest``.
    """
    room = page_size // sides // CELL_GRAIN * CELL_GRAIN
    if room < min(SMALLEST_CELL, longest):
        raise InputError(
            f"--page-size {page_size} leaves {page_size // sides} pixels for each of "
            f"{sides}x{sides} keyframes; raise it to {SMALLEST_CELL * sides} or lower --sides."
        )
    return room


def split_pages(frames: Sequence[int], sides: int) -> list[list[int]]:
    """Spread ``frames`` over as few collage pages of ``sides`` × ``sides`` as hold them, each once.

    Order is kept, so neighbors on the ring share a page, and pages are filled evenly (the counts
    differ by at most one): a page with one lonely frame would be restyled at odds with the others.
    """
    count = math.ceil(len(frames) / sides**2)
    borders = [k * len(frames) // max(count, 1) for k in range(count + 1)]
    return [list(frames[a:b]) for a, b in pairwise(borders)]


def page_of(keys: Sequence[int], sides: int, view: int) -> list[int]:
    """The frames on the page of ``sides`` x ``sides`` of keyframe ``view``, or of the keyframe
    nearest to it in number.
    """
    pages = split_pages(keys, sides)
    return min(pages, key=lambda page: min(abs(frame - view) for frame in page))

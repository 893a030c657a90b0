"""Propagator ``patchmatch``: every frame painted anew from pieces of its two nearest keyframes.

What EbSynth does, without it: brush strokes stay whole, at the price of consistency. Guides are the
unstyled frame's color and edges and, from Blender's geometry, position and normal. By default the
search starts from where the exact geometry puts each pixel in the key. Rings without keyframes, and
pixels that a key does not show, are left to ``reproject``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import ndimage

from ...core.dataset import Frame
from ...core.events import Emit
from ...core.keyframes import used
from ...core.run import Run
from ...core.settings import Settings
from ..guides import BACKGROUND, View, read_view, relative_pose, ring
from ..parallel import in_order, thread_count
from . import Painted, Painter, Target, blend, guidance, read_key, reproject, rows
from .guidance import extent, unstyled
from .synthesis import Effort, synthesize

STARTED = Effort(votes=3, passes=2, levels=1, window=16)
PLAIN = Effort(votes=3, passes=2)
SEEN = 3.0  # pixels' world size within which two views show the same point
ROOM = 3  # pixels around the model's box, so that patches at its rim lie inside the cut-out

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Guided:
    """A frame cut to its model: ``box`` in the picture, ``guides`` (h, w, 16), ``mask`` (h, w)."""

    view: View
    box: tuple[slice, slice]
    guides: Floats
    mask: Mask
    style: Bytes


def prepare(run: Run, settings: Settings, frames: Sequence[Frame], emit: Emit) -> Painter:
    """Load the keys with their guides; raises InputError if one is missing."""
    fallback = reproject.prepare(run, settings, frames, emit)
    places = rows.places(used(run, settings), frames)
    middle, size = extent([read_view(run, f) for f in ring(frames)[::6]])
    wanted = sorted({key.frame for p in places.values() for key in (p.left, p.right)})
    by_number = {f.frame: f for f in frames}

    def load(number: int) -> Guided:
        frame = by_number[number]
        return guided(run, read_view(run, frame), number, read_key(run, frame), middle, size)

    keys = dict(in_order(load, wanted, thread_count(settings)))

    def paint(target: Target) -> Painted:
        number = target.frame.frame
        base = fallback(target)
        if number not in places:
            return base
        place = places[number]
        black = np.zeros((*target.view.depth.shape, 3), np.uint8)
        frame = guided(run, target.view, number, black, middle, size)
        mixed = combined(frame, keys, place, settings)
        known = target.view.mask
        return Painted(np.where(known[..., None], mixed / np.float32(255), base.color), known)

    return paint


def guided(
    run: Run,
    view: View,
    number: int,
    style: Bytes,
    middle: npt.NDArray[np.float64],
    size: float,
) -> Guided:
    """The guides of frame ``number``, cut to the model's box."""
    box = _box(view.mask)
    whole = guidance.stacked(unstyled(run, number), view, style, middle, size)
    return Guided(view, box, np.ascontiguousarray(whole[box]), view.mask[box], style[box])


def _box(mask: Mask) -> tuple[slice, slice]:
    """The model's box with ROOM around it; the whole picture if there is none or it is tiny."""
    ys, xs = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if len(ys) == 0 or min(np.ptp(ys), np.ptp(xs)) < 16:
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    return (
        slice(max(int(ys[0]) - ROOM, 0), int(ys[-1]) + ROOM + 1),
        slice(max(int(xs[0]) - ROOM, 0), int(xs[-1]) + ROOM + 1),
    )


def combined(
    frame: Guided, keys: dict[int, Guided], place: rows.Place, settings: Settings
) -> Bytes:
    """The frame painted from both its keys and put together: (h, w, 3) uint8, whole picture."""
    started = settings.patch_start == "reproject"
    left, left_error = painted(frame, keys[place.left.frame], started)
    mixed = left
    if place.alpha > 0:
        right, right_error = painted(frame, keys[place.right.frame], started)
        if settings.blending == "poisson":
            errors = left_error, right_error
            mixed = blend.poisson(left, right, *errors, place.alpha, frame.mask)
        else:
            mixed = blend.crossfade(left, right, place.alpha)
    out = np.zeros((*frame.view.depth.shape, 3), np.uint8)
    out[frame.box] = mixed
    return out


def painted(frame: Guided, key: Guided, started: bool) -> tuple[Bytes, Floats]:
    """The cut-out (h, w, 3) painted from one key, and the patches' errors (h, w)."""
    effort = STARTED if started else PLAIN
    start = correspondence(frame, key) if started else None
    return synthesize(key.style, key.guides, frame.guides, frame.mask, effort, start)


def correspondence(frame: Guided, key: Guided) -> Ints:
    """(h, w, 2) int32: row and column in the key's cut-out of what each pixel of the frame's shows.

    Where the key does not see it, the nearest pixel's that it does see, moved along.
    """
    pose = relative_pose(frame.view.camera, key.view.camera)
    found = _project(frame.view.depth, frame.view.lens, key.view.depth, key.view.lens, pose)
    found = found[frame.box]
    known = found[..., 0] >= 0
    if not known.any():
        return np.zeros_like(found)
    at = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    y, x = np.mgrid[0 : known.shape[0], 0 : known.shape[1]]
    moved = found[at[0], at[1]] + np.stack([y - at[0], x - at[1]], -1)
    origin = np.array([key.box[0].start, key.box[1].start])
    return np.ascontiguousarray(moved - origin, np.int32)


@njit(nogil=True, cache=True, error_model="numpy")
def _project(
    depth: Floats, lens: Floats, key_depth: Floats, key_lens: Floats, pose: Floats
) -> Ints:
    """(h, w, 2) int32 rows and columns in the key, -1 where it sees something else."""
    h, w = depth.shape
    rows_, columns = key_depth.shape
    out = np.full((h, w, 2), -1, np.int32)
    for y in range(h):
        for x in range(w):
            z = depth[y, x]
            if z >= BACKGROUND:
                continue
            px = (x + 0.5 - lens[2]) / lens[0] * z
            py = (y + 0.5 - lens[3]) / lens[1] * z
            qx = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * z + pose[0, 3]
            qy = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * z + pose[1, 3]
            qz = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * z + pose[2, 3]
            if qz <= 0:
                continue
            i = int(np.floor(key_lens[0] * qx / qz + key_lens[2]))
            j = int(np.floor(key_lens[1] * qy / qz + key_lens[3]))
            if i < 0 or j < 0 or i >= columns or j >= rows_:
                continue
            d = key_depth[j, i]
            if d >= BACKGROUND:
                continue
            dx = (i + 0.5 - key_lens[2]) / key_lens[0] * d - qx
            dy = (j + 0.5 - key_lens[3]) / key_lens[1] * d - qy
            reach = SEEN * qz / min(key_lens[0], key_lens[1])
            if dx * dx + dy * dy + (d - qz) ** 2 <= reach * reach:
                out[y, x, 0], out[y, x, 1] = j, i
    return out

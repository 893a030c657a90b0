"""What no key sees, painted once: holes filled by guided patch synthesis, the same in all frames.

The frame that shows most of the unseen surface is painted from the keys as far as they reach; what
is missing is put together from patches of that very picture, guided by the unstyled frame's color
and edges, position and normal, and beginning with the nearest patches there are
(:mod:`.synthesis`). The finished picture then counts as one more key where it was filled, so that
every other frame gets the same colors by reprojection. That is repeated until no frame has a hole
worth it. Slivers of a few pixels are left to push-pull.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ...core.dataset import Frame
from ...core.run import Run
from ...core.settings import Settings
from ..guides import View, bounds, cropped, interior, read_view, thinned
from ..images import to_bytes
from ..parallel import in_order, thread_count
from . import guidance, kernel, pushpull
from .reproject import Fills, KeySet, crispened, painted, solid
from .synthesis import RADIUS, Effort, Hole, synthesize
from .weave import facing

SCANNED = 18  # frames looked at for holes
THIN = 3  # of which every third row and column
WORTH = 20  # such pixels, thicker than one, that make a hole worth filling
MOST = 8  # pictures to fill holes in
RIM = 2  # pixels around what was filled that belong to the picture, so that samples find neighbors
RIM_SHARE = np.float32(1e-3)
ROOM = RADIUS + 2  # pixels around the model's box that decide nothing but are looked at
EFFORT = Effort(votes=4, passes=2, levels=3, window=48)

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

Look = Callable[[Frame], View]
Unstyled = Callable[[Frame], Bytes]


def complete(run: Run, settings: Settings, frames: Sequence[Frame], keys: KeySet) -> KeySet:
    """The run's keys with what they do not see filled in; raises InputError for missing files."""

    def look(frame: Frame) -> View:
        return read_view(run, frame)

    def unstyled(frame: Frame) -> Bytes:
        return guidance.unstyled(run, frame.frame)

    return filled(keys, frames, look, unstyled, thread_count(settings))


def filled(
    keys: KeySet, frames: Sequence[Frame], look: Look, unstyled: Unstyled, threads: int
) -> KeySet:
    """``keys`` with what they do not see filled in.

    ``look`` gives a frame's geometry, ``unstyled`` its colors before restyling, (h, w, 3) uint8.
    """
    scanned = list(frames[:: max(1, len(frames) // SCANNED)])

    def scan(frame: Frame) -> View:
        return thinned(look(frame), THIN)

    views = [view for _, view in in_order(scan, scanned, threads)]
    blank = [view.mask & (painted(view, keys, taps=1).label < 0) for view in views]
    extent = guidance.extent(views)
    pictures: list[tuple[View, Bytes, Floats]] = []
    worth = np.array([_worth(b) for b in blank])
    while len(pictures) < MOST:
        best = int(np.argmax(worth))
        if worth[best] < WORTH:
            break
        worth[best] = 0  # once painted or given up, never again
        view, colors = look(scanned[best]), unstyled(scanned[best])
        made = _fill(view, _with(keys, pictures), colors, extent)
        if made is None:
            continue
        pictures.append((view, *made))
        fresh = kernel.Pictures.of([view], made[0][None])
        for k, seen in enumerate(views):
            if worth[k]:
                blank[k] &= ~_shown(seen, blank[k], fresh, made[1][None])
                worth[k] = _worth(blank[k])
    return _with(keys, pictures)


def _with(keys: KeySet, pictures: Sequence[tuple[View, Bytes, Floats]]) -> KeySet:
    if not pictures:
        return keys
    views, colors, weights = zip(*pictures, strict=True)
    fills = Fills(kernel.Pictures.of(views, np.stack(colors)), np.stack(weights))
    return KeySet(keys.pictures, keys.weight, keys.spare, fills)


def _worth(blank: Mask) -> int:
    """How many pixels of a hole are not slivers, but lie in 2 x 2 of it."""
    square = blank[1:, 1:] & blank[1:, :-1] & blank[:-1, 1:] & blank[:-1, :-1]
    solid = np.zeros_like(blank)
    for rows in (slice(1, None), slice(None, -1)):
        for columns in (slice(1, None), slice(None, -1)):
            solid[rows, columns] |= square
    return int(solid.sum())


def _shown(view: View, blank: Mask, pictures: kernel.Pictures, weight: Floats) -> Mask:
    canvas = kernel.Canvas.blank(blank.shape)  # type: ignore[arg-type]
    canvas.label[~blank] = 0
    kernel.paint(canvas, view, pictures, weight, taps=1)
    return np.asarray(blank & (canvas.label >= 0))


def _fill(
    view: View, keys: KeySet, unstyled: Bytes, extent: tuple[npt.NDArray[np.float64], float]
) -> tuple[Bytes, Floats] | None:
    """The view painted with its holes filled, (h, w, 3) uint8, and its weights (h, w).

    None where there is too little to take patches from.
    """
    canvas = painted(view, keys)
    known = canvas.label >= 0
    blank, usable = _parts(view, known)
    if not blank.any() or int(usable.sum()) < max(int(blank.sum()) // 4, 200):
        return None
    box = _around(blank, usable)
    smooth = to_bytes(pushpull.fill(canvas.color[box], known[box]))
    hole, allowed = blank[box], usable[box]
    at = ndimage.distance_transform_edt(~allowed, return_distances=False, return_indices=True)
    start = np.stack(at, -1).astype(np.int32)
    share = hole.sum() / hole.size
    effort = Effort(EFFORT.votes, EFFORT.passes, EFFORT.levels, EFFORT.window, 3500 * share)
    part = cropped(view, box)
    guides = guidance.stacked(np.ascontiguousarray(unstyled[box]), part, smooth, *extent)
    colors, _ = synthesize(smooth, guides, guides, hole, effort, start, hole=Hole(smooth, allowed))
    picture = np.zeros((*known.shape, 3), np.uint8)
    picture[box] = np.where(hole[..., None], colors, smooth)
    near = ndimage.binary_dilation(blank, iterations=RIM) & known
    weight = np.where(blank & (facing(view) > 0), 1, np.where(near, RIM_SHARE, 0))
    return crispened(picture, solid(view) & (blank | near)), weight.astype(np.float32)


def _parts(view: View, known: Mask) -> tuple[Mask, Mask]:
    """(h, w) each: the holes worth filling, and the pixels whose patches may be taken."""
    blank, usable = np.zeros_like(known), np.zeros_like(known)
    box = bounds(view.mask, ROOM)
    part, seen = cropped(view, box), known[box]
    blank[box] = _thick(part.mask & ~seen)
    shown = np.where(seen, part.depth, np.float32(1e10))
    usable[box] = interior(View(part.camera, shown, part.normal), RADIUS)
    return blank, usable


def _thick(blank: Mask) -> Mask:
    """``blank`` without slivers: the parts that are three pixels wide somewhere."""
    core = ndimage.binary_opening(blank, np.ones((3, 3), bool))
    return np.asarray(ndimage.binary_propagation(core, mask=blank))


def _around(blank: Mask, usable: Mask) -> tuple[slice, slice]:
    """A box around the hole with room for patches: half as much again on all sides, more until
    enough of it is usable.
    """
    rows, columns = (np.flatnonzero(blank.any(axis)) for axis in (1, 0))
    room = 32 + max(np.ptp(rows), np.ptp(columns)) // 2
    h, w = blank.shape
    while True:
        box = (
            slice(max(int(rows[0]) - room, 0), int(rows[-1]) + room + 1),
            slice(max(int(columns[0]) - room, 0), int(columns[-1]) + room + 1),
        )
        if usable[box].sum() >= 4 * blank.sum() or room > max(h, w):
            return box
        room *= 2

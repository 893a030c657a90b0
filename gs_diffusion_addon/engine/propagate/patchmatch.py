"""Propagator ``patchmatch``: every frame painted anew from pieces of its two nearest keyframes.

What EbSynth does, without it: brush strokes stay whole, at the price of consistency. Guides are the
unstyled frame's color and edges and, from the geometry, position, normal, and the last frame's
picture moved along by the exact motion: each key is carried frame by frame to the next key on
either side. By default the search starts from where the exact geometry puts each pixel in the key.
Rings without keyframes, and pixels that a key does not show, are left to ``reproject``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
from ..images import to_bytes
from ..parallel import in_order, thread_count
from . import Painted, Painter, Target, blend, guidance, kernel, read_key, reproject, rows
from .chains import Chains
from .guidance import extent, unstyled
from .pushpull import fill
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
    patches = Patches.of(run, settings, frames, lambda frame: read_view(run, frame))

    def paint(target: Target) -> Painted:
        base = fallback(target)
        mixed = patches.picture(target.frame.frame)
        if mixed is None:
            return base
        known = target.view.mask
        return Painted(np.where(known[..., None], mixed / np.float32(255), base.color), known)

    return paint


@dataclass(frozen=True)
class Chain:
    """A key and the frames it is carried to, one after the other."""

    key: int
    steps: tuple[int, ...]


def plan(places: dict[int, rows.Place]) -> tuple[list[Chain], dict[int, tuple[int, int]]]:
    """The chains, and for each frame the number of the two that make it.

    Between two keys one goes forth and the next one back. A ring's only key is carried half way
    around in either direction, so there a frame has one chain, named twice.
    """
    spans: dict[tuple[int, int], list[int]] = {}
    for number, place in places.items():
        between = spans.setdefault((place.left.frame, place.right.frame), [])
        if number != place.left.frame:
            between.append(number)
    out: list[Chain] = []
    of: dict[int, tuple[int, int]] = {}
    for (left, right), between in spans.items():
        # In the order in which they follow the left key, beyond the ring's end from its start.
        line = [n for n in between if n > left] + [n for n in between if n < left]
        half = (len(line) + 1) // 2 if left == right else 0
        forth, back = (line[:half], line[half:]) if half else (line, line)
        pair = len(out), len(out) + 1
        out += [Chain(left, tuple(forth)), Chain(right, tuple(back[::-1]))]
        for n in line:
            of[n] = (pair[n not in forth],) * 2 if half else pair
        of[left] = (pair[0], pair[0])
    return out, of


@dataclass(eq=False)
class Patches:
    """The ring's frames painted from patches of the keys."""

    run: Run
    settings: Settings
    look: Callable[[Frame], View]
    by_number: dict[int, Frame]
    places: dict[int, rows.Place]
    of_frame: dict[int, tuple[int, int]]
    plan: list[Chain]
    keys: dict[int, Guided]
    extent: tuple[npt.NDArray[np.float64], float]
    chains: Chains[Made] = field(init=False)

    def __post_init__(self) -> None:
        self.chains = Chains(self.carried, len(self.plan), thread_count(self.settings))

    @classmethod
    def of(
        cls, run: Run, settings: Settings, frames: Sequence[Frame], look: Callable[[Frame], View]
    ) -> Patches:
        """Load the keys; ``look`` gives a frame's geometry. Raises InputError."""
        places = rows.places(used(run, settings), frames)
        box = extent([look(f) for f in ring(frames)[::6]])
        by_number = {f.frame: f for f in frames}

        def load(number: int) -> Guided:
            frame = by_number[number]
            style = read_key(run, frame)
            return guided(run, look(frame), number, style, *box, style)

        chains, of_frame = plan(places)
        wanted = sorted({c.key for c in chains})
        keys = dict(in_order(load, wanted, thread_count(settings)))
        return cls(run, settings, look, by_number, places, of_frame, chains, keys, box)

    def picture(self, number: int) -> Bytes | None:
        """A frame, (h, w, 3) uint8; None where it has no key."""
        if number not in self.of_frame:
            return None
        first, second = (self.chains.get(n)[number] for n in self.of_frame[number])
        place = self.places[number]
        mixed = first.colors
        if place.alpha > 0 and self.settings.blending == "poisson":
            errors = first.error, second.error
            mixed = blend.poisson(mixed, second.colors, *errors, place.alpha, first.mask)
        elif place.alpha > 0:
            mixed = blend.crossfade(mixed, second.colors, place.alpha)
        return first.whole(mixed)

    def carried(self, number: int) -> Made:
        """What a chain yields: a :class:`Piece` of each of its frames, and of the key's own if it
        goes forth.
        """
        chain = self.plan[number]
        key = self.keys[chain.key]
        started = self.settings.patch_start == "reproject"
        last = Piece(key.view, key.box, key.mask, key.style, np.zeros(key.mask.shape, np.float32))
        forth = self.of_frame[chain.key][0] == number
        out: dict[int, Piece] = {}
        for step in [chain.key, *chain.steps] if forth else chain.steps:
            view = self.look(self.by_number[step])
            expected = moved(view, last)
            frame = guided(self.run, view, step, expected, *self.extent, expected)
            colors, error = painted(frame, key, started)
            made = Piece(view, frame.box, frame.mask, colors, error)
            out[step] = made
            last = last if step == chain.key else made
        return out


@dataclass(frozen=True, eq=False)
class Piece:
    """A painted cut-out: ``mask`` (h, w), ``colors`` (h, w, 3) uint8, ``error`` (h, w)."""

    view: View
    box: tuple[slice, slice]
    mask: Mask
    colors: Bytes
    error: Floats

    def whole(self, colors: Bytes) -> Bytes:
        """``colors`` of the cut-out in the whole picture, black elsewhere."""
        out = np.zeros((*self.view.depth.shape, 3), np.uint8)
        out[self.box] = colors
        return out


Made = dict[int, Piece]


def moved(view: View, last: Piece) -> Bytes:
    """(h, w, 3) uint8: the last picture carried into ``view`` by the exact motion.

    What it does not show is filled in smoothly; black off the model.
    """
    pictures = kernel.Pictures.of([last.view], last.whole(last.colors)[None])
    canvas = kernel.Canvas.blank(view.depth.shape)  # type: ignore[arg-type]
    kernel.paint(canvas, view, pictures, last.view.mask[None].astype(np.float32))
    filled = fill(canvas.color, canvas.label >= 0, view.mask)
    return np.where(view.mask[..., None], to_bytes(filled), 0).astype(np.uint8)


def guided(
    run: Run,
    view: View,
    number: int,
    style: Bytes,
    middle: npt.NDArray[np.float64],
    size: float,
    last: Bytes,
) -> Guided:
    """The guides of frame ``number``, cut to the model's box; ``last`` is the picture expected."""
    box = _box(view.mask)
    whole = guidance.stacked(unstyled(run, number), view, style, middle, size, last)
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

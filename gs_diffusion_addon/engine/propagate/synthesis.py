"""Guided patch synthesis: a picture painted anew from pieces of another one.

The energy is that of Fišer et al., "StyLit: illumination-guided example-based stylization" (2016),
and of EbSynth: a target patch pays for the difference of its guides and of its colors to the source
patch it takes, and for that patch's overuse. It is lowered by PatchMatch (Barnes et al., 2009):
neighbors hand their finds on, then each searches at random in ever smaller windows; votes of
overlapping patches give the colors. Everything is single-threaded and seeded by place, so the
result depends on nothing but the input; frames run side by side instead.

Pictures are stacks of :data:`CHANNELS` float32 channels scaled by the square roots of their
weights, so that a patch's energy is a plain sum of squares over contiguous memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

CHANNELS = 16  # 3 of color, up to 13 of guides; one full vector register of AVX-512
RADIUS = 2  # patches are 5 x 5
AREA = (2 * RADIUS + 1) ** 2
NEVER = np.float32(1e20)  # the use of a patch that must not be taken

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Effort:
    """``votes`` rounds of ``passes`` PatchMatch passes on each of ``levels`` (0: all that fit).

    ``window``: first radius of the random search, 0 for the whole picture. ``uniformity``: weight
    of overuse, in 8-bit units.
    """

    votes: int = 3
    passes: int = 2
    levels: int = 0
    window: int = 0
    uniformity: float = 3500.0


def stack(color: Bytes, guides: list[tuple[Bytes, float]]) -> Floats:
    """(h, w, 16) float32 of a color picture (h, w, 3) of weight 1 and (guide (h, w, C), weight).

    A weight is shared out over the channels of its guide.
    """
    h, w = color.shape[:2]
    out = np.zeros((h, w, CHANNELS), np.float32)
    at = 0
    for picture, weight in [(color, 1.0), *guides]:
        channels = picture.shape[2]
        out[..., at : at + channels] = picture * np.float32((weight / channels) ** 0.5)
        at += channels
    return out


@dataclass(frozen=True, eq=False)
class Hole:
    """What is special about filling a hole in a picture: ``around`` (h, w, 3) uint8, the colors
    outside the mask, which patches at its rim have to continue; ``usable`` (H, W) bool, the example
    pixels whose patches may be taken.
    """

    around: Bytes
    usable: Mask


def synthesize(
    style: Bytes,
    source: Floats,
    target: Floats,
    mask: Mask,
    effort: Effort,
    start: Ints | None = None,
    seed: int = 0,
    hole: Hole | None = None,
) -> tuple[Bytes, Floats]:
    """Paint ``mask`` (h, w) of a target: colors (h, w, 3) uint8, and what each patch was off by.

    ``style`` (H, W, 3) and ``source`` (H, W, 16) are the example and its stack; ``target``
    (h, w, 16) has the guides, its color channels are overwritten. ``start`` (h, w, 2) int32 are
    rows and columns in the example to begin with, on ``effort.levels`` levels, at least one;
    without it they are drawn at random and found from coarse to fine. With a ``hole``, start must
    name usable patches. Both pictures must be at least 5 x 5.
    """
    most = effort.levels if start is None else max(effort.levels, 1)
    levels = _pyramid(Level(style, source, target.copy(), mask, hole), most)
    found = _random_start(levels[0], seed) if start is None else _coarser(start, levels)
    colors = np.zeros((*mask.shape, 3), np.uint8)
    error = np.zeros(mask.shape, np.float32)
    for number, level in enumerate(levels):
        if number:
            found = _finer(found, *level.inside.shape)
        found = np.ascontiguousarray(found, np.int32)
        h, w = level.source.shape[:2]
        np.clip(found[..., 0], RADIUS, h - RADIUS - 1, out=found[..., 0])
        np.clip(found[..., 1], RADIUS, w - RADIUS - 1, out=found[..., 1])
        colors, error = _level(level, found, effort, seed * 31 + number)
    return colors, error


@dataclass(frozen=True, eq=False)
class Level:
    """One level of the pyramid, see :func:`synthesize`; ``inside`` is the mask."""

    example: Bytes
    source: Floats
    target: Floats
    inside: Mask
    hole: Hole | None

    def halved(self) -> Level:
        """The next coarser level."""
        inside = _halved(self.inside[..., None].astype(np.float32))[..., 0] > 0.25
        hole = None
        if self.hole is not None:
            barred = ~self.hole.usable[..., None]
            usable = _halved(barred.astype(np.float32))[..., 0] == 0
            hole = Hole(_halved_bytes(self.hole.around), usable)
        return Level(
            _halved_bytes(self.example), _halved(self.source), _halved(self.target), inside, hole
        )


def _level(level: Level, found: Ints, effort: Effort, seed: int) -> tuple[Bytes, Floats]:
    s, t, inside, hole = level.source, level.target, level.inside, level.hole
    scale = np.float32((1 / 3) ** 0.5)
    window = effort.window or max(s.shape[:2])
    # The use each source pixel would have if all were used alike.
    even = max(int(inside.sum()) / (s.shape[0] * s.shape[1]) * AREA, 1e-6)
    overuse = np.float32(effort.uniformity / (AREA * even))
    colors = _vote(level.example, found, inside)
    error = np.zeros(inside.shape, np.float32)
    for vote in range(effort.votes):
        shown = colors if hole is None else np.where(inside[..., None], colors, hole.around)
        t[..., :3] = shown * scale
        _errors(s, t, found, inside, error)
        for step in range(effort.passes):
            use = _uses(found, inside, s.shape[0], s.shape[1])
            if hole is not None:
                use[~hole.usable] = NEVER
            number = (seed * 131 + vote) * 31 + step + 1
            _search(s, t, found, error, use, overuse, inside, step % 2 == 0, number, window)
        colors = _vote(level.example, found, inside)
    return colors, error


def _pyramid(finest: Level, most: int) -> list[Level]:
    """Levels from coarse to fine, ``most`` of them or (0) all that fit."""
    out = [finest]
    smallest = 4 * (2 * RADIUS + 1)
    while most == 0 or len(out) < most:
        last = out[-1]
        if min(*last.source.shape[:2], *last.inside.shape) // 2 < smallest:
            break
        out.append(last.halved())
    return out[::-1]


def _halved(picture: Floats) -> Floats:
    """2 x 2 means; an odd last row or column is left out."""
    h, w = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    cut = picture[:h, :w]
    return ((cut[::2, ::2] + cut[1::2, ::2] + cut[::2, 1::2] + cut[1::2, 1::2]) / 4).astype(
        np.float32
    )


def _halved_bytes(picture: Bytes) -> Bytes:
    return (_halved(picture.astype(np.float32)) + 0.5).astype(np.uint8)


def _random_start(level: Level, seed: int) -> Ints:
    rng = np.random.default_rng(seed)
    rows, columns = level.source.shape[:2]
    shape = level.inside.shape
    return np.stack([rng.integers(0, rows, shape), rng.integers(0, columns, shape)], -1).astype(
        np.int32
    )


def _coarser(start: Ints, levels: list[Level]) -> Ints:
    """Correspondences for the coarsest level out of those for the finest."""
    step = 2 ** (len(levels) - 1)
    h, w = levels[0].inside.shape
    y, x = np.arange(h) * step + step // 2, np.arange(w) * step + step // 2
    return np.ascontiguousarray(start[y][:, x] // step)


def _finer(found: Ints, h: int, w: int) -> Ints:
    """Correspondences of one level up: twice the place, plus the pixel's own odd part."""
    y, x = np.arange(h), np.arange(w)
    up = found[np.minimum(y // 2, len(found) - 1)][:, np.minimum(x // 2, found.shape[1] - 1)] * 2
    up[..., 0] += (y % 2)[:, None]
    up[..., 1] += x % 2
    return up.astype(np.int32)


@njit(nogil=True, cache=True, fastmath=True)
def _distance(
    s: Floats, t: Floats, y: int, x: int, sy: int, sx: int, enough: np.float32
) -> np.float32:
    """The patches' sum of squared differences, or something above ``enough``."""
    h, w = t.shape[:2]
    total = np.float32(0)
    for j in range(-RADIUS, RADIUS + 1):
        yy = min(max(y + j, 0), h - 1)
        for i in range(-RADIUS, RADIUS + 1):
            xx = min(max(x + i, 0), w - 1)
            a, b = t[yy, xx], s[sy + j, sx + i]
            for c in range(CHANNELS):
                d = a[c] - b[c]
                total += d * d
        if total > enough:
            break
    return total


@njit(nogil=True, cache=True)
def _errors(s: Floats, t: Floats, found: Ints, inside: Mask, error: Floats) -> None:
    h, w = inside.shape
    for y in range(h):
        for x in range(w):
            if inside[y, x]:
                error[y, x] = _distance(
                    s, t, y, x, found[y, x, 0], found[y, x, 1], np.float32(1e30)
                )


@njit(nogil=True, cache=True)
def _uses(found: Ints, inside: Mask, rows: int, columns: int) -> Floats:
    """(rows, columns): how often the pixels of each source patch are used, summed over it."""
    use = np.zeros((rows, columns), np.float32)
    h, w = inside.shape
    for y in range(h):
        for x in range(w):
            if inside[y, x]:
                use[found[y, x, 0], found[y, x, 1]] += 1
    return _boxed(_boxed(use))


@njit(nogil=True, cache=True)
def _boxed(a: Floats) -> Floats:
    """Sums over patches, by running sums along both axes."""
    h, w = a.shape
    middle, out = np.zeros_like(a), np.zeros_like(a)
    for y in range(h):
        total = np.float32(0)
        for x in range(w + RADIUS):
            if x < w:
                total += a[y, x]
            if x >= 2 * RADIUS + 1:
                total -= a[y, x - 2 * RADIUS - 1]
            if x >= RADIUS:
                middle[y, x - RADIUS] = total
    column = np.zeros(w, np.float32)
    for y in range(h + RADIUS):
        for x in range(w):
            if y < h:
                column[x] += middle[y, x]
            if y >= 2 * RADIUS + 1:
                column[x] -= middle[y - 2 * RADIUS - 1, x]
            if y >= RADIUS:
                out[y - RADIUS, x] = column[x]
    return out


@njit(nogil=True, cache=True)
def _search(
    s: Floats,
    t: Floats,
    found: Ints,
    error: Floats,
    use: Floats,
    overuse: np.float32,
    inside: Mask,
    forward: bool,
    seed: int,
    window: int,
) -> None:
    """One PatchMatch pass over ``inside``, in place; rows and columns run up or down."""
    h, w = inside.shape
    rows, columns = s.shape[:2]
    top, left = rows - RADIUS - 1, columns - RADIUS - 1
    back = -1 if forward else 1
    for step_y in range(h):
        y = step_y if forward else h - 1 - step_y
        for step_x in range(w):
            x = step_x if forward else w - 1 - step_x
            if not inside[y, x]:
                continue
            by, bx, best = found[y, x, 0], found[y, x, 1], error[y, x]
            extra = overuse * use[by, bx]
            for side in range(2):
                yy = y + back * side
                xx = x + back * (1 - side)
                if yy < 0 or xx < 0 or yy >= h or xx >= w or not inside[yy, xx]:
                    continue
                cy, cx = found[yy, xx, 0] - back * side, found[yy, xx, 1] - back * (1 - side)
                if cy < RADIUS or cx < RADIUS or cy > top or cx > left:
                    continue
                more = overuse * use[cy, cx]
                if more < best + extra:
                    off = _distance(s, t, y, x, cy, cx, best + extra - more)
                    if off + more < best + extra:
                        by, bx, best, extra = cy, cx, off, more
            state = np.uint32((x * 73856093) ^ (y * 19349663) ^ (seed * 83492791)) | np.uint32(1)
            reach = window
            while reach >= 1:
                state ^= state << np.uint32(13)
                state ^= state >> np.uint32(17)
                state ^= state << np.uint32(5)
                cy = by + int(state >> np.uint32(16)) % (2 * reach + 1) - reach
                cx = bx + int(state & np.uint32(0xFFFF)) % (2 * reach + 1) - reach
                cy, cx = min(max(cy, RADIUS), top), min(max(cx, RADIUS), left)
                more = overuse * use[cy, cx]
                if more < best + extra:
                    off = _distance(s, t, y, x, cy, cx, best + extra - more)
                    if off + more < best + extra:
                        by, bx, best, extra = cy, cx, off, more
                reach //= 2
            found[y, x, 0], found[y, x, 1], error[y, x] = by, bx, best


@njit(nogil=True, cache=True)
def _vote(example: Bytes, found: Ints, inside: Mask) -> Bytes:
    """Each pixel's mean color of all patches that cover it; black off ``inside``."""
    h, w = inside.shape
    rows, columns = example.shape[:2]
    out = np.zeros((h, w, 3), np.uint8)
    for y in range(h):
        for x in range(w):
            if not inside[y, x]:
                continue
            r = g = b = np.float32(0)
            count = 0
            for j in range(-RADIUS, RADIUS + 1):
                for i in range(-RADIUS, RADIUS + 1):
                    yy, xx = y + j, x + i
                    if yy < 0 or xx < 0 or yy >= h or xx >= w or not inside[yy, xx]:
                        continue
                    sy, sx = found[yy, xx, 0] - j, found[yy, xx, 1] - i
                    if sy < 0 or sx < 0 or sy >= rows or sx >= columns:
                        continue
                    r += example[sy, sx, 0]
                    g += example[sy, sx, 1]
                    b += example[sy, sx, 2]
                    count += 1
            if count:
                out[y, x, 0] = np.uint8(r / count + np.float32(0.5))
                out[y, x, 1] = np.uint8(g / count + np.float32(0.5))
                out[y, x, 2] = np.uint8(b / count + np.float32(0.5))
    return out

"""Push-pull: unknown pixels filled smoothly from the known ones around them.

Pull averages known pixels into ever coarser levels, push brings the coarse colors back into what
was unknown (Gortler et al., "The Lumigraph", 1996, section 3.4). Cost is linear in the pixels,
whatever the holes' size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def fill(color: Floats, known: Mask, wanted: Mask | None = None) -> Floats:
    """Complete a picture: (h, w, 3) float32 with ``known`` (h, w) bool -> (h, w, 3), known pixels
    exact.

    A picture without any known pixel comes back black, and so do pixels that are neither known nor
    ``wanted`` (h, w) bool, if that is given.
    """
    if known.all():
        return color
    levels = [(np.ascontiguousarray(color, np.float32), known.astype(np.float32))]
    while max(levels[-1][1].shape) > 1:
        levels.append(_pull(*levels[-1]))
    coarse = levels[-1][0]
    if len(levels) == 1 or not known.any():
        return np.zeros_like(levels[0][0])
    for number in range(len(levels) - 2, -1, -1):
        fine, weight = levels[number]
        everything = number > 0 or wanted is None
        needed = np.ones(weight.shape, np.bool_) if everything else wanted
        coarse = _push(fine, weight, coarse, needed)
    return coarse


@njit(nogil=True, cache=True)
def _pull(color: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """One level coarser: the weighted mean of 2 x 2 pixels; weights add up to 1 at most."""
    h, w = weight.shape
    rows, columns = (h + 1) // 2, (w + 1) // 2
    out = np.zeros((rows, columns, 3), np.float32)
    total = np.zeros((rows, columns), np.float32)
    for y in range(h):
        for x in range(w):
            a = weight[y, x]
            if a > 0:
                total[y // 2, x // 2] += a
                for c in range(3):
                    out[y // 2, x // 2, c] += a * color[y, x, c]
    for y in range(rows):
        for x in range(columns):
            if total[y, x] > 0:
                for c in range(3):
                    out[y, x, c] /= total[y, x]
                total[y, x] = min(total[y, x], np.float32(1))
    return out, total


@njit(nogil=True, cache=True)
def _push(color: Floats, weight: Floats, coarse: Floats, wanted: Mask) -> Floats:
    """What ``weight`` leaves open in ``color``, taken bilinearly from the coarser level."""
    h, w = weight.shape
    rows, columns = coarse.shape[:2]
    out = np.zeros((h, w, 3), np.float32)
    for y in range(h):
        # Pixel centers of the coarse level lie at 2j + 0.5 of the fine one.
        v = min(max((y - 0.5) / 2, 0.0), rows - 1.0)
        j = min(int(v), max(rows - 2, 0))
        j1 = min(j + 1, rows - 1)
        t = np.float32(v - j)
        for x in range(w):
            a = weight[y, x]
            if a >= 1:
                for c in range(3):
                    out[y, x, c] = color[y, x, c]
                continue
            if not wanted[y, x]:
                continue
            u = min(max((x - 0.5) / 2, 0.0), columns - 1.0)
            i = min(int(u), max(columns - 2, 0))
            i1 = min(i + 1, columns - 1)
            s = np.float32(u - i)
            for c in range(3):
                top = coarse[j, i, c] + s * (coarse[j, i1, c] - coarse[j, i, c])
                bottom = coarse[j1, i, c] + s * (coarse[j1, i1, c] - coarse[j1, i, c])
                own = a * color[y, x, c] if a > 0 else np.float32(0)
                out[y, x, c] = own + (1 - a) * (top + t * (bottom - top))
    return out

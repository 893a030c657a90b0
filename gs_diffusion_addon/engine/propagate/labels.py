"""Which key paints which part of the surface: a labeling whose borders hide.

The energy is that of image-based texture maps (Lempitsky and Ivanov, "Seamless mosaicing of
image-based texture maps", 2007): a node pays for a key that sees it badly, and two neighbors of
different keys pay for the difference of the two pictures at their places. It is lowered by
sequential tree-reweighted message passing (Kolmogorov, "Convergent tree-reweighted message passing
for energy minimization", 2006), whose result depends on nothing but its input.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

NEVER = np.float32(1e6)  # the cost of a key that does not see the node


@njit(nogil=True, cache=True)
def _pair(color: Floats, seen: Floats, a: int, b: int, k: int, m: int) -> np.float32:
    """How much keys ``k`` and ``m`` differ at nodes a and b: the length of the color difference.

    Where only one node is seen by both, its difference counts for the other, too.
    """
    total = np.float32(0)
    known = 0
    for side in range(2):
        n = b if side else a
        if seen[n, k] > 0 and seen[n, m] > 0:
            square = np.float32(0)
            for c in range(3):
                square += (color[n, k, c] - color[n, m, c]) ** 2
            total += np.sqrt(square)
            known += 1
    return total / known if known else np.float32(1)


@njit(nogil=True, cache=True)
def _reverse(first: Ints, neighbor: Ints) -> Ints:
    """For each directed edge a -> b the number of b -> a."""
    out = np.empty(len(neighbor), np.int32)
    for a in range(len(first) - 1):
        for e in range(first[a], first[a + 1]):
            b = neighbor[e]
            low, high = first[b], first[b + 1]
            while low < high:
                middle = (low + high) // 2
                if neighbor[middle] < a:
                    low = middle + 1
                else:
                    high = middle
            out[e] = low
    return out


@njit(nogil=True, cache=True)
def solve(
    first: Ints, neighbor: Ints, data: Floats, color: Floats, seen: Floats, seam: float, sweeps: int
) -> Ints:
    """Labels (N,) int32.

    ``data`` (N, K): what each key costs at each node. ``color`` (N, K, 3) of 0..1 and ``seen``
    (N, K), positive where a key sees a node. ``seam`` weighs the differences along borders.
    ``sweeps`` go forth and back.
    """
    count, keys = data.shape
    back = _reverse(first, neighbor)
    # A border costs something even between equal pictures, so that it stays short.
    floor = np.float32(0.02)
    message = np.zeros((len(neighbor), keys), np.float32)  # of edge a -> b, as b receives it
    belief = np.empty(keys, np.float32)
    passed = np.empty(keys, np.float32)
    label = np.zeros(count, np.int32)
    for sweep in range(2 * sweeps):
        forward = sweep % 2 == 0
        for step in range(count):
            a = step if forward else count - 1 - step
            before = after = 0
            for k in range(keys):
                belief[k] = data[a, k]
            for e in range(first[a], first[a + 1]):
                if neighbor[e] < a:
                    before += 1
                else:
                    after += 1
                for k in range(keys):
                    belief[k] += message[back[e], k]
            best = 0
            for k in range(1, keys):
                if belief[k] < belief[best]:
                    best = k
            label[a] = best
            share = np.float32(1) / max(before, after, 1)
            for e in range(first[a], first[a + 1]):
                b = neighbor[e]
                if (b > a) != forward:
                    continue
                least = np.float32(1e30)
                for k in range(keys):
                    passed[k] = share * belief[k] - message[back[e], k]
                    least = min(least, passed[k])
                lowest = np.float32(1e30)
                for m in range(keys):
                    cheapest = passed[m]
                    if data[b, m] < NEVER:
                        for k in range(keys):
                            # What is already dearer with no border at all needs no pair cost.
                            if k != m and data[a, k] < NEVER and passed[k] < cheapest:
                                cost = passed[k] + seam * (floor + _pair(color, seen, a, b, k, m))
                                cheapest = min(cheapest, np.float32(cost))
                    message[e, m] = cheapest
                    lowest = min(lowest, cheapest)
                for m in range(keys):
                    message[e, m] -= lowest
    _polish(first, neighbor, data, color, seen, np.float32(seam), floor, label)
    return label


@njit(nogil=True, cache=True)
def _polish(
    first: Ints,
    neighbor: Ints,
    data: Floats,
    color: Floats,
    seen: Floats,
    seam: np.float32,
    floor: np.float32,
    label: Ints,
) -> None:
    """Iterated conditional modes: each node takes its best label given its neighbors', in place."""
    count, keys = data.shape
    for _ in range(10):
        changed = 0
        for a in range(count):
            best, least = label[a], np.float32(1e30)
            for k in range(keys):
                cost = data[a, k]
                for e in range(first[a], first[a + 1]):
                    if cost >= least:
                        break
                    m = label[neighbor[e]]
                    if m != k:
                        cost += seam * (floor + _pair(color, seen, a, neighbor[e], k, m))
                if cost < least:
                    best, least = k, cost
            if best != label[a]:
                label[a] = best
                changed += 1
        if changed == 0:
            break


def energy(
    first: Ints,
    neighbor: Ints,
    data: Floats,
    color: Floats,
    seen: Floats,
    seam: float,
    label: Ints,
) -> float:
    """What a labeling costs, in the units of ``data``; each border between two nodes once."""
    total = float(np.take_along_axis(data, label[:, None].astype(np.int64), 1).sum())
    return total + float(_borders(first, neighbor, color, seen, seam, label))


@njit(nogil=True, cache=True)
def _borders(
    first: Ints, neighbor: Ints, color: Floats, seen: Floats, seam: float, label: Ints
) -> float:
    total = 0.0
    for a in range(len(first) - 1):
        for e in range(first[a], first[a + 1]):
            b = neighbor[e]
            if b > a and label[a] != label[b]:
                total += seam * (0.02 + _pair(color, seen, a, b, label[a], label[b]))
    return total

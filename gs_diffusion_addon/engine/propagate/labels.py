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
Longs = npt.NDArray[np.int64]

FLOOR = np.float32(0.02)  # what a border costs even between equal pictures, so that it stays short
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
def _choices(seen: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """(start (N + 1,), key (C,)): node n may take ``key[start[n]:start[n + 1]]``, ascending: the
    keys that see it, few of all as a rule, or all where none does.
    """
    count, keys = seen.shape
    start = np.zeros(count + 1, np.int32)
    key = np.empty(seen.size, np.int32)
    at = 0
    for n in range(count):
        free = not seen[n].any()
        for k in range(keys):
            if free or seen[n, k]:
                key[at] = k
                at += 1
        start[n + 1] = at
    return start, key[:at].copy()


@njit(nogil=True, cache=True)
def _differences(
    start: Ints, key: Ints, seen: npt.NDArray[np.bool_], color: Floats
) -> tuple[Longs, Floats]:
    """(begin (N + 1,), difference): the lengths of the color differences between all keys that see
    node n, row by row, in ``difference[begin[n]:begin[n + 1]]``.
    """
    count = len(start) - 1
    begin = np.zeros(count + 1, np.int64)
    for n in range(count):
        width = np.int64(start[n + 1] - start[n]) if seen[n].any() else 0
        begin[n + 1] = begin[n] + width * width
    out = np.empty(begin[-1], np.float32)
    for n in range(count):
        at = begin[n]
        if at == begin[n + 1]:
            continue
        for k in key[start[n] : start[n + 1]]:
            for m in key[start[n] : start[n + 1]]:
                square = np.float32(0)
                for c in range(3):
                    square += (color[n, k, c] - color[n, m, c]) ** 2
                out[at] = np.sqrt(square)
                at += 1
    return begin, out


@njit(nogil=True, cache=True)
def _find(wanted: Ints, there: Ints, out: Ints) -> None:
    """For each of ``wanted`` its place in ``there``, or -1; both ascending."""
    j = 0
    for i in range(len(wanted)):
        while j < len(there) and there[j] < wanted[i]:
            j += 1
        out[i] = j if j < len(there) and there[j] == wanted[i] else -1


@njit(nogil=True, cache=True)
def solve(
    first: Ints, neighbor: Ints, data: Floats, color: Floats, seen: Floats, seam: float, sweeps: int
) -> Ints:
    """Labels (N,) int32.

    ``data`` (N, K): what each key costs at each node. ``color`` (N, K, 3) of 0..1 and ``seen``
    (N, K), positive where a key sees a node, where ``data`` is below NEVER. ``seam`` weighs the
    differences along borders. ``sweeps`` go forth and back.
    """
    count, keys = data.shape
    back = _reverse(first, neighbor)
    known = seen > 0
    start, key = _choices(known)
    begin, difference = _differences(start, key, known, color)
    # The message of edge a -> b, a number for each key b may take, begins at place[edge].
    place = np.zeros(len(neighbor) + 1, np.int64)
    for e in range(len(neighbor)):
        place[e + 1] = place[e] + start[neighbor[e] + 1] - start[neighbor[e]]
    message = np.zeros(place[-1], np.float32)
    belief = np.empty(keys, np.float32)
    passed = np.empty(keys, np.float32)
    here, there = np.empty(keys, np.int32), np.empty(keys, np.int32)
    label = np.zeros(count, np.int32)
    weight = np.float32(seam)
    for sweep in range(2 * sweeps):
        forward = sweep % 2 == 0
        for step in range(count):
            a = step if forward else count - 1 - step
            own = key[start[a] : start[a + 1]]
            before = after = 0
            free = begin[a] == begin[a + 1]  # a million for every key would leave no precision
            for i in range(len(own)):
                belief[i] = np.float32(0) if free else data[a, own[i]]
            for e in range(first[a], first[a + 1]):
                if neighbor[e] < a:
                    before += 1
                else:
                    after += 1
                for i in range(len(own)):
                    belief[i] += message[place[back[e]] + i]
            label[a] = own[belief[: len(own)].argmin()]
            share = np.float32(1) / max(before, after, 1)
            for e in range(first[a], first[a + 1]):
                b = neighbor[e]
                if (b > a) != forward:
                    continue
                for i in range(len(own)):
                    passed[i] = share * belief[i] - message[place[back[e]] + i]
                theirs = key[start[b] : start[b + 1]]
                _find(own, theirs, there)
                _find(theirs, own, here)
                _send(
                    message[place[e] : place[e + 1]],
                    passed[: len(own)],
                    (difference[begin[a] : begin[a + 1]], difference[begin[b] : begin[b + 1]]),
                    (here, there),
                    weight,
                )
    _polish(first, neighbor, data, color, seen, weight, label)
    return label


@njit(nogil=True, cache=True)
def _send(
    message: Floats,
    passed: Floats,
    differences: tuple[Floats, Floats],
    places: tuple[Ints, Ints],
    weight: np.float32,
) -> None:
    """Write what node a tells b of b's keys: the least that a pays, border included, if b takes it.

    ``passed``: what a pays for each of its own keys. ``differences`` between the keys of a, and of
    b, empty where none sees the node; ``places``: of b's keys among a's, and of a's among b's, or
    -1. The costs are those of _pair.
    """
    at_a, at_b = differences
    here, there = places
    lowest = np.float32(1e30)
    for j in range(len(message)):
        h = here[j]
        cheapest = passed[h] if h >= 0 else np.float32(1e30)
        by_a = h >= 0 and len(at_a) > 0
        for i in range(len(passed)):
            # Dearer even between equal pictures.
            if passed[i] + weight * FLOOR >= cheapest or i == h:
                continue
            t = there[i]
            by_b = t >= 0 and len(at_b) > 0
            if by_a and by_b:
                pair = (at_a[h * len(passed) + i] + at_b[t * len(message) + j]) * np.float32(0.5)
            elif by_a:
                pair = at_a[h * len(passed) + i]
            else:
                pair = at_b[t * len(message) + j] if by_b else np.float32(1)
            cheapest = min(cheapest, passed[i] + weight * (FLOOR + pair))
        message[j] = cheapest
        lowest = min(lowest, cheapest)
    for j in range(len(message)):
        message[j] -= lowest


@njit(nogil=True, cache=True)
def _polish(
    first: Ints,
    neighbor: Ints,
    data: Floats,
    color: Floats,
    seen: Floats,
    weight: np.float32,
    label: Ints,
) -> None:
    """Iterated conditional modes: each node takes its best label given its neighbors', in place."""
    count, keys = data.shape
    open_ = np.ones(count, np.bool_)  # a neighbor has changed since the node was looked at
    for _ in range(10):
        changed = 0
        for a in range(count):
            if not open_[a]:
                continue
            open_[a] = False
            best, least = label[a], np.float32(1e30)
            for k in range(keys):
                cost = data[a, k]
                for e in range(first[a], first[a + 1]):
                    if cost >= least:
                        break
                    m = label[neighbor[e]]
                    if m != k:
                        cost += weight * (FLOOR + _pair(color, seen, a, neighbor[e], k, m))
                if cost < least:
                    best, least = k, cost
            if best != label[a]:
                label[a] = best
                changed += 1
                for e in range(first[a], first[a + 1]):
                    open_[neighbor[e]] = True
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
                total += seam * (FLOOR + _pair(color, seen, a, b, label[a], label[b]))
    return total

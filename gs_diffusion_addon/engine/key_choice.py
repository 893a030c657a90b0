"""Key views chosen by coverage: those that together show the whole surface best.

Every frame's geometry, thinned, is put on one graph of surface points (:mod:`.propagate.surface`).
A frame shows a point as well as it faces it, and keys together show it as well as the best of them.
Weighted by how much of all frames a point fills, that sum is submodular: the greedy choice comes
within 1 - 1/e of the best (Nemhauser, Wolsey and Fisher, 1978), and exchanging single keys as long
as that helps makes up most of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..core import keyframes
from ..core.dataset import Frame
from ..core.events import Emit
from ..core.run import Run
from ..core.settings import Settings, all_rings
from .guides import View, cameras, feather_map, read_view, thinned
from .parallel import in_order, thread_count
from .propagate import surface
from .propagate.weave import facing

SIDE = 128  # pixels that the geometry is thinned to
ROUNDS = 4  # of exchanges, at most

Floats = npt.NDArray[np.float32]


def settle(run: Run, settings: Settings, emit: Emit) -> list[int]:
    """The run's keyframes; chosen and written down first if that is asked for and not yet done.

    Ring 0 gets ``settings.keys`` of them, all further rings together as many as evenly spaced keys
    would be. Raises InputError for a turntable without geometry.
    """
    if not keyframes.by_coverage(settings) or keyframes.choice_file(run).is_file():
        return keyframes.keyframes(run, settings)
    frames = cameras(run)
    emit("phase", message="Choosing keyframes by what they show of the model")
    shown, weight = visibility(run, frames, thread_count(settings))
    further = [ring.count for ring in all_rings(settings)[1:]]
    wanted = sum(min(settings.ring_keys, count) for count in further)
    first = [k for k, f in enumerate(frames) if f.ring == 0]
    rest = [k for k, f in enumerate(frames) if f.ring != 0]
    chosen = choose(shown, weight, [(first, settings.keys), (rest, wanted)])
    keyframes.write_choice(run, [frames[k].frame for k in chosen], quality(shown, weight, chosen))
    return keyframes.keyframes(run, settings)


def visibility(run: Run, frames: Sequence[Frame], threads: int) -> tuple[Floats, Floats]:
    """(shown (F, N) of 0..1, how well each frame shows each surface point; weight (N,), the share
    of all frames' pixels that is the point's).
    """

    def look(frame: Frame) -> View:
        view = read_view(run, frame)
        return thinned(view, max(1, min(view.depth.shape) // SIDE))

    return shown_by([view for _, view in in_order(look, frames, threads)])


def shown_by(views: Sequence[View]) -> tuple[Floats, Floats]:
    """:func:`visibility` of views in memory."""
    if not any(view.mask.any() for view in views):
        return np.zeros((len(views), 1), np.float32), np.ones(1, np.float32)
    nodes = surface.build(views)
    shown = np.zeros((len(views), nodes.count), np.float32)
    weight = np.zeros(nodes.count, np.float32)
    for k, view in enumerate(views):
        worth = (facing(view) * np.minimum(feather_map(view), 1))[..., None]
        mean, total = surface.gather(nodes, k, worth, np.ones(view.depth.shape, np.float32))
        shown[k] = mean[:, 0]
        weight += total
    return shown, weight / weight.sum()


def quality(shown: Floats, weight: Floats, chosen: Sequence[int]) -> float:
    """How well the chosen frames show the surface together, 0..1."""
    return float(shown[list(chosen)].max(0) @ weight) if len(chosen) else 0.0


def choose(shown: Floats, weight: Floats, groups: Sequence[tuple[Sequence[int], int]]) -> list[int]:
    """Positions of the chosen frames, sorted: of each group (members, how many) so many.

    Ties go to the frame that comes first.
    """
    owner = {k: number for number, (members, _) in enumerate(groups) for k in members}
    left = [min(wanted, len(members)) for members, wanted in groups]
    chosen: list[int] = []
    best = np.zeros(shown.shape[1], np.float32)
    while any(left):
        free = [k for k, group in owner.items() if left[group] and k not in chosen]
        gains = np.maximum(shown[free], best) @ weight
        k = free[int(np.argmax(gains))]
        chosen.append(k)
        left[owner[k]] -= 1
        best = np.maximum(best, shown[k])
    for _ in range(ROUNDS):
        if not _exchange(shown, weight, chosen, owner):
            break
    return sorted(chosen)


def _exchange(shown: Floats, weight: Floats, chosen: list[int], owner: dict[int, int]) -> bool:
    """Replace each key by the best frame of its group, given all others; whether any changed."""
    changed = False
    for place, old in enumerate(chosen):
        others = shown[[k for k in chosen if k != old]]
        best = others.max(0) if len(others) else np.zeros(shown.shape[1], np.float32)
        free = [k for k in owner if owner[k] == owner[old] and (k == old or k not in chosen)]
        gains = np.maximum(shown[free], best) @ weight
        new = int(np.argmax(gains))
        if gains[new] > gains[free.index(old)] + 1e-6:
            chosen[place] = free[new]
            changed = True
    return changed

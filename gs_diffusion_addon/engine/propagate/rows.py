"""Which keyframe reaches which frames on a closed ring, for propagators that work key by key.

As in EbSynth, a *row* is one key with the frames from the previous key to the next one, so every
frame between two keys is made twice, and the two are put together. The ring is closed: the last
key's next one is the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.dataset import Frame


@dataclass(frozen=True)
class Row:
    """A key at position ``key`` of the ring, reaching ``first`` to ``last`` (both included).

    Positions count on beyond the seam: a first key's row may begin below 0, a last key's end at the
    ring's length or more; modulo the length they are positions on the ring.
    """

    key: int
    first: int
    last: int


@dataclass(frozen=True)
class Mix:
    """A frame's two keys (positions on the ring) and the second one's share, 0 to below 1."""

    left: int
    right: int
    alpha: float


def rows(keys: Sequence[int], count: int) -> list[Row]:
    """The rows of sorted key positions on a closed ring of ``count`` frames."""
    if len(keys) == 1:
        return [Row(keys[0], keys[0], keys[0] + count - 1)]
    number = len(keys)
    return [
        Row(
            key,
            keys[i - 1] if i else keys[-1] - count,
            keys[i + 1] if i + 1 < number else keys[0] + count,
        )
        for i, key in enumerate(keys)
    ]


def mix(keys: Sequence[int], count: int, position: int) -> Mix:
    """Which two keys' pictures make the frame at ``position``, and how.

    The original experiment's cross-fade: alpha = (f - k_i) / (k_(i+1) - k_i + 1), so a key's own
    frame is its alone.
    """
    if len(keys) == 1:
        return Mix(keys[0], keys[0], 0.0)
    before = [i for i, key in enumerate(keys) if key <= position]
    i = before[-1] if before else len(keys) - 1
    left, right = keys[i], keys[(i + 1) % len(keys)]
    gap, step = (right - left) % count, (position - left) % count
    return Mix(left, right, step / (gap + 1))


@dataclass(frozen=True)
class Place:
    """Where a frame stands between two key frames, and the second one's share."""

    left: Frame
    right: Frame
    alpha: float


def places(planned: Sequence[int], frames: Sequence[Frame]) -> dict[int, Place]:
    """The place of every frame, by its number, on every ring that has keys of ``planned``."""
    out: dict[int, Place] = {}
    for number in sorted({f.ring for f in frames}):
        circle = [f for f in frames if f.ring == number]
        keys = key_positions(planned, circle)
        for position, frame in enumerate(circle if keys else []):
            found = mix(keys, len(circle), position)
            out[frame.frame] = Place(circle[found.left], circle[found.right], found.alpha)
    return out


def key_positions(planned: Sequence[int], ring: Sequence[Frame]) -> list[int]:
    """Positions on ``ring`` of the keys that lie on it."""
    wanted = set(planned)
    return [k for k, frame in enumerate(ring) if frame.frame in wanted]

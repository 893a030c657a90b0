"""Watching a folder until EbSynth has written all it should.

A frame is there when its file exists, is not older than its key, has kept size and time over two
looks, can be decoded and has the frames' size. A row is done when all of its frames are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import InputError
from ..images import read_rgb
from .handoff import Handoff, HandoffRow

STATES = ("done", "missing", "writing", "old", "broken", "wrong_size")
Stamp = tuple[int, int]


@dataclass(frozen=True)
class RowStatus:
    """How many of a row's frames are in which of STATES."""

    row: HandoffRow
    folder: str
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """The frames that the row has to have."""
        return self.row.last - self.row.first + 1

    @property
    def complete(self) -> bool:
        """Whether all frames are there."""
        return self.counts["done"] == self.total

    def as_json(self) -> dict[str, object]:
        """For events and status.json."""
        where = {"key": self.row.key, "first": self.row.first, "last": self.row.last}
        return {**where, "folder": self.folder, **self.counts}


@dataclass
class Watcher:
    """Looks at the folder again and again; remembers only what saves decoding a file twice."""

    handoff: Handoff
    _seen: dict[Path, Stamp] = field(default_factory=dict)
    _judged: dict[Path, tuple[Stamp, str]] = field(default_factory=dict)

    def look(self) -> list[RowStatus]:
        """The rows' status now."""
        return [self._row(row) for row in self.handoff.rows]

    def file(self, row: HandoffRow, number: int) -> Path:
        """Where a row's frame is, or would be."""
        return row_folder(self.handoff, row) / f"{number:05d}.png"

    def _row(self, row: HandoffRow) -> RowStatus:
        counts = dict.fromkeys(STATES, 0)
        key = self.handoff.key(row.key)
        oldest = key.stat().st_mtime_ns if key.is_file() else 0
        for number in range(row.first, row.last + 1):
            counts[self.state(self.file(row, number), oldest)] += 1
        return RowStatus(row, row_folder(self.handoff, row).name, counts)

    def state(self, path: Path, oldest: int) -> str:
        """One of STATES for a file that must not be older than ``oldest`` (ns since 1970)."""
        try:
            stat = path.stat()
        except OSError:
            self._seen.pop(path, None)
            return "missing"
        stamp = stat.st_size, stat.st_mtime_ns
        known = self._judged.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        if self._seen.get(path) != stamp:
            self._seen[path] = stamp
            return "writing"
        if stat.st_mtime_ns < oldest:
            return "old"
        state = _decoded(path, self.handoff.width, self.handoff.height)
        self._judged[path] = stamp, state
        return state


def row_folder(handoff: Handoff, row: HandoffRow) -> Path:
    """``out_00004`` or, as other tools write it, ``out-00004``."""
    usual = handoff.folder / f"out_{row.key:05d}"
    other = handoff.folder / f"out-{row.key:05d}"
    return other if other.is_dir() and not usual.is_dir() else usual


def _decoded(path: Path, width: int, height: int) -> str:
    try:
        found = read_rgb(path).shape[:2]
    except InputError:
        return "broken"
    return "done" if found == (height, width) else "wrong_size"


def summary(status: list[RowStatus]) -> str:
    """One sentence for people about what is still missing."""
    total = sum(r.total for r in status)
    done = sum(r.counts["done"] for r in status)
    parts = [f"{done} of {total} frames are there"]
    words = {
        "old": "older than their key",
        "broken": "not readable",
        "wrong_size": "of the wrong size",
    }
    for state, text in words.items():
        number = sum(r.counts[state] for r in status)
        if number:
            example = next(r for r in status if r.counts[state])
            parts.append(f"{number} are {text} (in {example.folder})")
    waiting = sum(not r.complete for r in status)
    return ", ".join(parts) + (f"; {waiting} rows are not done" if waiting else "")

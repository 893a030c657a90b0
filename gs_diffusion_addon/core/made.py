"""What finished stages made, noted file by file, so that the next call finds what was lost since.

``files.json`` in the run folder holds the size and content hash of every result that a later
stage reads. A result that is missing or no longer whole is lost, and its stage makes it again; one
that somebody changed is not, it only makes stale what was made from it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .digests import file_digest
from .errors import InputError
from .inside import inside
from .run import TEMPORARY, atomic, read_json, write_json
from .whole import KINDS, whole

FILE = "files.json"


class Made:
    """The notes of one run folder. A damaged files.json is taken for none: it only helps."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._notes = _read(root / FILE)

    def note(self, record: str, results: Sequence[Path]) -> None:
        """Write down what is there of ``results``, files and folders of stage ``record``."""
        made = {name: self._fact(self.root / name) for name in self._names(results)}
        if self._notes.get(record) != made:
            self._notes[record] = made
            write_json(self.root / FILE, self._notes)

    def knows(self, record: str) -> bool:
        """Whether there are notes of stage ``record``: runs of earlier versions have none."""
        return record in self._notes

    def facts(self, record: str) -> dict[str, tuple[int, str]]:
        """Size and content hash of each result of stage ``record``, by name."""
        split = {name: fact.split() for name, fact in self._notes.get(record, {}).items()}
        return {n: (int(f[0]), f[1]) for n, f in split.items() if f[0].isdecimal()}

    def forget(self, record: str) -> None:
        """What stage ``record`` made counts no more."""
        if self._notes.pop(record, None) is not None:
            write_json(self.root / FILE, self._notes)

    def lost(self, record: str, results: Sequence[Path]) -> list[str]:
        """Names of what was noted and is no longer there or whole; without a note, as before a
        stage is finished, of what is there but not whole.
        """
        if (noted := self._notes.get(record)) is None:
            suspects = [n for n in self._names(results) if Path(n).suffix.lower() in KINDS]
        else:
            ours = [n for n in noted if any(self._within(n, place) for place in results)]
            suspects = [n for n in ours if not self._same(n, noted[n])]
        return [n for n in suspects if not whole(self.root / n)]

    def restored(self, record: str, lost: Iterable[str]) -> list[str]:
        """Copy back what also lies elsewhere in the run folder; returns what does not.

        A splat, for instance, is both the trainer's result and the run's.
        """
        remaining = []
        for name in lost:
            fact = self._notes.get(record, {}).get(name)
            twin = self._twin(name, fact) if fact else None
            if twin is None:
                remaining.append(name)
                continue
            with atomic(self.root / name) as temporary:
                shutil.copyfile(self.root / twin, temporary)
        return remaining

    def _twin(self, name: str, fact: str) -> str | None:
        for notes in self._notes.values():
            for other, its in notes.items():
                if other != name and its == fact and self._within(other, self.root):
                    path = self.root / other
                    if path.is_file() and file_digest(path) == fact.split()[1]:
                        return other
        return None

    def _names(self, results: Sequence[Path]) -> list[str]:
        files: list[Path] = []
        for place in results:
            files += sorted(place.rglob("*")) if place.is_dir() else [place]
        kept = [p for p in files if p.is_file() and not p.name.startswith(TEMPORARY)]
        return [p.relative_to(self.root).as_posix() for p in kept]

    def _within(self, name: str, place: Path) -> bool:
        """Whether a noted name is a file in ``place``: the notes may be a stranger's."""
        try:
            return inside(self.root, name).is_relative_to(place)
        except InputError:
            return False

    def _large(self, name: str) -> bool:
        """Geometry passes: only we write them, and there are many megabytes of them."""
        return name.endswith(".exr")

    def _fact(self, path: Path) -> str:
        stat = path.stat()
        large = f" {stat.st_mtime_ns}" if self._large(path.name) else ""
        return f"{stat.st_size} {file_digest(path)}{large}"

    def _same(self, name: str, fact: str) -> bool:
        """Whether a file is as it was noted: by content, or by size and time if it is large."""
        path = self.root / name
        size, content, *when = fact.split()
        try:
            stat = path.stat()
        except OSError:
            return False
        if str(stat.st_size) != size:
            return False
        if when == [str(stat.st_mtime_ns)]:
            return _ends_well(path, stat.st_size)
        return file_digest(path) == content


def _ends_well(path: Path, size: int) -> bool:
    """Whether the last bytes are not blank, which is how a power cut leaves a file."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, size - 64))
            return bool(file.read().strip(b"\0"))
    except OSError:
        return False


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        data: Any = read_json(path)
    except InputError:
        return {}
    if not isinstance(data, dict):
        return {}
    return {
        record: {n: f for n, f in notes.items() if isinstance(f, str) and len(f.split()) in (2, 3)}
        for record, notes in data.items()
        if isinstance(notes, dict)
    }

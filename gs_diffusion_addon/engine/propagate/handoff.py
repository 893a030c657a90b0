"""The folder that EbSynth's own program works in: keys, frames, masks, projects, a note for the
user.

::

    iterK/ebsynth/
      README.txt  part1.ebs ...     at most 15 rows a project
      keys/00000.png ...            the restyled keyframes
      frames/  masks/               the unstyled ring and its silhouettes
      out_00000/00000.png ...       what EbSynth writes, a folder a key
      result/                       instead: a plain sequence or a video of the whole ring
      SKIP                          made by hand or by the panel: go on without what is missing

The ring is closed by going on beyond it: frame N + k is frame k again, up to the first key's
repetition, which is the last row's key.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...core import json_text
from ...core.dataset import Frame
from ...core.digests import digest, file_digest
from ...core.run import Run, replace_file, write_bytes, write_json, write_text
from ..images import BLACK, over, read_rgba, to_bytes, write_png
from . import ebs, read_key

README = """\
Here EbSynth paints the frames between your restyled keyframes. You press its button;
everything else goes by itself.

1. Start EbSynth and drag the file {first} onto its window.
   Keyframes, frames and masks are set in it already: change nothing.
2. Press "Run All" at the bottom and wait until every row has its green mark.
{more}
You can close EbSynth then. GS Diffusion watches this folder and goes on as soon as all frames are
there: {count} pictures in {rows} folders, out_{example:05d}/{example:05d}.png and so on. What is
missing is shown in Blender's panel, and here in status.json. Stopping and starting again is fine.

EbSynth 2 or another program: restyle the pictures in frames/ and put the whole sequence into a
folder called result/ here, as {ring} numbered pictures or as one video of {ring} frames, in the
same size.

No EbSynth after all: make an empty file called SKIP in this folder. What is missing is then carried
over on the exact geometry ("reproject").
"""


@dataclass(frozen=True)
class HandoffRow:
    """A key and the frames that EbSynth has to make of it, numbered on beyond the ring's end."""

    key: int
    first: int
    last: int


@dataclass(frozen=True)
class Handoff:
    """The folder, the ring's length and size in pixels, and the rows."""

    folder: Path
    count: int
    width: int
    height: int
    rows: tuple[HandoffRow, ...]

    @property
    def skip(self) -> Path:
        """The file whose presence ends the wait."""
        return self.folder / "SKIP"

    @property
    def result(self) -> Path:
        """Where another program's frames or video of the whole ring go."""
        return self.folder / "result"

    def key(self, number: int) -> Path:
        """A key as EbSynth reads it."""
        return self.folder / "keys" / f"{number:05d}.png"


def open_rows(keys: Sequence[int], count: int) -> tuple[HandoffRow, ...]:
    """The rows of sorted key positions, from the first key to its repetition beyond the end."""
    line = [*keys, keys[0] + count]
    return tuple(
        HandoffRow(key, line[max(i - 1, 0)], line[min(i + 1, len(line) - 1)])
        for i, key in enumerate(line)
    )


def write(run: Run, ring: Sequence[Frame], keys: Sequence[int]) -> Handoff:
    """Write or complete the folder; files that are there and right keep their times.

    Old outputs are moved into ``old-DATE/`` when keys or frames have changed since.
    """
    camera = ring[0].camera
    folder = run.folder / "ebsynth"
    made = open_rows(keys, len(ring))
    handoff = Handoff(folder, len(ring), camera.width, camera.height, made)
    state = _state(run, ring, handoff)
    note = folder / "handoff.json"
    known = _noted(note) == state
    if not known:
        _move_old(folder)
        _write_pictures(run, ring, handoff)
    _write_projects(handoff)
    if not known:
        write_json(note, state)
    return handoff


def _noted(note: Path) -> object:
    """What the folder was made from by its own words; None if they are missing or damaged."""
    try:
        return json_text.loads(note.read_bytes())
    except (OSError, ValueError):
        return None


def _state(run: Run, ring: Sequence[Frame], handoff: Handoff) -> dict[str, object]:
    """What the folder was made from."""
    keys = [ring[row.key % len(ring)].frame for row in handoff.rows]
    pictures = digest(file_digest(run.key(k)) for k in keys)
    frames = digest(file_digest(run.source(f.frame)) for f in ring)
    return {
        "count": handoff.count,
        "rows": [asdict(r) for r in handoff.rows],
        "keys": pictures,
        "frames": frames,
    }


def _move_old(folder: Path) -> None:
    names = ("out_", "out-", "result", "SKIP", "keys", "frames", "masks", "handoff.json")
    old = [p for p in folder.glob("*") if p.name.startswith(names) or p.suffix == ".ebs"]
    if not any(p.name.startswith(("out", "result", "SKIP")) for p in old):
        return
    attic = folder / time.strftime("old-%Y%m%d-%H%M%S")
    attic.mkdir(parents=True, exist_ok=True)
    for path in old:
        replace_file(path, attic / path.name)


def _write_pictures(run: Run, ring: Sequence[Frame], handoff: Handoff) -> None:
    """Keys, frames and masks, opaque and of one size."""
    (handoff.folder / "keys").mkdir(parents=True, exist_ok=True)
    for number in range(handoff.count + handoff.rows[0].key + 1):
        frame = ring[number % handoff.count].frame
        rgba = read_rgba(run.source(frame))
        write_png(handoff.folder / "frames" / f"{number:05d}.png", to_bytes(over(rgba, BLACK)))
        mask = np.where(read_rgba(run.frame(frame))[..., 3:] > 0, 255, 0).astype(np.uint8)
        write_png(handoff.folder / "masks" / f"{number:05d}.png", np.repeat(mask, 3, 2))
    for row in handoff.rows:
        write_png(handoff.key(row.key), read_key(run, ring[row.key % handoff.count]))


def _write_projects(handoff: Handoff) -> None:
    parts = [
        handoff.rows[k : k + ebs.MOST_ROWS] for k in range(0, len(handoff.rows), ebs.MOST_ROWS)
    ]
    for number, part in enumerate(parts, 1):
        path = handoff.folder / f"part{number}.ebs"
        project = ebs.Project(
            "frames/[#####].png",
            "keys/[#####].png",
            [ebs.Synthesis(r.key, r.first, r.last, f"out_{r.key:05d}/[#####].png") for r in part],
            mask="masks/[#####].png",
            mask_on=True,
        )
        data = ebs.encode(project)
        if not path.is_file() or path.read_bytes() != data:
            write_bytes(path, data)
    more = [f"   Then the same with part{k}.ebs.\n" for k in range(2, len(parts) + 1)]
    text = README.format(
        first="part1.ebs",
        more="".join(more),
        count=sum(r.last - r.first + 1 for r in handoff.rows),
        rows=len(handoff.rows),
        example=handoff.rows[0].key,
        ring=handoff.count,
    )
    write_text(handoff.folder / "README.txt", text)

"""Propagator ``ebsynth_cli``: the public ``ebsynth`` command, guided by Blender's exact geometry.

The command is never bundled: ``--ebsynth`` names it, or it is found on the PATH. Each key is
carried forth and back to its two neighbors, frame after frame, guided by the unstyled frame's color
and edges, position, normal, and the last picture moved along by the exact motion. A key's two
directions are independent chains, and as many run at once as there are threads, each on one thread,
since only then is the command reproducible. What is written stays, so a stopped run goes on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...core.dataset import Frame
from ...core.errors import InputError, MissingError, StageError
from ...core.events import Emit, Progress
from ...core.keyframes import used
from ...core.run import Run
from ...core.settings import Settings
from ..guides import View, read_view
from ..images import read_rgb, to_bytes, write_png
from ..parallel import in_order, thread_count
from . import Painted, Painter, Target, blend, read_key, reproject, rows
from .guidance import edge_guide, extent, normal_guide, position_guide, unstyled
from .pushpull import fill

WEIGHTS = {"color": 6.0, "edge": 0.5, "position": 2.0, "normal": 1.0, "last": 0.5}
OPTIONS = ("-uniformity", "3500", "-patchsize", "5", "-searchvoteiters", "6")
OPTIONS += ("-patchmatchiters", "4", "-stopthreshold", "5")
TRIES = 2
LONGEST = 1800.0  # seconds for one frame: a command that hangs must not stop a run for ever

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Chain:
    """A key and the frames it is carried to one after the other, as positions on a ring."""

    ring: tuple[Frame, ...]
    key: int
    steps: tuple[int, ...]

    def output(self, folder: Path, position: int) -> Path:
        """Where the picture of ``position`` made from this chain's key goes."""
        key, frame = self.ring[self.key].frame, self.ring[position].frame
        return folder / f"out_{key:05d}" / f"{frame:05d}.png"


def prepare(run: Run, settings: Settings, frames: Sequence[Frame], emit: Emit) -> Painter:
    """Run the command for all keys and frames; raises MissingError, InputError, StageError."""
    program = find_program(settings)
    planned = used(run, settings)
    chains = [c for ring in sorted({f.ring for f in frames}) for c in plan(planned, frames, ring)]
    if not chains:
        raise InputError("EbSynth needs a keyframe; set --keys to 1 or more.")
    folder = run.folder / "ebsynth_cli"
    total = sum(len(c.steps) for c in chains)
    there = sum(c.output(folder, p).is_file() for c in chains for p in c.steps)
    emit("phase", message=f"Running {program.name}")
    progress = Progress(emit, total, "EbSynth pictures", done=there)
    lock = threading.Lock()
    views = [read_view(run, f) for f in frames[:: max(1, len(frames) // 12)]]
    work = _Work(run, program, folder, *extent(views))

    def carry(chain: Chain) -> None:
        for path in work.carry(chain):
            with lock:
                progress.tick(image=path.relative_to(run.root).as_posix())

    for _ in in_order(carry, chains, thread_count(settings)):
        pass
    places = rows.places(planned, frames)
    without = any(f.frame not in places for f in frames)
    fallback = reproject.prepare(run, settings, frames, emit) if without else None

    def paint(target: Target) -> Painted:
        place = places.get(target.frame.frame)
        if place is None:
            assert fallback is not None
            return fallback(target)
        picture = work.mixed(place, target.frame, settings.blending)
        return Painted(picture / np.float32(255), target.view.mask)

    return paint


def check(settings: Settings) -> None:
    """Raise MissingError where the command is not there."""
    find_program(settings)


def find_program(settings: Settings) -> Path:
    """The command of ``--ebsynth``, or the one on the PATH; raises MissingError."""
    found = shutil.which(settings.ebsynth or "ebsynth")
    if found is None:
        named = f"{settings.ebsynth} cannot be run" if settings.ebsynth else "it is not on the PATH"
        raise MissingError(
            f"The ebsynth command is missing: {named}. Install it and name it with --ebsynth, or "
            "choose --propagator reproject."
        )
    return Path(found)


def plan(planned: Sequence[int], frames: Sequence[Frame], ring: int) -> list[Chain]:
    """The chains of one ring: from each key to its neighbors, which are left to themselves."""
    circle = tuple(f for f in frames if f.ring == ring)
    keys = rows.key_positions(planned, circle)
    count = len(circle)
    out = []
    for row in rows.rows(keys, count) if keys else []:
        forth = tuple(p % count for p in range(row.key + 1, row.last + (len(keys) == 1)))
        back = tuple(p % count for p in range(row.key - 1, row.first, -1))
        out += [Chain(circle, row.key, steps) for steps in (forth, back) if steps]
    return out


@dataclass
class _Work:
    """The command at work in ``folder``."""

    run: Run
    program: Path
    folder: Path
    middle: npt.NDArray[np.float64]
    size: float

    def carry(self, chain: Chain) -> Iterator[Path]:
        """Make the chain's pictures in order; those that are there are skipped."""
        key = chain.ring[chain.key]
        view, style = read_view(self.run, key), read_key(self.run, key)
        last_view, last = view, style
        example = self._guides(key, view, style)
        for position in chain.steps:
            frame, path = chain.ring[position], chain.output(self.folder, position)
            seen = read_view(self.run, frame)
            if not path.is_file():
                moved = self._moved(seen, last_view, last)
                self._paint(path, style, example, self._guides(frame, seen, moved))
                yield path
            last_view, last = seen, read_rgb(path)

    def _guides(self, frame: Frame, view: View, last: Bytes) -> dict[str, Bytes]:
        color = unstyled(self.run, frame.frame)
        return {
            "color": color,
            "edge": np.repeat(edge_guide(color), 3, 2),
            "position": position_guide(view, self.middle, self.size),
            "normal": normal_guide(view),
            "last": last,
        }

    @staticmethod
    def _moved(view: View, last_view: View, last: Bytes) -> Bytes:
        """The last picture carried into this view by the exact motion."""
        one = reproject.KeySet.of([last_view], last[None], "soft", 0.0)
        color, label = reproject.reproject(view, one)
        return np.where(view.mask[..., None], to_bytes(fill(color, label >= 0)), 0).astype(np.uint8)

    def _paint(
        self, path: Path, style: Bytes, source: dict[str, Bytes], target: dict[str, Bytes]
    ) -> None:
        place = self.folder / "work" / f"{path.parent.name}-{path.stem}"
        write_png(place / "style.png", style)
        command = [str(self.program), "-style", str(place / "style.png")]
        for name, weight in WEIGHTS.items():
            pair = [place / f"{name}_{side}.png" for side in ("source", "target")]
            write_png(pair[0], source[name])
            write_png(pair[1], target[name])
            command += ["-guide", *map(str, pair), "-weight", f"{weight:g}"]
        made = place / "output.png"
        command += ["-output", str(made), *OPTIONS, "-backend", "cpu"]
        said = ""
        for _ in range(TRIES):
            made.unlink(missing_ok=True)
            said = _call(command)
            if made.is_file() and not said:
                picture = read_rgb(made)
                if picture.shape == style.shape:
                    write_png(path, picture)
                    shutil.rmtree(place)
                    return
                said = f"its picture is {picture.shape[1]}x{picture.shape[0]}"
        reason = said or "it wrote no picture"
        raise StageError(
            f"{self.program.name} failed at frame {path.stem} of key {path.parent.name[4:]}: "
            f"{reason}. What it was given lies in {place}."
        )

    def mixed(self, place: rows.Place, frame: Frame, blending: str) -> Bytes:
        """The frame out of its two keys' pictures."""
        left = self._made(place.left, frame)
        if place.alpha <= 0:
            return left
        right = self._made(place.right, frame)
        if blending == "poisson":
            even = np.ones(left.shape[:2], np.float32)
            return blend.poisson(left, right, even, even, place.alpha, even > 0)
        return blend.crossfade(left, right, place.alpha)

    def _made(self, key: Frame, frame: Frame) -> Bytes:
        if key.frame == frame.frame:
            return read_key(self.run, key)
        return read_rgb(self.folder / f"out_{key.frame:05d}" / f"{frame.frame:05d}.png")


def _call(command: Sequence[str]) -> str:
    """Run the command on one thread; what went wrong, or nothing."""
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            env=alone,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {LONGEST:g} s"
    except OSError as error:
        return f"it cannot be started ({error.strerror})"
    text = done.stdout.decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines()]
    wrong = next((line for line in lines if line.lower().startswith("error")), "")
    if wrong:
        return wrong.rstrip(".")
    return f"it ended with code {done.returncode}" if done.returncode else ""

"""Propagator ``ebsynth_folder``: EbSynth's own program does it, and a person presses its button.

Everything is laid out for the program (:mod:`.handoff`), then the folder is watched until all is
there. Nothing is kept in memory only, so the wait survives being stopped and started again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...core.dataset import Frame
from ...core.errors import WaitError
from ...core.events import Emit
from ...core.job_object import start_apart
from ...core.keyframes import used
from ...core.orbit import require_first_ring
from ...core.run import Run, write_json
from ...core.settings import Settings
from ..guides import ring
from ..images import read_rgb
from . import Painted, Painter, Target, blend, handoff, reproject, rows, watch, whole

POLL = 1.0  # seconds between two looks at the folder
REASON_STANDS = 15.0  # seconds after which what lies in result/ is not taken for half of it

Bytes = npt.NDArray[np.uint8]


def prepare(run: Run, settings: Settings, frames: Sequence[Frame], emit: Emit) -> Painter:
    """Write the folder, wait for its frames; raises WaitError after --ebsynth-timeout."""
    circle = ring(frames)
    planned = used(run, settings)
    require_first_ring(planned, len(circle))
    keys = rows.key_positions(planned, circle)
    job = handoff.write(run, circle, keys)
    _open(job, settings, emit)
    watcher = watch.Watcher(job)
    sequence = wait(watcher, settings, emit)
    fallback = reproject.prepare(run, settings, frames, emit)

    def paint(target: Target) -> Painted:
        number = target.frame.frame
        position = next((k for k, f in enumerate(circle) if f.frame == number), None)
        picture = None
        if position is not None:
            picture = (
                sequence.frame(position)
                if sequence
                else joined(watcher, keys, position, settings.blending)
            )
        if picture is None:
            return fallback(target)
        return Painted(picture / np.float32(255), target.view.mask)

    return paint


def wait(watcher: watch.Watcher, settings: Settings, emit: Emit) -> whole.Sequence | None:
    """Return when all is there or the SKIP file is; report whatever changes.

    A whole sequence in ``result/`` counts as all, and is returned.
    """
    job, result = watcher.handoff, whole.Result(watcher.handoff)
    emit("phase", message=f"Waiting for EbSynth: see {job.folder / 'README.txt'}")
    last: tuple[object, ...] = ()
    told = ""
    changed = time.monotonic()
    while True:
        status, sequence = watcher.look(), result.look()
        now = ([row.as_json() for row in status], result.stamps, result.reason)
        text = watch.summary(status) + (f"; {result.reason}" if result.reason else "")
        if now != last:
            last, changed = now, time.monotonic()
            _report(job, status, text, emit)
        if sequence is not None or all(row.complete for row in status):
            return sequence
        if job.skip.exists():
            emit("warning", message=f"EbSynth was skipped: {text}.")
            return None
        waited, limit = time.monotonic() - changed, settings.ebsynth_timeout
        if waited > REASON_STANDS and result.reason not in ("", told):
            told = result.reason
            emit("warning", message=f"The run still waits for EbSynth: {told}.")
        if limit and waited > limit:
            raise WaitError(
                f"EbSynth wrote nothing new for {limit:g} s: {text}. Follow "
                f"{job.folder / 'README.txt'} and run the same command again."
            )
        time.sleep(min(POLL, limit / 4) if limit else POLL)


def _report(job: handoff.Handoff, status: list[watch.RowStatus], text: str, emit: Emit) -> None:
    listed = [row.as_json() for row in status]
    write_json(job.folder / "status.json", {"summary": text, "rows": listed})
    emit("ebsynth", message=text, rows=listed)
    done, total = sum(r.counts["done"] for r in status), sum(r.total for r in status)
    emit("progress", done=done, total=total, unit="EbSynth frames", eta=None)


def _open(job: handoff.Handoff, settings: Settings, emit: Emit) -> None:
    """Start the program on the first project that is not done, where we know how."""
    if all(row.complete for row in _settled(job)):
        return
    project = job.folder / "part1.ebs"
    try:
        if settings.ebsynth:
            start_apart([settings.ebsynth, str(project)])
        elif os.name == "nt":
            # What startfile starts cannot be told to leave our job; what this Python starts is out.
            opener = "import os, sys; os.startfile(sys.argv[1])"
            start_apart([sys.executable, "-I", "-c", opener, str(project)])
        else:
            return
    except OSError as error:
        emit("warning", message=f"EbSynth could not be opened ({error.strerror}); open {project}.")


def _settled(job: handoff.Handoff) -> list[watch.RowStatus]:
    watcher = watch.Watcher(job)
    watcher.look()
    return watcher.look()


def joined(
    watcher: watch.Watcher, keys: Sequence[int], position: int, blending: str
) -> Bytes | None:
    """The frame at ``position`` of the ring out of the rows of its two keys, None without any."""
    count = watcher.handoff.count
    mix = rows.mix(keys, count, position)
    # Positions before the first key are those beyond the ring's end.
    line = position if position >= keys[0] else position + count
    right = mix.right if mix.right > mix.left else mix.right + count
    left_file = _made(watcher, mix.left, line)
    right_file = _made(watcher, right, line) if mix.alpha > 0 else None
    if left_file is None and right_file is None:
        return None
    if left_file is None or right_file is None:
        return read_rgb(left_file or right_file)  # type: ignore[arg-type]
    left, other = read_rgb(left_file), read_rgb(right_file)
    if blending == "poisson":
        even = np.ones(left.shape[:2], np.float32)
        return blend.poisson(left, other, even, even, mix.alpha, even > 0)
    return blend.crossfade(left, other, mix.alpha)


def _made(watcher: watch.Watcher, key: int, number: int) -> Path | None:
    job = watcher.handoff
    row = next((r for r in job.rows if r.key == key), None)
    if row is None or not row.first <= number <= row.last:
        return None
    path = watcher.file(row, number)
    return path if watcher.state(path, job.key(key).stat().st_mtime_ns) == "done" else None

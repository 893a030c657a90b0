"""Stage ``propagate``: from restyled keyframes to every frame restyled.

A propagator is one file of this folder and one line in :data:`BACKENDS`. It has a function
``prepare(run, settings, frames, emit) -> Painter``, which does whatever is done once (load the
keys, solve for gains, run and wait for another program), and the :class:`Painter` it returns then
paints one frame at a time. One that needs something installed has ``check(settings)``, too, which
raises GsdError for what is missing. What all propagators need afterwards is done here: holes and
the anti-aliased fringe filled, the turntable's alpha put on, files written, coverage counted.

From the second iteration on the sources are renders of the last splat. Alpha and geometry stay the
turntable's but where the splat has left the model (:mod:`..drift`).
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...core.dataset import Frame
from ...core.errors import InputError
from ...core.events import Emit, Progress
from ...core.run import Run, read_json, write_json
from ...core.settings import Settings
from .. import drift
from ..guides import View, bounds, cameras, read_view
from ..images import read_rgb, read_rgba, to_bytes, write_png
from ..parallel import in_order, thread_count
from .pushpull import fill

BACKENDS = {
    "reproject": ".reproject",
    "patchmatch": ".patchmatch",
    "ebsynth_cli": ".ebsynth_cli",
    "ebsynth_folder": ".ebsynth_folder",
    "none": ".none",
}

OPAQUE = np.float32(0.5)  # a key's pixels are taken to be at least so opaque

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Target:
    """A frame to paint: its camera and geometry, and the number its files go by."""

    frame: Frame
    view: View


@dataclass(frozen=True, eq=False)
class Painted:
    """``color`` (h, w, 3) float32 of 0..1, display-referred; ``known`` (h, w) bool, where it is
    meant; ``seen`` (h, w) bool, where a key shows it, if that is less.
    """

    color: Floats
    known: Mask
    seen: Mask | None = None


class Painter(Protocol):
    """Paints one frame; called from several threads at once."""

    def __call__(self, target: Target) -> Painted: ...


class Backend(Protocol):
    """What a propagator's module offers."""

    def prepare(
        self, run: Run, settings: Settings, frames: Sequence[Frame], emit: Emit
    ) -> Painter: ...


def backend(name: str) -> Backend:
    """The propagator called ``name``; raises InputError for one that does not exist."""
    if name not in BACKENDS:
        raise InputError(f"There is no propagator {name!r}; choose one of {', '.join(BACKENDS)}.")
    module: Any = importlib.import_module(BACKENDS[name], __name__)
    return module  # type: ignore[no-any-return]


def check(settings: Settings) -> None:
    """Raise GsdError for what the stage would fail of, as far as that is known before it starts."""
    module: Any = backend(settings.propagator)
    if hasattr(module, "check"):
        module.check(settings)


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Write run.stylized_frame(k) for every frame of the turntable, and propagation.json."""
    frames = cameras(run)
    notes = _Notes(run, settings.propagator)
    todo = [f for f in frames if not (run.stylized_frame(f.frame).is_file() and f in notes)]
    progress = Progress(emit, len(frames), "frames", done=len(frames) - len(todo))
    if todo:
        painter = backend(settings.propagator).prepare(run, settings, frames, emit)

        def work(frame: Frame) -> Path:
            return _paint(run, painter, frame, notes)

        for frame, path in in_order(work, todo, thread_count(settings)):
            relative = path.relative_to(run.root).as_posix()
            emit("frame_done", frame=frame.frame, path=relative)
            progress.tick(image=relative)
    notes.finish()


def _paint(run: Run, painter: Painter, frame: Frame, notes: _Notes) -> Path:
    path = run.stylized_frame(frame.frame)
    view = read_view(run, frame)
    alpha = drift.alpha(run, frame, view, alpha_of(run.frame(frame.frame), view))
    painted = painter(Target(frame, view))
    # The note comes first: a finished frame always has one, and a kill in between only paints it
    # again.
    seen = painted.known if painted.seen is None else painted.seen
    notes.add(frame, _coverage(seen, view.mask))
    if not path.is_file():  # else only its note was lost
        write_png(path, finish(painted, alpha))
    return path


def _coverage(known: Mask, mask: Mask) -> float:
    count = int(mask.sum())
    return float((known & mask).sum() / count) if count else 1.0


def finish(painted: Painted, alpha: Bytes) -> Bytes:
    """The frame's pixels, (h, w, 4) uint8 with straight alpha.

    ``alpha`` (h, w) uint8 is the turntable's. Every pixel that shows has a color: unknown ones, the
    anti-aliased fringe among them, take it from the known ones around them, so no background bleeds
    in. Invisible pixels are black.
    """
    out = np.zeros((*alpha.shape, 4), np.uint8)
    out[..., 3] = alpha
    seen = alpha > 0
    if not seen.any():
        return out
    box = bounds(seen, 2)
    shown = seen[box]
    colors = to_bytes(fill(painted.color[box], painted.known[box], shown))
    np.multiply(colors, shown[..., None], out=out[(*box, slice(0, 3))])
    return out


class _Notes:
    """propagation.json: the share of each frame's object pixels some key sees, and the mean."""

    def __init__(self, run: Run, propagator: str) -> None:
        self._path = run.folder / "propagation.json"
        self._propagator = propagator
        self._lock = threading.Lock()
        known = read_json(self._path) if self._path.is_file() else {}
        self._frames: dict[str, float] = (
            dict(known.get("frames", {})) if known.get("propagator") == propagator else {}
        )

    def __contains__(self, frame: Frame) -> bool:
        return str(frame.frame) in self._frames

    def add(self, frame: Frame, coverage: float) -> None:
        """Note a frame's coverage, on disk at once."""
        with self._lock:
            self._frames[str(frame.frame)] = round(coverage, 5)
            self._write()

    def finish(self) -> None:
        """Make sure that the file is there, whatever was skipped."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        ordered = dict(sorted(self._frames.items(), key=lambda item: int(item[0])))
        mean = sum(ordered.values()) / len(ordered) if ordered else 0.0
        write_json(
            self._path,
            {"propagator": self._propagator, "coverage": round(mean, 5), "frames": ordered},
        )


def read_key(run: Run, frame: Frame) -> Bytes:
    """The restyled keyframe, (h, w, 3) uint8 at its camera's size; raises InputError."""
    path = run.key(frame.frame)
    if not path.is_file():
        raise InputError(f"The keyframe {path} is missing; run the stylize stage again.")
    pixels = read_rgb(path)
    h, w = pixels.shape[:2]
    if (w, h) != (frame.camera.width, frame.camera.height):
        raise InputError(
            f"The keyframe {path} is {w}x{h}, but the turntable is "
            f"{frame.camera.width}x{frame.camera.height}; run the stylize stage again."
        )
    return pixels


def alpha_of(path: Path, view: View) -> Bytes:
    """The alpha (h, w) uint8 of a frame's picture; raises InputError if ``view`` is not as big."""
    alpha: Bytes = read_rgba(path)[..., 3]
    if alpha.shape != view.mask.shape:
        raise InputError(f"{path} and its guide differ in size; run the turntable stage again.")
    return alpha


def unmixed(picture: Bytes, alpha: Bytes, mask: Mask) -> Bytes:
    """A key (h, w, 3) uint8 without the backdrop that shows through its model where that is thin or
    transparent: what is shown by ``alpha`` (h, w) uint8, its source's, is made opaque.

    A pixel of ``mask``, where the model is hit, is taken as alpha x model + (1 - alpha) x backdrop.
    The backdrop is that of the pixels around which show nothing else. Below half the opacity too
    little is left of the model to be magnified.
    """
    partly, empty = mask & (alpha < 255), alpha == 0
    if not partly.any() or not empty.any():
        return picture
    box = bounds(partly, 16)
    colors = picture[box].astype(np.float32)
    behind = fill(colors, empty[box], partly[box])
    share = np.maximum(alpha[box] / np.float32(255), OPAQUE)[..., None]
    out = picture.copy()
    clear = np.clip(behind + (colors - behind) / share + np.float32(0.5), 0, 255)
    out[box] = np.where(partly[box][..., None], clear, colors)
    return out

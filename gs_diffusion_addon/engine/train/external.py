"""What installed trainers have in common: following one as events, its failures as sentences, and
the check that its result stands where the model is.
"""

from __future__ import annotations

import math
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...core.dataset import read_transforms
from ...core.errors import GsdError, MissingError, StageError
from ...core.events import Emit, Progress
from ...core.foreign import Finished, Piece, foreign_environment, run_foreign
from ...core.ply import Splats
from ...core.run import Run
from ...core.settings import Settings
from ..images import read_rgba
from .printed import Reader, Seen

_EMIT_SECONDS = 0.2
_INSIDE = 0.3  # share of a good result's opacity that lies on the model at least


@dataclass
class Follower:
    """Turns a trainer's printed pieces into progress events.

    ``steps``: of the whole training; a resumed process counts its own from 0, so what is missing to
    ``steps`` was done before. Raises StageError when the loss is no number.
    """

    emit: Emit
    name: str
    read: Reader
    steps: int
    step: int = 0
    psnr: float | None = None
    splats: int = 0
    _loss: float | None = None
    _rate: float | None = None
    _progress: Progress | None = None
    _told: float = field(default=0.0, repr=False)

    def __call__(self, piece: Piece) -> None:
        """Take one more piece."""
        seen = self.read(piece)
        if seen is None:
            return
        if seen.kind == "phase":
            self.emit("phase", message=seen.name)
        elif seen.kind in ("points", "splats"):
            self.splats = seen.count
        if seen.kind == "judged" and seen.name == "test":
            self.psnr = seen.psnr if seen.psnr is not None and math.isfinite(seen.psnr) else None
        if seen.kind == "step":
            self._stepped(seen)
        elif seen.kind in ("judged", "splats") and seen.step:
            self._reached(seen.step)

    def _stepped(self, seen: Seen) -> None:
        before = self.steps - seen.steps if seen.steps else 0
        if seen.loss is not None and not math.isfinite(seen.loss):
            raise StageError(
                f"{self.name}'s loss is no longer a number at step {before + seen.step}; try other "
                f"settings, such as fewer --train-steps or a lower --sh-degree."
            )
        self._loss = seen.loss if seen.loss is not None else self._loss
        self._rate = seen.rate
        self._reached(max(0, before) + seen.step)

    def _reached(self, step: int) -> None:
        now = time.monotonic()
        step = min(step, self.steps)
        if step < self.step:
            return
        self.step = step
        if now - self._told < _EMIT_SECONDS and step < self.steps:
            return
        if self._progress is None:
            self._progress = Progress(self.emit, self.steps, "steps", done=step)
        self._told = now
        fields = {
            "loss": None if self._loss is None else round(self._loss, 5),
            "rate": None if self._rate is None else round(self._rate, 2),
            "psnr": None if self.psnr is None else round(self.psnr, 2),
            "splats": self.splats or None,
        }
        known = {name: value for name, value in fields.items() if value is not None}
        self._progress.tick(step - self._progress.done, **known)


def follow(
    run: Run,
    settings: Settings,
    command: Sequence[str],
    name: str,
    on_piece: Follower,
    cwd: Path | None = None,
    extra: dict[str, str] | None = None,
) -> Finished:
    """Run an installed trainer; its output goes to ``logs/K-NAME.log`` of the run folder."""
    try:
        return run_foreign(
            command,
            log=log_of(run, name),
            on_piece=on_piece,
            env=foreign_environment(settings.threads, extra),
            cwd=cwd,
            silence=settings.silence,
        )
    except UnicodeEncodeError:
        raise StageError(
            f"{name}'s folder or Python has a name this system cannot pass on."
        ) from None


def log_of(run: Run, name: str) -> Path:
    """Where an installed trainer's output is kept."""
    return run.logs / f"{run.iteration}-{name}.log"


_MEMORY = re.compile(r"CUDA out of memory|OutOfMemoryError|out of memory", re.I)
_MODULE = re.compile(r"(?:ModuleNotFoundError|ImportError): (.*)")
_PORT = re.compile(r"Address already in use|WinError 10048", re.I)
_OPTION = re.compile(r"unrecognized arguments: (.*)")
_DRIVER = re.compile(
    r"(no kernel image is available|driver version is insufficient|no NVIDIA)[^\n]*"
)


def port_in_use(ended: Finished) -> bool:
    """Whether it died since its viewer's port was taken."""
    return any(_PORT.search(line) for line in ended.tail)


def pillow_too_new(ended: Finished) -> bool:
    """Whether graphdeco's reader of transforms.json died of Pillow 12's refusal of signed bytes."""
    return any("|i1" in line and "TypeError" in line for line in ended.tail)


def failure(
    ended: Finished, name: str, step: int, log: Path, silence: float = 0, resumes: bool = False
) -> GsdError:
    """Why a trainer ended without a result: one sentence, with its last lines attached.

    ``resumes``: whether it can go on from a checkpoint; others begin again.
    """
    error = _failure(ended, name, step, log, silence, resumes)
    error.tail = ended.tail
    return error


def _failure(
    ended: Finished, name: str, step: int, log: Path, silence: float, resumes: bool
) -> GsdError:
    again = "goes on from its last checkpoint" if resumes else "trains it again"
    text = "\n".join(ended.tail)
    at = f" at step {step}" if step else ""
    if ended.silent:
        return StageError(
            f"{name} printed nothing for {silence:g} s{at} and was ended; the same command {again} "
            f"(--silence sets how long to wait)."
        )
    if _MEMORY.search(text):
        return StageError(
            f"{name} ran out of GPU memory{at}: close other programs that use the card, or choose "
            f"a smaller --size or fewer --train-steps."
        )
    module = _MODULE.search(text)
    if module:
        return MissingError(
            f"{name} cannot import what it needs ({module[1][:200]}); repair its environment, "
            f"'gsd check' tests it."
        )
    if port_in_use(ended):
        return StageError(
            f"{name}'s viewer port is in use by another program; end that one (often an earlier "
            f"training) and start again."
        )
    if pillow_too_new(ended):
        return MissingError(
            f"{name}'s reader of transforms.json does not work with Pillow 12 or newer; use "
            f"--graphdeco-layout colmap, or 'pip install \"pillow<12\"' in its environment."
        )
    option = _OPTION.search(text)
    if option:
        return StageError(f"{name} does not know {option[1][:200]}; update its checkout.")
    driver = _DRIVER.search(text)
    if driver:
        return MissingError(
            f"{name}'s CUDA build does not fit this card or driver ({driver[0][:200]}); rebuild "
            f"its extensions for them."
        )
    if ended.signal:
        return StageError(
            f"{name} was ended by signal {_signal_name(ended.signal)}{at}, as happens when the "
            f"machine runs out of memory; the same command {again}."
        )
    last = next((line for line in reversed(ended.tail) if line), "it printed nothing")
    return StageError(f"{name} ended with code {ended.code}{at} ({last[:200]}); see {log}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def require_in_place(run: Run, splats: Splats, name: str) -> None:
    """Check that a result stands where the training frames show the model.

    Of the splats' opacity, at least 30 % must project onto the model's silhouette in each of up to
    three frames around it. A trainer that moves, scales or turns its world fails. Raises
    StageError.
    """
    frames = read_transforms(run.gs / "transforms_train.json")
    usable = splats.selected(splats.finite)
    if not usable.count:
        raise StageError(f"{name} wrote a splat without a finite number in it; train it again.")
    weight = 1 / (1 + np.exp(-np.clip(usable.opacities.astype(np.float64), -30, 30)))
    for frame in frames[:: max(1, len(frames) // 3)][:3]:
        shown = read_rgba(run.gs / f"{frame.file_path}.png")[..., 3] > 127
        if not shown.any():
            continue
        pixels, depth = frame.camera.project(usable.means)
        here = depth > 0
        column, row = (np.floor(pixels[here, k]).astype(np.int64) for k in (0, 1))
        inside = (column >= 0) & (column < shown.shape[1]) & (row >= 0) & (row < shown.shape[0])
        hit = np.zeros(len(column), bool)
        hit[inside] = shown[row[inside], column[inside]]
        share = float((weight[here] * hit).sum() / weight.sum())
        if share < _INSIDE:
            raise StageError(
                f"Only {share:.0%} of the splat that {name} wrote lies on the model in frame "
                f"{frame.frame}; it trained in another world or came to nothing."
            )

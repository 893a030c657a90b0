"""What trainers print, as facts: pure functions of one line each (see :mod:`...core.foreign`)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from ...core.foreign import Piece


@dataclass(frozen=True)
class Seen:
    """One fact out of a trainer's output; ``kind`` says which fields count.

    points (``count`` first splats) · step (``step`` of ``steps`` of this process, ``loss``,
    ``rate`` in steps a second) · judged (``psnr`` of the set ``name`` at ``step``) · splats
    (``count`` at ``step``) · saved, checkpoint (at ``step``) · phase (``name``) · done.
    """

    kind: str
    step: int = 0
    steps: int = 0
    loss: float | None = None
    rate: float | None = None
    count: int = 0
    psnr: float | None = None
    name: str = ""


Reader = Callable[[Piece], Seen | None]

_NUMBER = r"[-+]?(?:nan|inf|[\d.]+(?:e[-+]?\d+)?)"
_BAR = re.compile(
    r"^(?P<title>[\w ]+): +\d+%\|.*\| (?P<step>\d+)/(?P<steps>\d+) "
    r"\[[\d:]+<[\d:?]+, +(?P<rate>[\d.]+|\?)(?P<unit>it/s|s/it)(?P<more>.*)\]"
)
_LOSS = re.compile(rf"\bLoss=({_NUMBER})", re.I)
_POINTS = re.compile(r"^Number of points at initiali[sz]ation *: *(\d+)")
_JUDGED = re.compile(rf"\[ITER (\d+)\] Evaluating (\w+): L1 {_NUMBER} PSNR ({_NUMBER})", re.I)
_SAVED = re.compile(r"\[ITER (\d+)\] Saving (Gaussians|Checkpoint)")
_PHASES = ("Loading Training Cameras", "Loading Test Cameras", "Reading Training Transforms")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def graphdeco(piece: Piece) -> Seen | None:
    """A line of graphdeco's train.py or render.py; None if it says nothing of interest."""
    text = piece.text
    bar = _BAR.search(text)
    if bar:
        return _bar(bar)
    points = _POINTS.search(text)
    if points:
        return Seen("points", count=int(points[1]))
    judged = _JUDGED.search(text)
    if judged:
        return Seen("judged", int(judged[1]), psnr=_number(judged[3]), name=judged[2])
    saved = _SAVED.search(text)
    if saved:
        return Seen("saved" if saved[2] == "Gaussians" else "checkpoint", int(saved[1]))
    if text.startswith("Training complete."):
        return Seen("done")
    phase = next((p for p in _PHASES if text.startswith(p)), None)
    return Seen("phase", name=phase) if phase else None


def _bar(bar: re.Match[str]) -> Seen:
    rate = None
    if bar["rate"] != "?":
        value = _number(bar["rate"])
        rate = value if bar["unit"] == "it/s" else 1 / value if value > 0 else None
    loss = _LOSS.search(bar["more"])
    return Seen(
        "step",
        int(bar["step"]),
        int(bar["steps"]),
        loss=_number(loss[1]) if loss else None,
        rate=rate,
        name=bar["title"].strip(),
    )


_OPENSPLAT = re.compile(rf"^Step (\d+): ({_NUMBER}) \((\d+)%\)", re.I)


def opensplat(piece: Piece) -> Seen | None:
    """A line of OpenSplat: ``Step 10: 0.153 (1%)``."""
    found = _OPENSPLAT.search(piece.text)
    if found:
        return Seen("step", int(found[1]), loss=_number(found[2]))
    if piece.text.startswith("Loading "):
        return Seen("phase", name="Loading the frames")
    return None


_BRUSH_BAR = re.compile(r"(\d+)/(\d+) Steps \(([\d.]+)/s")
_BRUSH_REFINE = re.compile(r"Refine iter (\d+), (\d+) splats")
_BRUSH_EVAL = re.compile(rf"Eval iter (\d+): PSNR ({_NUMBER})", re.I)


def brush(piece: Piece) -> Seen | None:
    """A line of Brush: its log on standard output, or its bar where there is a terminal."""
    bar = _BRUSH_BAR.search(piece.text)
    if bar:
        return Seen("step", int(bar[1]), int(bar[2]), rate=_number(bar[3]))
    refine = _BRUSH_REFINE.search(piece.text)
    if refine:
        return Seen("splats", int(refine[1]), count=int(refine[2]))
    judged = _BRUSH_EVAL.search(piece.text)
    if judged:
        return Seen("judged", int(judged[1]), psnr=_number(judged[2]), name="test")
    return None

"""The settings of the loop over iterations and of where its frames come from; schedules."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError
from .values import declare as _knob

ARROW = "->"
SOURCES = ("last", "original", "blend")


@dataclass(frozen=True)
class UpstreamSettings:
    """The part of :class:`~.settings.Settings` about frames that come without a Blender scene."""

    main_folder: str = _knob(
        "",
        "folder with posed pictures to use instead of a Blender scene: the original experiment's "
        "(transforms_train_main.json with train_main or iter0.mp4), or one with transforms.json",
        "model",
        "turntable",
        path=True,
    )
    main_frames: int = _knob(
        0,
        "most frames to take from the main folder, evenly spaced; 0 takes all",
        "model",
        "turntable",
        low=0,
        high=500,
        advanced=True,
    )
    main_size: int = _knob(
        0,
        "longer side that the main folder's frames are scaled to; 0 keeps their size",
        "model",
        "turntable",
        unit="px",
        low=0,
        high=8192,
        advanced=True,
    )


@dataclass(frozen=True)
class LoopSettings(UpstreamSettings):
    """The part of :class:`~.settings.Settings` that says how iterations follow each other."""

    iterations: int = _knob(
        1, "passes of the whole loop; each starts from the last one's splat", "run", low=1, high=100
    )
    source: str = _knob(
        "last",
        "what is restyled from the second iteration on: last is what the last splat shows, "
        "original is the turntable again, with the last splat as a guide for colors, blend mixes "
        "both",
        "run",
        "stylize",
        choices=SOURCES,
    )
    source_blend: float = _knob(
        0.5,
        "share of the last splat in what is restyled, for source blend",
        "run",
        "stylize",
        low=0.0,
        high=1.0,
        advanced=True,
    )
    splat_guide: float = _knob(
        0.5,
        "how far keyframes take their broad colors from the last splat, for source original",
        "run",
        "stylize",
        low=0.0,
        high=1.0,
        advanced=True,
    )
    schedule: str = _knob(
        "",
        "settings that change over the iterations, as NAME=FIRST->SECOND->... or NAME=FROM..TO/N, "
        "separated by semicolons, such as 'sampler=DPM++ 2M->DDIM; strength=0.9..0.4/5'; the last "
        "value stays",
        "run",
        "stylize",
    )
    warm_start: bool = _knob(
        False,
        "start each training from the last iteration's splat instead of the model's surface",
        "run",
        "train",
    )
    stop_below: float = _knob(
        0.0,
        "end the loop when an iteration changes the splat's pictures by less than this, as a mean "
        "difference of 0 to 1; 0 does all iterations",
        "run",
        low=0.0,
        high=1.0,
    )
    clip_model: str = _knob(
        "",
        "folder of a CLIP model (model.onnx and tokenizer.json) to measure how well the splat fits "
        "the prompt",
        "run",
        "report",
        path=True,
        advanced=True,
    )
    clip_source: str = _knob(
        "a plain 3D model",
        "what the unstyled model shows, in words, for CLIP's directional similarity",
        "run",
        "report",
        advanced=True,
    )
    follow_splat: bool = _knob(
        True,
        "from the second iteration on, take the geometry from the last splat where it has left the "
        "model's surface",
        "run",
        "stylize propagate",
        advanced=True,
    )


def parse_schedule(text: str) -> dict[str, list[str]]:
    """``"sampler=DPM++ 2M->DDIM; strength=0.9..0.5/3"`` -> name -> a value for each iteration.

    ``FROM..TO/N`` gives N values in even steps; the last value is meant for all iterations after
    it. Raises InputError.
    """
    found: dict[str, list[str]] = {}
    if text.strip() == "none":
        return found
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, sign, values = part.partition("=")
        if not sign or not name.strip() or not values.strip():
            raise InputError(f"--schedule wants NAME=FIRST{ARROW}SECOND; NAME=..., not {part!r}.")
        steps = [_steps(v.strip(), part) for v in values.split(ARROW)]
        key = name.strip().replace("-", "_").lstrip("_")
        found[key] = [value for step in steps for value in step]
    return found


def _steps(text: str, part: str) -> list[str]:
    """One value, or the N values of ``FROM..TO/N``."""
    ends, slash, count = text.partition("/")
    first, dots, last = ends.partition("..")
    if not slash or not dots:
        return [text]
    try:
        a, b, n = float(first), float(last), int(count)
    except ValueError:
        return [text]
    if not 2 <= n <= 100:
        raise InputError(f"--schedule: {part!r} wants 2 to 100 steps after the slash.")
    return [f"{a + (b - a) * k / (n - 1):.6g}" for k in range(n)]

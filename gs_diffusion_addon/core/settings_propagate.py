"""The settings of the propagate stage: how the keyframes' style comes to all frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .values import Knob

PROPAGATORS = ("reproject", "patchmatch", "ebsynth_cli", "ebsynth_folder", "none")


def _knob(default: Any, help: str, stages: str = "propagate", **more: Any) -> Any:
    knob = Knob(help=help, group="propagate", stages=tuple(stages.split()), **more)
    return field(default=default, metadata={"knob": knob})


@dataclass(frozen=True)
class PropagateSettings:
    """How the keyframes' style comes to all frames; a part of the settings of a run."""

    propagator: str = _knob(
        "auto",
        "reproject carries the keyframes to all frames on Blender's exact geometry; patchmatch "
        "paints them anew from pieces of the keyframes; ebsynth_cli has the ebsynth command do "
        "it, ebsynth_folder the EbSynth program with your help; none restyles every frame and "
        "leaves them as they come",
        "stylize propagate",
        choices=("auto", *PROPAGATORS),
    )
    reject_keys: str = _knob(
        "",
        "keyframes that came out badly: their numbers, such as 12,48; all frames are made of the "
        "others",
        advanced=True,
    )
    seams: str = _knob(
        "hidden",
        "how reproject joins keyframes: hidden takes each point from one keyframe and puts the "
        "borders where two agree, soft mixes all that see a point, hard takes the one that faces "
        "it best",
        choices=("hidden", "soft", "hard"),
    )
    sharpness: float = _knob(
        8.0,
        "how strongly a surface point prefers the keyframe that faces it, for seams soft; high is "
        "crisp with visible borders, low is smooth",
        low=0.0,
        high=64.0,
        advanced=True,
    )
    holes: str = _knob(
        "patches",
        "how reproject paints what no keyframe sees: patches paints it once, out of pieces of the "
        "surface around it, for all frames; smooth blurs the colors around it into it",
        choices=("patches", "smooth"),
        advanced=True,
    )
    blending: str = _knob(
        "crossfade",
        "how the frames that two keyframes gave are put together by patchmatch and EbSynth: "
        "crossfade as the original experiment did, or poisson, which takes each piece from the "
        "better of the two and hides the borders",
        choices=("crossfade", "poisson"),
        advanced=True,
    )
    patch_start: str = _knob(
        "reproject",
        "where patchmatch begins its search: reproject starts from the exact geometry (fast and "
        "steady), plain from chance, as EbSynth does",
        choices=("reproject", "plain"),
        advanced=True,
    )
    ebsynth: str = _knob(
        "",
        "the ebsynth command for ebsynth_cli, or the EbSynth program to open for ebsynth_folder; "
        "empty looks for one",
        "",
        path=True,
        advanced=True,
    )
    ebsynth_timeout: float = _knob(
        0.0,
        "longest wait for EbSynth's frames without a new one, for ebsynth_folder; 0 waits forever",
        "",
        unit="s",
        low=0.0,
        high=1e7,
        advanced=True,
    )

"""The original experiment's options, understood and said in our own."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import upstream
from .settings import Settings

OPTIONS: Mapping[str, type] = {
    "fps": float,
    "batch_size": int,
    "resolution": int,
    "max_frames": int,
    "border_frames": int,
    "output_resolution": int,
}
PREFIX = "original_"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The original's options, under their names there (``--sides`` is one of ours, too)."""
    section = parser.add_argument_group(
        "options of the original experiment", "understood, and said in this program's own options"
    )
    for name, kind in OPTIONS.items():
        section.add_argument(
            f"--{name.replace('_', '-')}", dest=PREFIX + name, type=kind, metavar=name.upper(),
            help=argparse.SUPPRESS if name in ("fps", "border_frames") else _HELP[name],
        )  # fmt: skip


_HELP = {
    "batch_size": "frames for each keyframe: becomes --keys",
    "resolution": "height of a collage page: becomes --page-size",
    "max_frames": "most frames: becomes --main-frames, or --views for a Blender scene",
    "output_resolution": "size of a frame: becomes --main-size, or --size for a Blender scene",
}


def normalized(argv: list[str]) -> list[str]:
    """Options as the original spells them, ``--main_folder X``, in our spelling."""
    out = []
    for word in argv:
        name, equals, value = word.partition("=")
        out.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
    return out


def translate(
    parsed: argparse.Namespace, given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Settings that the original's options stand for, and a sentence on each.

    What is given in our own words wins. Raises InputError for an unusable ``--main-folder``.
    """
    old = {n: getattr(parsed, PREFIX + n, None) for n in OPTIONS}
    main = str(given.get("main_folder", ""))
    found: dict[str, Any] = {}
    sentences = []

    def say(name: str, setting: str, value: Any) -> None:
        found[setting] = value
        option = "--" + setting.replace("_", "-")
        sentences.append(f"--{name.replace('_', '-')} {old[name]:g} is {option} {value} here.")

    if old["max_frames"] is not None:
        say("max_frames", "main_frames" if main else "views", old["max_frames"])
    if old["output_resolution"] is not None:
        value = old["output_resolution"]
        say("output_resolution", "main_size" if main else "size", value if main else str(value))
    if old["resolution"] is not None:
        say("resolution", "page_size", old["resolution"])
    if old["batch_size"] is not None:
        merged = {**found, **given}
        say("batch_size", "keys", math.ceil(_frames(main, merged) / max(old["batch_size"], 1)))
    if old["fps"] is not None:
        sentences.append(
            f"--fps {old['fps']:g} changes nothing: frames are counted, not timed; videos play "
            "30 a second."
        )
    if old["border_frames"] is not None:
        sentences.append(
            f"--border-frames {old['border_frames']} changes nothing: keyframes are spread evenly "
            "over the closed ring, without a border."
        )
    return {n: v for n, v in found.items() if n not in given}, sentences


def _frames(main: str, settings: Mapping[str, Any]) -> int:
    """The frames of ring 0."""
    if main:
        most = int(settings.get("main_frames", 0))
        return len(upstream.find(Path(main), most).shots)
    return int(settings.get("views", Settings().views))

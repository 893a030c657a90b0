"""What a setting is made of, and the small languages of lists, rings, sizes and splits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .errors import InputError


@dataclass(frozen=True)
class Knob:
    """What is known about one setting besides its type and default."""

    help: str
    group: str
    stages: tuple[str, ...] = ()
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    advanced: bool = False
    path: bool = False


def declare(default: Any, help: str, group: str, stages: str = "", **more: Any) -> Any:
    """A field of a settings class: its default and its :class:`Knob`; ``stages`` by spaces."""
    knob = Knob(help=help, group=group, stages=tuple(stages.split()), **more)
    return field(default=default, metadata={"knob": knob})


@dataclass(frozen=True)
class Ring:
    """One ring of the turntable: elevation in degrees, number of views."""

    elevation: float
    count: int


_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*(?=,|$)|([^,]*))(?:,|$)')
"""A name in quotes that end where the name does, or all up to the next comma."""


def split_names(text: str) -> list[str]:
    """``'Head, "Bolt, left"'`` -> the names in a list separated by commas.

    As in a CSV file a name may stand in double quotes, and must where a comma is in it; a quote
    within them is written twice. Quotes elsewhere are letters of the name.
    """
    found = []
    for quoted, plain in _NAME.findall(text):
        name = quoted.replace('""', '"') or plain.strip()
        found += [name] if name else []
    return found


def join_names(names: Iterable[str], quote: bool = False) -> str:
    """The list that :func:`split_names` takes apart; ``quote``: in quotes that need none, too."""
    return ", ".join(_quoted(name, quote) for name in names)


def _quoted(name: str, quote: bool) -> str:
    if quote or "," in name or name.startswith('"') or name != name.strip():
        return '"' + name.replace('"', '""') + '"'
    return name


def parse_rings(text: str) -> tuple[Ring, ...]:
    """``"30:24,-25:12"`` -> rings after ring 0; ``""`` and ``"none"`` -> no further ring; raises
    InputError.
    """
    if text.strip().lower() in ("", "none"):
        return ()
    rings = []
    for part in text.split(","):
        elevation, colon, count = part.strip().partition(":")
        try:
            ring = Ring(float(elevation), int(count))
        except ValueError:
            ring = Ring(float("nan"), 0)
        if not colon or not -89.0 <= ring.elevation <= 89.0 or not 1 <= ring.count <= 500:
            raise InputError(
                f"--rings wants ELEVATION:COUNT with an elevation of -89 to 89 degrees and 1 to "
                f"500 "
                f"views, such as 30:24,-25:12; {part.strip()!r} is not."
            )
        rings.append(ring)
    return tuple(rings)


def parse_frames(text: str) -> frozenset[int]:
    """``"12,48"`` -> frame numbers; raises InputError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--reject-keys wants numbers of keyframes, such as 12,48; not {text!r}.")
    return frozenset(int(part) for part in parts)


def parse_size(text: str) -> tuple[int, int]:
    """``"512"`` or ``"640x360"`` -> (width, height) in pixels; raises InputError."""
    width, x, height = text.lower().replace("×", "x").partition("x")
    try:
        size = (int(width), int(height if x else width))
    except ValueError:
        size = (0, 0)
    if not all(16 <= side <= 8192 for side in size):
        raise InputError(
            f"--size wants a number of 16 to 8192 pixels or WIDTHxHEIGHT, such as 512 or "
            f"640x360; not {text!r}."
        )
    return size


def parse_split(text: str) -> tuple[float, float, float]:
    """``"80/5/15"`` -> shares of (train, val, test) that add up to 1; raises InputError."""
    try:
        parts = [float(p) for p in text.split("/")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) < 0 or parts[0] <= 0 or abs(sum(parts) - 100) > 1e-6:
        raise InputError(
            f"--split wants TRAIN/VAL/TEST in percent with a sum of 100, not {text!r}."
        )
    return parts[0] / 100, parts[1] / 100, parts[2] / 100

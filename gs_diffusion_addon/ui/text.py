"""Sentences in panels, whose labels do not wrap by themselves."""

from __future__ import annotations

import re
from typing import Any

from ..core.settings import flag, names

SPELLED = {
    "cfg scale": "CFG Scale",
    "sh degree": "SH Degree",
    "hdri": "HDRI",
    "a1111": "AUTOMATIC1111",
    "diffusers local": "Diffusers (local)",
    "gsplat": "gsplat",
    "opensplat": "OpenSplat",
    "ebsynth": "EbSynth",
    "ebsynth cli": "EbSynth (command)",
    "ebsynth folder": "EbSynth (its window)",
}
"""Names that are not written word by word with capitals."""


def lines_of(text: str, width: int) -> list[str]:
    """``text`` broken at spaces into lines of at most ``width`` characters.

    A word that is longer, such as a path, is cut.
    """
    lines: list[str] = []
    for word in text.split():
        while len(word) > width:
            lines.append(word[:width])
            word = word[width:]
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    return lines


def spoken(text: str) -> str:
    """A sentence of the program with the panel's names: ``--samples`` becomes "Samples"."""
    known = {flag(name): label(name) for name in names()}
    return re.sub(r"--[a-z][a-z0-9-]*", lambda found: known.get(found[0], found[0]), text)


def label(name: str) -> str:
    """A setting's name, or a choice, as panels write it."""
    words = name.replace("_", " ").replace("-", " ")
    return SPELLED.get(words, words.title())


def draw_text(layout: Any, text: str, icon: str = "NONE", width: int = 34) -> None:
    """A sentence over several labels, the icon before the first, with the panel's names."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    for line in lines_of(spoken(text), width):
        column.label(text=line, icon=icon)
        icon = "BLANK1" if icon != "NONE" else icon

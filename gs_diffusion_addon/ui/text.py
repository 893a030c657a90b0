"""Sentences in panels, whose labels do not wrap by themselves."""

from __future__ import annotations

import functools
import re
from typing import Any

import bpy

from ..core.settings import flag, kind, knob, names

PREFERENCES = "Preferences > Add-ons > GS Diffusion"

SPELLED = {
    "cfg scale": "CFG Scale",
    "vae": "VAE",
    "clip model": "CLIP Model",
    "clip source": "CLIP Source",
    "sh degree": "SH Degree",
    "hdri": "HDRI",
    "a1111": "AUTOMATIC1111",
    "diffusers local": "Diffusers (local)",
    "gsplat": "gsplat",
    "opensplat": "OpenSplat",
    "ebsynth": "EbSynth",
    "ebsynth cli": "EbSynth (command)",
    "ebsynth folder": "EbSynth (its window)",
    "ebsynth timeout": "EbSynth Timeout",
}
"""Names that are not written word by word with capitals."""


USUAL_SIDEBAR, LETTER = 280, 6.7  # px, at scale 1
LEAST_LETTERS = 12

PHRASES = (
    (r"do 'gsd run … --until turntable' and name that run with --out, or ", ""),
    (r"; see 'gsd run --help' for all settings", ""),
    (r"leave that stage out with --until report", "press Make Report, which leaves that stage out"),
    (r"\bAdd --redo\b", "Press that stage's button"),
    (r"\badd --redo\b", "press that stage's button"),
    (r"\banother --out\b", "another folder under Runs"),
    (r"\ban --out\b", "a folder under Runs"),
    (r"\b(with|for) --out\b", "under Runs"),
    (r"\brun 'gsd check'", f"press Check Again under {PREFERENCES}"),
    (r"'gsd check'", f"Check Again under {PREFERENCES}"),
    (r"\(gsd splat prune\)", "(Prune)"),
    (r"--view\b", "View"),
)
"""What sentences say to somebody at a command line, and what that is to somebody at the panel."""


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


@functools.lru_cache(maxsize=256)  # panels are drawn often
def spoken(text: str) -> str:
    """A sentence of the program with the panel's names: ``--samples`` becomes "Samples"."""
    for pattern, words in PHRASES:
        text = re.sub(pattern, words, text)
    for name in names():
        for choice in knob(name).choices:
            text = re.sub(
                rf"{flag(name)} {choice}\b", f"{label(name)} {label(choice)}".strip(), text
            )
    known = {flag(name): label(name) for name in names()}
    off = {flag(name).replace("--", "--no-"): label(name) for name in names() if kind(name) is bool}
    for word, switch in off.items():
        text = text.replace(f"use {word}", f"switch off {switch}")
    return re.sub(r"--[a-z][a-z0-9-]*", lambda found: known.get(found[0], found[0]), text)


def tell(operator: Any, kind: str, said: object) -> None:
    """Let an operator report a sentence of the program (INFO, WARNING, ERROR), as the panel would
    say it; Blender shows errors at the mouse.
    """
    operator.report({kind}, spoken(str(said)))


def label(name: str) -> str:
    """A setting's name, or a choice, as panels write it."""
    words = name.replace("_", " ").replace("-", " ")
    return SPELLED.get(words, words.title())


def letters(width: int, region: Any, scale: float) -> int:
    """How many letters fit into a sidebar's line where ``width`` do in one of the usual width.

    ``scale`` is that of Blender's interface. Other regions have room enough.
    """
    if region is None or region.type != "UI":
        return width
    return max(LEAST_LETTERS, width + round((region.width / scale - USUAL_SIDEBAR) / LETTER))


def draw_text(layout: Any, text: str, icon: str = "NONE", width: int = 34) -> None:
    """A sentence over several labels, the icon before the first, with the panel's names."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    scale = bpy.context.preferences.system.ui_scale
    for line in lines_of(spoken(text), letters(width, bpy.context.region, scale)):
        column.label(text=line, icon=icon)
        icon = "BLANK1" if icon != "NONE" else icon

"""Sentences in panels, whose labels do not wrap by themselves."""

from __future__ import annotations

from typing import Any


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


def draw_text(layout: Any, text: str, icon: str = "NONE", width: int = 34) -> None:
    """A sentence over several labels, the icon before the first."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    for line in lines_of(text, width):
        column.label(text=line, icon=icon)
        icon = "BLANK1" if icon != "NONE" else icon

"""The report's curves over the iterations: line charts as SVG inside the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .report_html import Child, Html, h

COLORS = ("one", "two", "three", "four")  # classes of the style sheet
LEFT, RIGHT, TOP, BOTTOM = 44.0, 276.0, 12.0, 138.0  # of the plotted area, in the SVG's units
MOST_LABELS = 10
LINE_HEIGHT = 12.0


@dataclass(frozen=True)
class Curve:
    """Up to four lines of values over the iterations; None where one is missing.

    No value can be below ``least`` or above ``most`` (None: no such bound), nor is the axis.
    """

    title: str
    lines: Sequence[tuple[str, Sequence[float | None]]]
    least: float | None = 0.0
    most: float | None = None


def curves(curves: Sequence[Curve]) -> Child:
    """The section of all charts; None without one."""
    if not curves:
        return None
    return [
        h("h2", "Over the iterations", id="curves"),
        h("div", [_figure(c) for c in curves], class_="curves"),
    ]


def ticks(curve: Curve) -> list[float]:
    """Round values for the axis, from below the lowest value to above the highest.

    Never beyond the curve's bounds; from zero where the values come near it; and never so close
    that a hair's breadth looks like a cliff.
    """
    values = [v for _, line in curve.lines for v in line if v is not None]
    low, high = min(values), max(values)
    if curve.least == 0.0 and 0 <= low <= 0.5 * high:
        low = 0.0
    room = max(0.08 * abs(high) - (high - low), 0.0) / 2
    low, high = low - room, high + room
    if curve.least is not None:
        low = max(low, min(curve.least, min(values)))
    if curve.most is not None:
        high = min(high, max(curve.most, max(values)))
    step = _round_step((high - low) / 4 or 1.0)
    first = math.floor(low / step + 1e-6)
    last = max(math.ceil(high / step - 1e-6), first + 1)
    return [step * k for k in range(first, last + 1)]


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, … (or those by a power of ten) that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= least * (1 - 1e-9))


def _figure(curve: Curve) -> Html:
    return h("figure", h("figcaption", curve.title, _legend(curve)), _plot(curve))


def _plot(curve: Curve) -> Html:
    """Line chart as SVG, iterations from 1 along x."""
    marks = ticks(curve)
    low, high = marks[0], marks[-1]
    digits = max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9))
    count = max(len(line) for _, line in curve.lines)

    def at(k: int, value: float) -> tuple[float, float]:
        x = LEFT + (RIGHT - LEFT) * (k / max(count - 1, 1))
        return round(x, 1), round(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low), 1)

    parts: list[Child] = []
    for mark in marks:
        y = at(0, mark)[1]
        parts.append(h("line", x1=f"{LEFT:g}", x2=f"{RIGHT:g}", y1=str(y), y2=str(y)))
        parts.append(h("text", f"{mark:.{digits}f}", x=LEFT - 7, y=str(y + 4), text_anchor="end"))
    every = math.ceil(count / MOST_LABELS)
    parts += [
        h("text", str(k + 1), x=str(at(k, low)[0]), y=BOTTOM + 17, text_anchor="middle")
        for k in range(0, count, every)
    ]
    ends = []
    for color, (name, line) in zip(COLORS, curve.lines, strict=False):
        dots = [(k, v, *at(k, v)) for k, v in enumerate(line) if v is not None]
        if not dots:
            continue
        points = " ".join(f"{x},{y}" for _, _, x, y in dots)
        parts.append(h("polyline", points=points, class_=color))
        for k, value, x, y in dots:
            said = h("title", f"{name}, iteration {k + 1}: {value:.4g}")
            parts.append(h("circle", said, cx=str(x), cy=str(y), r=3, class_=color))
        ends.append((dots[-1][3], color, f"{dots[-1][1]:.{digits + 1}f}"))
    parts += [
        h("text", text, x=RIGHT + 8, y=str(y + 4), class_=f"end {color}")
        for y, color, text in _apart(ends)
    ]
    label = "; ".join([curve.title, *(_told(name, line) for name, line in curve.lines)])
    return h("svg", parts, viewBox="0 0 322 160", role="img", aria_label=label)


def _apart(ends: Sequence[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Labels at the lines' ends, moved down where they would lie on each other."""
    out: list[tuple[float, str, str]] = []
    for y, color, text in sorted(ends):
        lowest = out[-1][0] + LINE_HEIGHT if out else y
        out.append((max(y, lowest), color, text))
    return out


def _told(name: str, line: Sequence[float | None]) -> str:
    """A line in words, for those who hear the page."""
    values = [v for v in line if v is not None]
    return f"{name} from {values[0]:.4g} to {values[-1]:.4g}" if values else f"{name} not measured"


def _legend(curve: Curve) -> Child:
    if len(curve.lines) < 2:
        return None
    named = zip(COLORS, curve.lines, strict=False)
    return h("div", [h("span", h("i", class_=color), label) for color, (label, _) in named])

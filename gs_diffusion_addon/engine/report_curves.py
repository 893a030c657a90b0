"""The report's curves over the iterations: line charts as SVG inside the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .report_html import Child, Html, h

COLORS = ("one", "two", "three", "four")  # classes of the style sheet


@dataclass(frozen=True)
class Curve:
    """Up to four lines of values over the iterations; None where one is missing."""

    title: str
    lines: Sequence[tuple[str, Sequence[float | None]]]


def curves(curves: Sequence[Curve]) -> Child:
    """The section of all charts; None without one."""
    if not curves:
        return None
    return [
        h("h2", "Over the iterations"),
        h(
            "div",
            [h("figure", _plot(c), h("figcaption", c.title, _legend(c))) for c in curves],
            class_="curves",
        ),
    ]


def _plot(curve: Curve) -> Html:
    """Line chart as SVG, iterations from 1 along x."""
    values = [v for _, line in curve.lines for v in line if v is not None]
    low, high = min(values), max(values)
    # A margin of the value itself, too, so that a hair's breadth does not look like a cliff.
    pad = max((high - low) * 0.12, abs(high) * 0.03) or 1.0
    low, high = low - pad, high + pad
    count = max(len(line) for _, line in curve.lines)

    def at(k: int, value: float) -> tuple[float, float]:
        x = 46 + 250 * (k / max(count - 1, 1))
        return round(x, 1), round(12 + 118 * (1 - (value - low) / (high - low)), 1)

    parts: list[Child] = []
    for value in (low, high):
        y = at(0, value)[1]
        parts.append(h("line", x1=46, x2=296, y1=str(y), y2=str(y)))
        parts.append(h("text", f"{value:.3g}", x=40, y=str(y + 4), text_anchor="end"))
    parts += [
        h("text", str(k + 1), x=str(at(k, low)[0]), y=148, text_anchor="middle")
        for k in range(count)
    ]
    for color, (_, line) in zip(COLORS, curve.lines, strict=False):
        dots = [at(k, v) for k, v in enumerate(line) if v is not None]
        points = " ".join(f"{x},{y}" for x, y in dots)
        parts.append(h("polyline", points=points, class_=color))
        parts += [h("circle", cx=str(x), cy=str(y), r=3, class_=color) for x, y in dots]
    return h("svg", parts, viewBox="0 0 312 154", role="img", aria_label=curve.title)


def _legend(curve: Curve) -> Child:
    if len(curve.lines) < 2:
        return None
    named = zip(COLORS, curve.lines, strict=False)
    return h("div", [h("span", h("i", class_=color), label) for color, (label, _) in named])

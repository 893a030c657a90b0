"""The report's HTML, built from values; every text is escaped by :func:`h`.

Nothing here reads a file but the style sheet and the script beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .report_curves import Curve, curves
from .report_html import Child, Html, h, scrolled
from .report_incidents import incident_list
from .report_pictures import Sprite
from .report_sections import Section, section_html
from .report_viewer import Viewer, viewer_figure, viewer_scripts


@dataclass(frozen=True)
class Card:
    """One figure: ``value`` with ``unit``, what it is, and a line on how to read it."""

    value: str
    unit: str
    label: str
    hint: str


@dataclass(frozen=True)
class WarpRow:
    """A line of the consistency table: each cell a value and its ratio to the source's."""

    label: str
    cells: Sequence[tuple[str, str]]
    best: bool = False


@dataclass(frozen=True)
class SettingRow:
    """A line of the settings table."""

    flag: str
    value: str
    help: str
    changed: bool


@dataclass(frozen=True)
class Page:
    """Everything the report says; ``earlier`` are the splats of earlier iterations, shown small."""

    title: str
    subtitle: str
    negative: str
    note: str
    spins: Sequence[tuple[str, Sprite]]
    earlier: Sequence[tuple[str, Sprite]]
    cards: Sequence[Card]
    warp_heads: Sequence[str]
    warp: Sequence[tuple[str, Sequence[WarpRow]]]
    warp_text: str
    curves: Sequence[Curve]
    sections: Sequence[Section]
    seconds: Sequence[tuple[str, float]]
    settings: Sequence[tuple[str, Sequence[SettingRow]]]
    versions: Sequence[tuple[str, str]]
    command: str
    footer: str
    quality: Sequence[Sequence[str]] = field(default=())
    incidents: Sequence[str] = field(default=())
    viewer: Viewer | None = None


def render(page: Page) -> str:
    """The whole file."""
    here = Path(__file__)
    style = Html(here.with_name("report.css").read_text(encoding="utf-8"))
    script = Html(here.with_name("report.js").read_text(encoding="utf-8"))
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("title", f"{page.title} — GS Diffusion"),
        h("style", style),
    )
    body = h(
        "body",
        h("header", _header(page)),
        h(
            "main",
            _stage(page.spins, page.earlier),
            h("div", [_card(c) for c in page.cards], class_="cards"),
            viewer_figure(page.viewer),
            curves(page.curves),
            h("div", [section_html(s) for s in page.sections], id="pictures"),
            _consistency(page),
            _held_out(page.quality),
            _bars(page.seconds),
            incident_list(list(page.incidents)),
            _settings(page.settings),
            _reproduce(page),
        ),
        h("footer", page.footer),
        viewer_scripts(page.viewer),
        h("script", script),
    )
    return "<!doctype html>\n" + h("html", head, body, lang="en") + "\n"


def _header(page: Page) -> list[Child]:
    long = {"class_": "long"} if len(page.title) > 90 else {}
    return [
        h("p", "GS Diffusion · report of a run", class_="eyebrow"),
        h("h1", page.title, **long),
        h("p", page.subtitle, class_="soft"),
        h("p", h("b", "Kept out: "), page.negative, class_="soft") if page.negative else None,
        h("p", page.note, class_="note") if page.note else None,
        h("nav", [h("a", text, href=f"#{place}") for text, place in _places(page)]),
    ]


def _places(page: Page) -> list[tuple[str, str]]:
    """What the page has, and the elements it begins at."""
    parts = [
        ("3-D", "splat", page.viewer),
        ("Curves", "curves", page.curves),
        ("Pictures", "pictures", page.sections),
        ("Consistency", "consistency", page.warp),
        ("Settings", "settings", True),
        ("Do it again", "again", True),
    ]
    return [(text, place) for text, place, there in parts if there]


def _stage(spins: Sequence[tuple[str, Sprite]], earlier: Sequence[tuple[str, Sprite]]) -> Child:
    """Pictures that turn together; without a script the first view stands still."""
    if not spins:
        return None
    last = min(s.count for _, s in [*spins, *earlier]) - 1
    slider = h(
        "input",
        type="range",
        class_="turn",
        min=0,
        max=last,
        value=0,
        aria_label="Turn the model",
    )
    film = None
    if earlier:
        shown = h("div", [_spin(label, s) for label, s in earlier], class_="film")
        film = h("section", shown, tabindex=0, aria_label="Splats of earlier iterations")
    return [
        h("div", [_spin(label, s) for label, s in spins], class_="stage"),
        h(
            "div",
            h("button", "Turn", type="button", class_="play", hidden=""),
            slider,
            class_="turning",
        ),
        film,
    ]


def _spin(label: str, s: Sprite) -> Html:
    style = (
        f"aspect-ratio:{s.width}/{s.height};background-image:url({s.uri});"
        f"background-size:{100 * s.columns}% {100 * s.rows}%"
    )
    turning = h(
        "div",
        style=style,
        data_columns=s.columns,
        data_rows=s.rows,
        role="img",
        aria_label=label,
    )
    return h("figure", h("div", turning, class_="spin"), h("figcaption", label))


def _card(card: Card) -> Html:
    unit = [" ", h("small", card.unit)] if card.unit else None
    return h(
        "div",
        h("b", card.value, unit),
        h("span", card.label),
        h("i", card.hint) if card.hint else None,
        class_="card",
    )


def _consistency(page: Page) -> list[Child]:
    if not page.warp:
        return []
    heads = h("tr", h("th"), [h("th", t, class_="number", scope="col") for t in page.warp_heads])
    body: list[Child] = []
    for title, rows in page.warp:
        if title:
            spanned = h("th", title, colspan=len(page.warp_heads) + 1)
            body.append(h("tr", spanned, class_="group"))
        body += [_warp_row(row) for row in rows]
    table = h("table", h("thead", heads), h("tbody", body), class_="data")
    return [
        h("h2", "Consistency between views", id="consistency"),
        h("p", page.warp_text),
        scrolled(table, "Consistency between views"),
        h(
            "p",
            "Warp error × 10⁴: mean squared difference, on a scale of 0 to 1, of the same surface "
            "points in two views, found through the exact geometry; small is good. In gray, the "
            "same over the unstyled render's own, which is not zero either: highlights move.",
            class_="soft",
        ),
    ]


def _warp_row(row: WarpRow) -> Html:
    cells = [
        h("td", raw, " ", h("small", f"× {ratio}" if ratio else ""), class_="number")
        for raw, ratio in row.cells
    ]
    return h(
        "tr", h("th", row.label, scope="row"), cells, **({"class_": "best"} if row.best else {})
    )


def _held_out(rows: Sequence[Sequence[str]]) -> list[Child]:
    """``rows``: which views, their number, PSNR, PSNR inside the silhouette, SSIM."""
    if not rows:
        return []
    names = ("Views", "frames", "PSNR, whole picture", "PSNR, inside the silhouette", "SSIM")
    head = h("tr", [h("th", n, **({"class_": "number"} if k else {})) for k, n in enumerate(names)])
    body = [
        h("tr", h("th", row[0], scope="row"), [h("td", v, class_="number") for v in row[1:]])
        for row in rows
    ]
    table = h("table", h("thead", head), h("tbody", body), class_="data")
    return [
        h("h2", "The splat on views it was not trained on"),
        h(
            "p",
            "Renders of the splat against the restyled frames of the held-out views, in decibels "
            "(more is better).",
        ),
        scrolled(table, "Held-out views"),
    ]


def _bars(seconds: Sequence[tuple[str, float]]) -> list[Child]:
    if not seconds:
        return []
    longest = max(s for _, s in seconds) or 1.0
    cells: list[Child] = []
    for label, value in seconds:
        bar = h("i", style=f"width:{100 * value / longest:.1f}%")
        cells += [h("span", label), h("div", bar), h("span", duration(value))]
    total = sum(s for _, s in seconds)
    return [
        h("h2", "Time"),
        h("p", f"{duration(total)} in all, not counting this report and the import into Blender."),
        h("div", cells, class_="bars"),
    ]


def duration(seconds: float) -> str:
    """``75.2`` -> ``1 min 15 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _settings(groups: Sequence[tuple[str, Sequence[SettingRow]]]) -> list[Child]:
    """What was set stands open, the whole list is folded."""
    changed = [(title, [r for r in rows if r.changed]) for title, rows in groups]
    changed = [(title, rows) for title, rows in changed if rows]
    out: list[Child] = [h("h2", "Settings", id="settings")]
    if changed:
        out += [h("p", "What was set for this run:"), _settings_table(changed)]
    return [
        *out,
        h("details", h("summary", "All settings"), _settings_table(groups), class_="printed"),
    ]


def _settings_table(groups: Sequence[tuple[str, Sequence[SettingRow]]]) -> Html:
    body: list[Child] = []
    for title, rows in groups:
        body.append(h("tr", h("th", title, colspan=3), class_="group"))
        for row in rows:
            cells = h("td", h("code", row.flag)), h("td", row.value), h("td", row.help)
            body.append(h("tr", *cells, **({"class_": "changed"} if row.changed else {})))
    head = h("tr", [h("th", t) for t in ("Setting", "Value", "What it does")])
    table = h("table", h("thead", head), h("tbody", body), class_="data settings")
    return scrolled(table, "Settings")


def _reproduce(page: Page) -> list[Child]:
    rows = [h("tr", h("th", k, scope="row"), h("td", v)) for k, v in page.versions]
    return [
        h("h2", "Do it again", id="again"),
        h("p", "The same command makes the same run; in the same folder it continues it."),
        h("pre", page.command),
        h("h3", "Made with") if rows else None,
        scrolled(h("table", h("tbody", rows), class_="data"), "Versions") if rows else None,
    ]

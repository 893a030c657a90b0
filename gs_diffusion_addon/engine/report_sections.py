"""The report's sections of single iterations: strips of the same views, key pages, heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .report_html import Child, Html, h, scrolled
from .report_pictures import Picture


@dataclass(frozen=True)
class StripRow:
    """A row of pictures, one a view; None leaves a cell empty."""

    label: str
    cells: Sequence[Picture | None]


@dataclass(frozen=True)
class Strip:
    """Pictures of the same views, one row a kind; ``heads`` name the views."""

    heads: Sequence[str]
    rows: Sequence[StripRow]


@dataclass(frozen=True)
class Section:
    """An iteration: its strips, its key pages before and after, and its named heat maps; a
    ``folded`` one is opened by a click.
    """

    title: str
    text: str
    strips: Sequence[tuple[str, Strip]]
    pages: Sequence[tuple[Picture, Picture | None]]
    heat: Sequence[tuple[str, Picture]] = field(default=())
    folded: bool = False


def section_html(section: Section) -> Child:
    """The section, as a folder with the title on it if it is folded."""
    if section.folded:
        return h("details", h("summary", section.title), _content(section), class_="iteration")
    return [h("h2", section.title), _content(section)]


def _content(section: Section) -> list[Child]:
    out: list[Child] = [h("p", section.text, class_="soft")]
    for title, strip in section.strips:
        out += [h("h3", title) if title else None, _strip(strip, title or section.title)]
        if any(row.label == "Difference" for row in strip.rows):
            out.append(_scale("no difference", "a quarter of the scale from 0 to 1, or more"))
    if section.pages:
        first, *more = section.pages
        out.append(h("h3", "Keyframe pages, as sent to the stylizer and as they came back"))
        out.append(_pages(*first))
        if more:
            count = "one more page" if len(more) == 1 else f"{len(more)} more pages"
            shown = [_pages(before, after) for before, after in more]
            out.append(h("details", h("summary", count[0].upper() + count[1:]), shown))
    if section.heat:
        out.append(h("h3", "Heat maps"))
        maps = [h("figure", _image(p, name), h("figcaption", name)) for name, p in section.heat]
        out.append(h("div", maps, class_="pages"))
    return out


def _strip(strip: Strip, name: str) -> Html:
    head = h("tr", h("td"), [h("th", text, scope="col") for text in strip.heads])
    rows = []
    for row in strip.rows:
        cells = [
            h("td", _image(p, f"{row.label}, {view}") if p else None)
            for p, view in zip(row.cells, strip.heads, strict=True)
        ]
        rows.append(h("tr", h("th", row.label, scope="row"), cells))
    return scrolled(h("table", h("thead", head), h("tbody", rows), class_="strip"), name)


def _scale(least: str, most: str) -> Html:
    """What the colors of the heat maps say."""
    return h("p", h("span", least), h("i"), h("span", most), class_="scale soft")


def _image(picture: Picture, label: str) -> Html:
    return h("img", src=picture.uri, width=picture.width, height=picture.height, alt=label)


def _pages(before: Picture, after: Picture | None) -> Html:
    second = (
        h("figure", _image(after, "Restyled page"), h("figcaption", "after")) if after else None
    )
    first = h("figure", _image(before, "Page of keyframes"), h("figcaption", "before"))
    return h("div", first, second, class_="pages")

"""HTML from values: elements whose text and attributes are always escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | None | Iterable["Child"]

_VOID = {"img", "input", "meta"}


def h(tag: str, *children: Child, **attributes: str | int) -> Html:
    """An element; children are escaped unless they are Html, ``class_`` stands for class."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
    )
    if tag in _VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{_join(children)}</{tag}>")


def scrolled(table: Html, name: str) -> Html:
    """A table that may be wider than the page; ``name`` is said when it is reached by keyboard."""
    return h("div", table, class_="scroll", tabindex=0, role="region", aria_label=name)


def _join(children: Iterable[Child]) -> str:
    parts = []
    for child in children:
        if isinstance(child, Html):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(html.escape(child))
        elif child is not None:
            parts.append(_join(child))
    return "".join(parts)

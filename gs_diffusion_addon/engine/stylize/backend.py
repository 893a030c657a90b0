"""What every stylizer is: a function from a page to a restyled page of the same size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..images import Bytes

Report = Callable[[float, float | None], None]
"""Told the share of a page that is done (0..1) and the seconds it still needs, if known."""


@dataclass(frozen=True, eq=False)
class Styled:
    """A restyled page (H, W, 3) uint8, and what to store with it in the PNG's text."""

    pixels: Bytes
    text: Mapping[str, str] = field(default_factory=dict)


class Stylizer(Protocol):
    """Restyles pages.

    ``page``: (H, W, 3) uint8, sides multiples of 8; ``grid``: its columns and rows of equal cells.
    The same page gives the same result. Raises GsdError.
    """

    def __call__(self, page: Bytes, grid: tuple[int, int], report: Report) -> Styled: ...

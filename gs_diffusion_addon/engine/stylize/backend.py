"""What every stylizer is: a function from a page to a restyled page of the same size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ...core.a1111_control import Unit
from ..images import Bytes


class Report(Protocol):
    """Told the share of a page that is done (0..1) and the seconds it still needs, if known.

    ``picture``: the unfinished page (H, W, 3) uint8 of any size, now and then.
    """

    def __call__(
        self, share: float, eta: float | None, picture: Bytes | None = None, /
    ) -> None: ...


@dataclass(frozen=True, eq=False)
class Styled:
    """A restyled page (H, W, 3) uint8, and what to store with it in the PNG's text."""

    pixels: Bytes
    text: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Hints:
    """What is known of a page besides its picture.

    ``controls``: ControlNet units with their control images (H, W, 3) uint8, as large as the page.
    ``mask``: (H, W) uint8, 255 where the page is to be repainted and 0 where it must stay, None
    for everywhere. ``view``: where the camera stands, in words for the prompt, or "".
    """

    controls: tuple[tuple[Unit, Bytes], ...] = ()
    mask: Bytes | None = None
    view: str = ""


NO_HINTS = Hints()


class Stylizer(Protocol):
    """Restyles pages.

    ``page``: (H, W, 3) uint8, sides multiples of 8; ``grid``: its columns and rows of equal cells.
    The same page gives the same result. A stylizer that cannot use a hint does without it. Raises
    GsdError. One with a method ``cancel()`` is told to stop from another thread that way.
    """

    def __call__(
        self, page: Bytes, grid: tuple[int, int], report: Report, hints: Hints = NO_HINTS
    ) -> Styled: ...

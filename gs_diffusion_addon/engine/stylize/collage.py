"""Keyframes to collage pages and back: N×N neighbors restyled in one picture agree with each other.

A *page* is a grid of equal *cells*; every frame is scaled evenly into its cell (nothing is
stretched), with background on both sides where the cell is a little larger. All sides are
multiples of 8, because diffusion works on an 8 times smaller grid and servers cut other sizes
down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...core.orbit import CELL_GRAIN, cell_room, plan_keys, split_pages
from ...core.settings import Settings
from ...core.values import parse_size
from ..images import Bytes, resized, to_bytes


@dataclass(frozen=True)
class Layout:
    """How frames lie in cells.

    ``width``, ``height``: the frame; ``inner_width``, ``inner_height``: the frame inside its cell;
    ``cell_width``, ``cell_height``: the cell (multiples of 8); all in pixels.
    """

    width: int
    height: int
    inner_width: int
    inner_height: int
    cell_width: int
    cell_height: int

    @property
    def corner(self) -> tuple[int, int]:
        """Left and top of the frame inside its cell: the surplus is shared by both sides."""
        return (
            (self.cell_width - self.inner_width) // 2,
            (self.cell_height - self.inner_height) // 2,
        )


@dataclass(frozen=True)
class Page:
    """One collage page: its number, the frames on it in reading order, and its grid."""

    number: int
    frames: tuple[int, ...]
    columns: int
    rows: int

    def size(self, layout: Layout) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.columns * layout.cell_width, self.rows * layout.cell_height


def plan_layout(width: int, height: int, sides: int, page_size: int, enlarge: bool) -> Layout:
    """The cells of ``sides`` × ``sides`` pages whose longest side is ``page_size`` pixels.

    ``enlarge`` says whether a frame smaller than its cell is scaled up to it: a diffusion model
    works best at the size it was trained at, whatever the frames' size; for other stylizers that
    would cost time and sharpness, so their frames stay at their own size. Raises InputError for
    cells too small to show a frame.
    """
    longest = max(width, height)
    scale = cell_room(longest, sides, page_size) / longest
    if not enlarge:
        scale = min(scale, 1.0)
    inner = [max(1, round(side * scale)) for side in (width, height)]
    cell = [math.ceil(side / CELL_GRAIN) * CELL_GRAIN for side in inner]
    return Layout(width, height, inner[0], inner[1], cell[0], cell[1])


def largest_side(settings: Settings, enlarge: bool) -> int:
    """Pixels of the longest side of any page of a run; raises InputError."""
    layout = plan_layout(*parse_size(settings.size), settings.sides, settings.page_size, enlarge)
    if settings.sequential:
        return max(layout.cell_width, layout.cell_height)
    pages = plan_pages(plan_keys(settings), settings.sides)
    return max(max(page.size(layout)) for page in pages)


def plan_pages(frames: Sequence[int], sides: int) -> list[Page]:
    """The pages of ``frames`` (:func:`orbit.split_pages`) with their grids.

    A page that is not full gets the smallest grid for its frames at the same cell size, so models
    are equally large everywhere.
    """
    pages = []
    for number, members in enumerate(split_pages(frames, sides)):
        columns = math.isqrt(len(members) - 1) + 1
        pages.append(Page(number, tuple(members), columns, math.ceil(len(members) / columns)))
    return pages


def compose(
    page: Page,
    layout: Layout,
    pictures: Sequence[Bytes],
    background: Sequence[float],
    scale: Callable[[Bytes, int, int], Bytes] = resized,
) -> Bytes:
    """Lay ``pictures`` ((H, W, 3) uint8, one a frame of ``page``) into a page (H, W, 3) uint8.

    ``scale`` resamples a picture to a width and height.
    """
    width, height = page.size(layout)
    sheet = np.empty((height, width, 3), np.uint8)
    sheet[:] = to_bytes(background)
    for place, picture in enumerate(pictures):
        x, y = _corner(page, layout, place)
        sheet[y : y + layout.inner_height, x : x + layout.inner_width] = scale(
            picture, layout.inner_width, layout.inner_height
        )
    return sheet


def cut(page: Page, layout: Layout, sheet: Bytes) -> list[Bytes]:
    """Take the frames (H, W, 3) uint8 out of a page again, each at the frame's own size."""
    frames = []
    for place in range(len(page.frames)):
        x, y = _corner(page, layout, place)
        cell = sheet[y : y + layout.inner_height, x : x + layout.inner_width]
        frames.append(np.ascontiguousarray(resized(cell, layout.width, layout.height)))
    return frames


def _corner(page: Page, layout: Layout, place: int) -> tuple[int, int]:
    row, column = divmod(place, page.columns)
    left, top = layout.corner
    return column * layout.cell_width + left, row * layout.cell_height + top

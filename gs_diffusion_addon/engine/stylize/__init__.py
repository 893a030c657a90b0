"""The stylize stage: keyframes → collage pages → a stylizer → restyled keyframes.

Stylizers are modules of this package with ``ENLARGE`` (whether small frames are scaled up to their
cells), ``check(settings)`` (what is missing, in a sentence, or None) and ``start(settings,
emit)`` (a :class:`~.backend.Stylizer`).

Sources are transparent; they are laid on one plain *backdrop* for the whole iteration, halfway
between middle gray and the model's mean color. A stylizer sees the backdrop too: diffusion
continues colors across the silhouette, and style networks set their contrast by the whole
picture. Near the model's own color, silhouettes get no foreign fringe and the model gets the
contrast (on plain gray, bronze came out as plaster); all the way there, the model's outline would
drown.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np

from ...core.errors import InputError, StageError
from ...core.events import Emit
from ...core.orbit import plan_keys
from ...core.run import Run, read_json, write_bytes, write_json
from ...core.settings import Settings
from ..images import GRAY, Bytes, over, read_rgb, read_rgba, to_bytes, write_png
from .backend import Report, Stylizer
from .collage import Layout, Page, compose, cut, plan_layout, plan_pages

STYLIZERS = ("preview", "a1111")
Color = tuple[float, float, float]


def module_of(name: str) -> ModuleType:
    """The module of the stylizer called ``name``; raises InputError."""
    if name not in STYLIZERS:
        raise InputError(f"There is no stylizer {name!r}; there are {', '.join(STYLIZERS)}.")
    return importlib.import_module(f".{name}", __package__)


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Restyle the keyframes, and, if asked to, every frame of ring 0 on its own for comparison.

    Writes iterK/input, output, keys and independent. What is there already is kept: a page that
    came back is never asked for twice. Raises GsdError.
    """
    stage = _Stage(run, settings, emit)
    for page in plan_pages(plan_keys(settings), settings.sides):
        stage.restyle_page(page)
    if wants_independent(settings):
        for k in range(settings.views):
            stage.restyle_alone(k)


def wants_independent(settings: Settings) -> bool:
    """Whether ring 0 is also restyled frame by frame; auto: with stylizers that cost little."""
    if settings.compare_independent == "auto":
        return settings.stylizer == "preview"
    return settings.compare_independent == "yes"


def backdrop(sources: Iterable[Bytes]) -> Color:
    """The plain color behind ``sources`` ((H, W, 4) uint8): halfway from gray to their mean."""
    total, weight = np.zeros(3), 0.0
    for rgba in sources:
        alpha = rgba[..., 3].astype(np.float64) / 255
        total += np.einsum("hwc,hw->c", rgba[..., :3].astype(np.float64) / 255, alpha)
        weight += float(alpha.sum())
    color = np.array(GRAY) if weight == 0 else (total / weight + GRAY) / 2
    red, green, blue = (round(float(c), 4) for c in color)
    return red, green, blue


class _Stage:
    """The state of one pass: what is done, and the stylizer once it is needed."""

    def __init__(self, run: Run, settings: Settings, emit: Emit) -> None:
        self.run, self.settings, self.emit = run, settings, emit
        self.module = module_of(settings.stylizer)
        self.frames = plan_keys(settings)
        height, width = read_rgba(run.source(self.frames[0])).shape[:2]
        self.layout = plan_layout(
            width, height, settings.sides, settings.page_size, self.module.ENLARGE
        )
        self._stylizer: Stylizer | None = None
        self._backdrop: Color | None = None
        wanted = [run.key(k) for k in self.frames]
        if wants_independent(settings):
            wanted += [self.alone(k) for k in range(settings.views)]
        self.total = len(wanted)
        self.first = self.done = sum(path.exists() for path in wanted)
        self.shown = float(self.done)
        self.began = time.monotonic()

    def alone(self, k: int) -> Path:
        """Ring 0's frame restyled on its own."""
        return self.run.independent / f"r_{k}.png"

    @property
    def stylizer(self) -> Stylizer:
        """Started when the first page needs it: a finished stage resumes without a server."""
        if self._stylizer is None:
            self._stylizer = self.module.start(self.settings, self.emit)
        return self._stylizer

    @property
    def backdrop(self) -> Color:
        """The iteration's backdrop; written down, since resuming must find the same."""
        path = self.run.input / "backdrop.json"
        if self._backdrop is None and not path.exists():
            color = backdrop(checked(self.run.source(k), self.layout) for k in self.frames)
            write_json(path, {"color": color})
        if self._backdrop is None:
            red, green, blue = read_json(path)["color"]
            self._backdrop = (red, green, blue)
        return self._backdrop

    def restyle_page(self, page: Page) -> None:
        """Have a page restyled and cut its keys, as far as either is still to be done."""
        if all(self.run.key(k).exists() for k in page.frames):
            return
        for k, pixels in zip(page.frames, cut(page, self.layout, self.output(page)), strict=True):
            if not self.run.key(k).exists():
                write_png(self.run.key(k), pixels)
                self.finished(self.run.key(k), frame=k)

    def output(self, page: Page) -> Bytes:
        """The restyled page: from the disk, else from the stylizer."""
        path = self.run.output / f"{page.number:05d}-input{page.number}.png"
        width, height = page.size(self.layout)
        if path.exists():
            pixels = read_rgb(path)
            if pixels.shape[:2] != (height, width):
                raise StageError(
                    f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels instead of "
                    f"{width}x{height}; delete it to have it made again."
                )
            return pixels
        styled = self.stylizer(
            self.input(page), (page.columns, page.rows), self.reporter(len(page.frames))
        )
        write_png(path, styled.pixels, styled.text)
        self.emit("frame_done", page=page.number, path=self.relative(path))
        return styled.pixels

    def input(self, page: Page) -> Bytes:
        """The page to restyle, from the disk or made of its sources."""
        path = self.run.input / f"input{page.number}.png"
        if path.exists():
            return read_rgb(path)
        sheet = self.compose(page)
        write_png(path, sheet, {"frames": " ".join(str(k) for k in page.frames)})
        return sheet

    def compose(self, page: Page) -> Bytes:
        """The sources of a page on the backdrop."""
        pictures = [
            to_bytes(over(checked(self.run.source(k), self.layout), self.backdrop))
            for k in page.frames
        ]
        return compose(page, self.layout, pictures, self.backdrop)

    def restyle_alone(self, k: int) -> None:
        """Restyle one frame of ring 0 as a page of its own, at the size it has in a collage."""
        path = self.alone(k)
        if path.exists():
            return
        if self.settings.sides == 1 and self.run.key(k).exists():
            write_bytes(path, self.run.key(k).read_bytes())  # that page was the same
        else:
            page = Page(0, (k,), 1, 1)
            styled = self.stylizer(self.compose(page), (1, 1), self.reporter(1))
            write_png(path, cut(page, self.layout, styled.pixels)[0], styled.text)
        self.finished(path, frame=k)

    def finished(self, path: Path, frame: int) -> None:
        """Report a finished picture."""
        self.done += 1
        self.emit("frame_done", frame=frame, path=self.relative(path))
        self.report(0.0, None, image=self.relative(path))

    def reporter(self, count: int) -> Report:
        """Reports a page of ``count`` frames while it is worked on."""

        def report(share: float, eta: float | None) -> None:
            self.report(share * count, eta)

        return report

    def report(self, extra: float, eta: float | None, **fields: str) -> None:
        """Progress in frames, ``extra`` not whole yet; ``eta`` counts while no pace is known."""
        # Cutting a page's keys comes after all of it was restyled; the bar does not go back for it.
        self.shown = max(self.shown, self.done + extra)
        made = self.shown - self.first
        if made > 0:
            eta = (time.monotonic() - self.began) / made * (self.total - self.shown)
        self.emit(
            "progress", done=round(self.shown, 2), total=self.total, unit="frames",
            eta=None if eta is None else round(eta, 1), **fields,
        )  # fmt: skip

    def relative(self, path: Path) -> str:
        """As events name it."""
        return path.relative_to(self.run.root).as_posix()


def checked(path: Path, layout: Layout) -> Bytes:
    """Read a source (H, W, 4) uint8 of the layout's frame size. Raises InputError."""
    rgba = read_rgba(path)
    if rgba.shape[:2] != (layout.height, layout.width):
        raise InputError(
            f"{path} has {rgba.shape[1]}x{rgba.shape[0]} pixels, the first frame "
            f"{layout.width}x{layout.height}."
        )
    return rgba

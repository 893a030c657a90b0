"""One pass of the stylize stage over a run folder: what is done, and how a page gets done."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.a1111_control import Unit, parse_control
from ...core.errors import StageError
from ...core.events import Emit
from ...core.run import Run, read_json, write_bytes, write_json
from ...core.settings import Settings
from ..images import Bytes, over, read_rgb, read_rgba, to_bytes, write_png
from ..key_choice import settle
from . import sequential
from .backend import Hints, Report, Styled, Stylizer
from .collage import Page, compose, cut, plan_layout, plan_pages
from .control import fitted
from .geometry import Geometry, view_words
from .sources import Color, backdrop, checked, guided, guiding


class Stage:
    """The state of one pass; its methods may be called from several threads, a page each.

    ``enlarge``: see :func:`~.collage.plan_layout`; ``alone``: frames of ring 0 that are restyled
    on their own as well.
    """

    def __init__(
        self, run: Run, settings: Settings, emit: Emit, enlarge: bool, alone: Sequence[int]
    ) -> None:
        self.run, self.settings, self.emit = run, settings, emit
        self.frames = settle(run, settings, emit)
        self.units: tuple[Unit, ...] = parse_control(settings.control)
        self.sequential = settings.sequential
        self.geometry = Geometry(run, self.frames)
        height, width = read_rgba(run.source(self.frames[0])).shape[:2]
        self.layout = plan_layout(width, height, settings.sides, settings.page_size, enlarge)
        self._backdrop: Color | None = None
        self._lock = threading.RLock()
        wanted = [run.key(k) for k in self.frames] + [self.alone(k) for k in alone]
        self.total = len(wanted)
        self.first = self.done = sum(path.exists() for path in wanted)
        self.shown = float(self.done)
        self.parts: dict[int, float] = {}
        self.began = time.monotonic()

    def pages(self) -> list[Page]:
        """The pages in the order in which they are restyled; in sequential mode one a key."""
        if not self.sequential:
            return plan_pages(self.frames, self.settings.sides)
        frames = sequential.order(self.frames, self.settings.views)
        return [Page(number, (k,), 1, 1) for number, k in enumerate(frames)]

    def alone(self, k: int) -> Path:
        """Ring 0's frame restyled on its own."""
        return self.run.independent / f"r_{k}.png"

    def prepare(self) -> None:
        """Find out what all pages share, before they are worked on at once."""
        self._backdrop = self.backdrop
        if any(unit.kind == "depth" for unit in self.units):
            _ = self.geometry.near_far

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

    def restyle_page(self, page: Page, stylizer: Stylizer | None) -> bool:
        """Have a page restyled and cut its keys, as far as either is still to be done.

        Without a stylizer only what needs none is done. Returns whether all of it is there.
        """
        if all(self.run.key(k).exists() for k in page.frames):
            return True
        sheet = self.output(page, stylizer)
        if sheet is None:
            return False
        for k, pixels in zip(page.frames, cut(page, self.layout, sheet), strict=True):
            if not self.run.key(k).exists():
                write_png(self.run.key(k), guided(self.run, self.settings, k, pixels))
                self.finished(self.run.key(k), frame=k)
        return True

    def output_path(self, page: Page) -> Path:
        """Where a restyled page lies."""
        return self.run.output / f"{page.number:05d}-input{page.number}.png"

    def output(self, page: Page, stylizer: Stylizer | None) -> Bytes | None:
        """The restyled page: from the disk, else from the stylizer, if there is one."""
        path = self.output_path(page)
        width, height = page.size(self.layout)
        if path.exists():
            pixels = read_rgb(path)
            if pixels.shape[:2] != (height, width):
                raise StageError(
                    f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels instead of "
                    f"{width}x{height}; delete it to have it made again."
                )
            return pixels
        if stylizer is None:
            return None
        if self.sequential:
            styled = self.continued(page, stylizer)
        else:
            sheet = self.input(page)
            styled = self.restyle(page, sheet, stylizer, page.number)
        write_png(path, styled.pixels, styled.text)
        self.emit("frame_done", page=page.number, path=self.relative(path))
        return styled.pixels

    def restyle(
        self, page: Page, sheet: Bytes, stylizer: Stylizer, number: int, mask: Bytes | None = None
    ) -> Styled:
        """Have ``sheet`` restyled with all that is known of ``page``; keeps the control images
        of page ``number``, none for a negative one.
        """
        hints = self.hints(page, mask)
        for unit, picture in hints.controls if number >= 0 else ():
            path = self.run.input / f"input{number}-{unit.kind}.png"
            if not path.exists():
                write_png(path, picture)
        report = self.reporter(number if number >= 0 else -1 - page.frames[0], len(page.frames))
        try:
            return stylizer(sheet, (page.columns, page.rows), report, hints)
        finally:
            report(0.0, None)

    def hints(self, page: Page, mask: Bytes | None) -> Hints:
        """What is known of ``page`` besides its picture."""
        controls = self.geometry.controls(
            self.units, page, self.layout, self.compose(page), self.settings
        )
        if (splat := guiding(self.run, self.settings)) is not None:
            # With the turntable as source, tile control holds on to what the last splat shows.
            last = self.compose(page, splat)
            controls = tuple((u, last if u.kind == "tile" else c) for u, c in controls)
        for unit in self.units:
            if unit.kind == "reference" and (first := self.reference(page)) is not None:
                controls = (*controls, (unit, first))
        one = len(page.frames) == 1 and self.settings.view_prompts
        view = view_words(self.settings, page.frames[0]) if one else ""
        return Hints(controls, mask, view)

    def reference(self, page: Page) -> Bytes | None:
        """The first page that was restyled, fitted to ``page``; None for that page itself."""
        first = self.pages()[0]
        path = self.output_path(first)
        if (page.number == first.number and page.frames == first.frames) or not path.exists():
            return None
        return fitted(read_rgb(path), *page.size(self.layout), self.backdrop)

    def continued(self, page: Page, stylizer: Stylizer) -> Styled:
        """Restyle a one-frame page from what the finished keys show of its surface."""
        (number,) = page.frames
        view = self.geometry.passes(number).view
        earlier = [p.frames[0] for p in self.pages()[: page.number]]
        keys = [
            sequential.key_of(self.geometry.passes(k).view, read_rgb(self.run.key(k)))
            for k in earlier
        ]
        source = to_bytes(over(checked(self.run.source(number), self.layout), self.backdrop))
        start, keep = sequential.start_from(source, view, keys)
        path = self.run.input / f"input{page.number}.png"
        sheet = compose(page, self.layout, [start], self.backdrop)
        if not path.exists():
            write_png(path, sheet, {"frames": str(number)})
        if not keys:
            return self.restyle(page, sheet, stylizer, page.number)
        keep_page = compose(page, self.layout, [to_bytes(np.dstack([keep] * 3))], (1, 1, 1))
        mask = np.where(keep_page[..., 0] > 127, 0, 255).astype(np.uint8)
        if not mask.any():
            return Styled(sheet, {"stylizer": "reprojected from the finished keys"})
        write_png(self.run.input / f"input{page.number}-mask.png", np.dstack([mask] * 3))
        styled = self.restyle(page, sheet, stylizer, page.number, mask)
        kept = keep_page[..., :1].astype(np.float32) / 255
        pixels = sequential.finish(sheet, styled.pixels, kept[..., 0])
        return Styled(pixels, styled.text)

    def input(self, page: Page) -> Bytes:
        """The page to restyle, from the disk or made of its sources."""
        path = self.run.input / f"input{page.number}.png"
        if path.exists():
            return read_rgb(path)
        sheet = self.compose(page)
        write_png(path, sheet, {"frames": " ".join(str(k) for k in page.frames)})
        return sheet

    def compose(self, page: Page, splat: Run | None = None) -> Bytes:
        """The sources of a page, or what the splat of another iteration shows, on the backdrop."""
        place = self.run.source if splat is None else splat.render
        pictures = [
            to_bytes(over(checked(place(k), self.layout), self.backdrop)) for k in page.frames
        ]
        return compose(page, self.layout, pictures, self.backdrop)

    def restyle_alone(self, k: int, stylizer: Stylizer | None) -> bool:
        """Restyle one frame of ring 0 as a page of its own, at the size it has in a collage.

        Without a stylizer only what needs none is done. Returns whether it is there.
        """
        path = self.alone(k)
        if path.exists():
            return True
        if self.settings.sides == 1 and not self.sequential and self.run.key(k).exists():
            write_bytes(path, self.run.key(k).read_bytes())  # that page was the same
        elif stylizer is None:
            return False
        else:
            page = Page(0, (k,), 1, 1)
            styled = self.restyle(page, self.compose(page), stylizer, -1)
            write_png(path, cut(page, self.layout, styled.pixels)[0], styled.text)
        self.finished(path, frame=k)
        return True

    def finished(self, path: Path, frame: int) -> None:
        """Report a finished picture."""
        with self._lock:
            self.done += 1
        self.emit("frame_done", frame=frame, path=self.relative(path))
        self.report(None, image=self.relative(path))

    def reporter(self, place: int, count: int) -> Report:
        """Reports a page of ``count`` frames while it is worked on, beside others."""

        path = self.run.folder / "live" / f"page{place}.png"

        def report(share: float, eta: float | None, picture: Bytes | None = None) -> None:
            with self._lock:
                self.parts[place] = share * count
            if picture is not None:
                write_png(path, picture)
                self.report(eta, image=self.relative(path))
            elif share > 0:
                self.report(eta)
            else:
                self.forget(path)

        return report

    def forget(self, path: Path) -> None:
        """Remove a page's live picture and, with the last one, their folder."""
        path.unlink(missing_ok=True)
        with self._lock, contextlib.suppress(OSError):  # another page's may still be there
            path.parent.rmdir()

    def report(self, eta: float | None, **fields: str) -> None:
        """Progress in frames, unfinished pages by their share; ``eta`` counts while no pace is
        known.
        """
        with self._lock:
            # Cutting a page's keys comes after all of it was restyled; the bar does not go back.
            self.shown = max(self.shown, min(self.total, self.done + sum(self.parts.values())))
            shown, made = self.shown, self.shown - self.first
        if made > 0:
            eta = (time.monotonic() - self.began) / made * (self.total - shown)
        self.emit(
            "progress", done=round(shown, 2), total=self.total, unit="frames",
            eta=None if eta is None else round(eta, 1), **fields,
        )  # fmt: skip

    def relative(self, path: Path) -> str:
        """As events name it."""
        return path.relative_to(self.run.root).as_posix()

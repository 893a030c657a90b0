"""A contact sheet of many runs: one picture, and a page with links to the runs' reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..core.errors import InputError
from ..core.events import Emit, Progress
from ..core.inside import plain
from ..core.loop import last_iteration
from ..core.run import Run, atomic, read_json, read_manifest, run_settings, write_text
from ..core.settings import Settings, flag, names, to_json
from ..core.sweep_run import PLAN, SHEETS
from .report_html import Child, Html, h, scrolled
from .report_numbers import significant
from .report_pictures import Picture, picture

CELL = 256  # pixels of a run's picture
LINES = 3  # of text below it
LINE_HEIGHT = 18
GROUND, INK, SOFT = (250, 248, 245), (35, 32, 28), (109, 102, 93)


@dataclass(frozen=True)
class Entry:
    """A run on the sheet: what is known of it; ``render`` may not exist yet."""

    name: str
    state: str
    iteration: int
    settings: Settings | None
    metrics: Mapping[str, Any]
    source: Path
    render: Path
    report: Path | None


def make(out: Path, emit: Emit) -> None:
    """Write the picture and the page of all runs in the folder; raises InputError if none is."""
    found = entries(out)
    if not found:
        raise InputError(f"{out} holds no runs: there is no folder with a run.json in it.")
    progress = Progress(emit, len(found), "runs")
    sheet = Sheet(len(found))
    cells = []
    for number, entry in enumerate(found):
        sheet.put(number, entry)
        cells.append(card(out, entry))
        progress.tick()
    with atomic(out / SHEETS[0]) as temporary:
        sheet.image.save(temporary)
    write_text(out / SHEETS[1], page(out.name, found, cells))
    for name in SHEETS:
        emit("frame_done", frame=0, path=name)


def entries(out: Path) -> list[Entry]:
    """The sweep's runs in its order, those that have not begun included, then any others."""
    planned = []
    if (out / PLAN).is_file():
        plan = read_json(out / PLAN)
        listed = plan.get("runs") if isinstance(plan, dict) else None
        named = [run.get("name") for run in listed or [] if isinstance(run, dict)]
        planned = [name for name in named if isinstance(name, str) and plain(name)]
    there = sorted(p.parent.name for p in out.glob("*/run.json"))
    return [_entry(out / name) for name in [*planned, *(n for n in there if n not in planned)]]


def _entry(root: Path) -> Entry:
    """A run as it lies there; what is damaged is shown as such, and spoils no other's place."""
    nothing = Entry(root.name, "waiting", 1, None, {}, Path(), Path(), None)
    if not (root / "run.json").is_file():
        return nothing
    try:
        manifest = read_manifest(root)
        settings = run_settings(manifest)
        done = [
            int(key.split("/")[0])
            for key, record in manifest["stages"].items()
            if key.endswith("/render") and record.get("state") == "done"
        ]
        run = Run(root, max(done, default=1))
        metrics = read_json(run.metrics) if run.metrics.is_file() else {}
    except InputError:
        return replace(nothing, state="damaged")
    wanted = last_iteration(root, settings)
    whole = len(done) >= wanted
    report = run.report if run.report.is_file() else None
    state = "finished" if whole else f"{len(done)} of {wanted} iterations done"
    pictures = run.frame(0), run.render(0)
    return Entry(root.name, state, run.iteration, settings, metrics, *pictures, report)


def figures(entry: Entry) -> str:
    """The run's figures in a line: held-out PSNR, warp error of the splat, splats."""
    parts = []
    value = entry.metrics.get("psnr_test_object")
    if value is not None:
        parts.append(f"{value:.1f} dB")
    lags = (entry.metrics.get("warp_error") or {}).get("splat") or {}
    raw = (lags.get("60deg") or {}).get("raw")
    if raw is not None:
        parts.append(f"warp {significant(1e4 * raw)}")
    if entry.metrics.get("splats"):
        parts.append(f"{entry.metrics['splats']:,} splats")
    return " · ".join(parts) or entry.state


class Sheet:
    """The picture: a grid of cells, each a render with its name and figures below."""

    def __init__(self, count: int) -> None:
        self.columns = min(count, max(1, math.ceil(math.sqrt(count * 1.3))))
        self.cell = (CELL + 16, CELL + 16 + LINES * LINE_HEIGHT)
        rows = math.ceil(count / self.columns)
        self.image = Image.new("RGB", (self.columns * self.cell[0], rows * self.cell[1]), GROUND)
        self.draw = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default(13)

    def put(self, number: int, entry: Entry) -> None:
        """Draw a run at its place."""
        left = number % self.columns * self.cell[0] + 8
        top = number // self.columns * self.cell[1] + 8
        path = entry.render if entry.render.is_file() else entry.source
        if path.is_file():
            with Image.open(path) as file:
                shown = file.convert("RGBA")
            scale = CELL / max(shown.size)
            size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
            shown = shown.convert("RGBa").resize(size, Image.Resampling.BICUBIC).convert("RGBA")
            place = (left + (CELL - shown.width) // 2, top + (CELL - shown.height) // 2)
            self.image.paste(shown, place, shown)
        else:
            self.draw.rectangle((left, top, left + CELL, top + CELL), outline=SOFT)
        for line, (text, ink) in enumerate(self._texts(entry)):
            at = (left, top + CELL + 2 + line * LINE_HEIGHT)
            self.draw.text(at, text, ink, font=self.font)

    def _texts(self, entry: Entry) -> list[tuple[str, tuple[int, int, int]]]:
        first, rest = self._fitting(entry.name)
        second, _ = self._fitting(rest)
        texts = [(first, INK), (second, INK), (figures(entry), SOFT)]
        return [(text, ink) for text, ink in texts if text]

    def _fitting(self, text: str) -> tuple[str, str]:
        """(as much of the text as fits a line, the rest)."""
        end = len(text)
        while end and self.draw.textlength(text[:end], font=self.font) > CELL:
            end -= 1
        return text[:end], text[end:]


# --- the page -------------------------------------------------------------------------------------


def card(out: Path, entry: Entry) -> Html:
    """A run on the page: source and splat beside each other, figures, a link to its report."""
    shown = [picture(p, CELL, 80) if p.name else None for p in (entry.source, entry.render)]
    pictures = [_image(p, name) for p, name in zip(shown, ("model", "splat"), strict=True) if p]
    title: Child = entry.name
    if entry.report is not None:
        title = h("a", entry.name, href=entry.report.relative_to(out).as_posix())
    return h(
        "figure",
        h("div", pictures or h("p", entry.state), class_="pair"),
        h("figcaption", h("b", title), h("span", figures(entry)), h("small", entry.state)),
    )


def _image(shown: Picture, label: str) -> Html:
    return h("img", src=shown.uri, width=shown.width, height=shown.height, alt=label)


def differing(found: Sequence[Entry]) -> list[str]:
    """The settings that are not the same in all runs."""
    values = [to_json(e.settings) for e in found if e.settings is not None]
    return [n for n in names() if len({str(v[n]) for v in values}) > 1]


def page(title: str, found: Sequence[Entry], cells: Sequence[Html]) -> str:
    """The whole page: the cards, and a table of what differs between the runs."""
    style = Html(Path(__file__).with_name("report.css").read_text(encoding="utf-8"))
    varied = differing(found)
    head = h("tr", [h("th", t) for t in ("Run", *map(flag, varied), "Figures")])
    rows = [
        h(
            "tr",
            h("th", e.name, scope="row"),
            [h("td", str(getattr(e.settings, n)) if e.settings else "") for n in varied],
            h("td", figures(e)),
        )
        for e in found
    ]
    table = h("table", h("thead", head), h("tbody", rows), class_="data")
    done = sum(e.state == "finished" for e in found)
    body = h(
        "body",
        h("p", "GS Diffusion · contact sheet", class_="eyebrow"),
        h("h1", title),
        h("p", f"{done} of {len(found)} runs finished.", class_="soft"),
        h("div", cells, class_="contact"),
        h("h2", "What differs"),
        scrolled(table, "Figures"),
    )
    meta = h("meta", charset="utf-8")
    view = h("meta", name="viewport", content="width=device-width, initial-scale=1")
    top = h("head", meta, view, h("title", f"{title} — GS Diffusion"), h("style", style))
    return "<!doctype html>\n" + h("html", top, body, lang="en") + "\n"

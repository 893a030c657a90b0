"""Stage ``report``: metrics.json of the iteration, and report.html over all iterations so far.

The page is one file that opens anywhere without a network, made of what the run folder holds: what
is not there yet is left out.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.dataset import Frame, split_frames
from ..core.events import Emit
from ..core.keyframes import planned
from ..core.run import Run, read_json, read_manifest, write_json, write_text
from ..core.settings import Settings, parse_split
from ..core.stages import stage_settings
from . import report_numbers
from .guides import cameras, ring
from .metrics import measure
from .metrics_loop import history
from .report_history import history_curves
from .report_incidents import incidents
from .report_page import Page, render
from .report_pictures import DETAILS, Detail, Sprite, difference, picture, sprite
from .report_sections import Section, Strip, StripRow
from .report_settings import command, setting_rows, versions
from .report_viewer import Viewer, viewer

LARGEST = 8_000_000  # bytes; mail and chat programs take a file of that size
SPLATS_FOR = 100_000  # splats of the 3-D view that fit LARGEST; more make the file bigger
STRIP_VIEWS = 8
HELD_OUT_VIEWS = 6
HEAT = "heat"
"""Folder of an iteration's heat maps: every picture in it is shown under its name."""


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Write run.metrics (once), and run.history and run.report (always anew, they tell of all
    iterations that are measured, also of later ones where this one is done again).
    """
    if not run.metrics.is_file():
        emit("phase", message="Measuring")
        write_json(run.metrics, measure(run, settings))
        emit("frame_done", frame=0, path=run.metrics.relative_to(run.root).as_posix())
    measured = [
        k for k in range(run.iteration, settings.iterations + 1) if run.at(k).metrics.is_file()
    ]
    last = run.at(max(measured, default=run.iteration))
    write_json(run.history, {"iterations": history(last)})
    emit("phase", message="Writing the report")
    write_text(run.report, report(last, settings))
    emit("frame_done", frame=1, path=run.report.relative_to(run.root).as_posix())


def report(run: Run, settings: Settings) -> str:
    """The HTML of the report: at most :data:`LARGEST` bytes for each started 100,000 splats that
    the 3-D view shows, with pictures as good as that allows.
    """
    frames = cameras(run)
    poster = picture(run.render(0), 640, 82)
    view = viewer(run, range(run.iteration, 0, -1), frames, poster)
    most = LARGEST * max(1.0, (view.shown if view else 0) / SPLATS_FOR)
    text = ""
    for detail in DETAILS:
        text = render(_page(run, settings, frames, detail, view))
        if len(text.encode("utf-8")) <= most:
            break
    return text


def _page(
    run: Run, settings: Settings, frames: Sequence[Frame], detail: Detail, view: Viewer | None
) -> Page:
    manifest = read_manifest(run.root) if run.manifest.is_file() else {}
    numbers = range(1, run.iteration + 1)
    every = {k: read_json(run.at(k).metrics) for k in numbers if run.at(k).metrics.is_file()}
    last = every.get(run.iteration, {})
    model = Path(settings.model or settings.blend or settings.main_folder).name
    facts = [model, f"{len(frames)} views", _plural(run.iteration, "iteration")]
    facts += [f"{frames[0].camera.width} × {frames[0].camera.height} pixels"]
    created = str(manifest.get("created", ""))[:10] or time.strftime("%Y-%m-%d")
    return Page(
        title=settings.prompt or f"{model or 'Untitled model'}, restyled",
        subtitle=" · ".join([*(f for f in facts if f), created]),
        negative=settings.negative_prompt,
        note=_note(settings),
        spins=_spins(run, frames, detail),
        earlier=_earlier(run, frames, detail),
        cards=report_numbers.cards(last),
        warp_heads=list(report_numbers.LAGS.values()),
        warp=[
            (f"Iteration {k}" if len(every) > 1 else "", report_numbers.warp_rows(m))
            for k, m in every.items()
        ],
        warp_text=report_numbers.warp_text(last),
        curves=history_curves(history(run)),
        sections=[
            _section(run.at(k), settings, frames, detail, folded=k < run.iteration)
            for k in _told(run.iteration, detail.iterations)
        ],
        seconds=report_numbers.seconds(every),
        settings=setting_rows(settings, manifest),
        versions=versions(manifest),
        command=command(run, settings, manifest),
        footer=f"Written by GS Diffusion {manifest.get('version', '')}".strip() + ".",
        quality=report_numbers.quality(every),
        incidents=incidents(run.events),
        viewer=view,
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _note(settings: Settings) -> str:
    if settings.stylizer != "preview":
        return ""
    return (
        "Made with the preview stylizer, a small style-transfer network. This is not diffusion: "
        "the network cannot read the prompt, it only repaints in a fixed style. With a Stable "
        "Diffusion server and --stylizer a1111 the same run follows the prompt."
    )


def _told(iteration: int, most: int) -> list[int]:
    """The iterations shown with pictures, latest first; of many, evenly spaced ones."""
    if iteration <= most:
        return list(range(iteration, 0, -1))
    chosen = {1 + round(k * (iteration - 1) / (most - 1)) for k in range(most)}
    return sorted(chosen, reverse=True)


# --- pictures -------------------------------------------------------------------------------------


def _spins(run: Run, frames: Sequence[Frame], detail: Detail) -> list[tuple[str, Sprite]]:
    """The model, the restyled frames, and the last splat, for one slider."""
    circle = [f.frame for f in ring(frames)]
    last = f", iteration {run.iteration}" if run.iteration > 1 else ""
    kinds = [
        ("The model", [run.frame(k) for k in circle]),
        (f"Restyled frames{last}", [run.stylized_frame(k) for k in circle]),
        (f"The splat{last}", [run.render(k) for k in circle]),
    ]
    made = ((label, sprite(paths, detail)) for label, paths in kinds)
    return [(label, s) for label, s in made if s is not None]


def _earlier(run: Run, frames: Sequence[Frame], detail: Detail) -> list[tuple[str, Sprite]]:
    """The splats of the iterations before, small, for the same slider."""
    circle = [f.frame for f in ring(frames)]
    small = dataclasses.replace(detail, spin=detail.thumb)
    told = [k for k in sorted(_told(run.iteration, detail.iterations)) if k < run.iteration]
    made = (
        (f"Splat {k}", sprite([run.at(k).render(frame) for frame in circle], small)) for k in told
    )
    return [(label, s) for label, s in made if s is not None]


def strip_views(circle: Sequence[int], keys: Sequence[int]) -> list[int]:
    """About eight views of the ring to show: keyframes where there are some nearby."""
    if not circle:
        return []
    on_ring = [k for k in keys if k in set(circle)]
    if STRIP_VIEWS - 2 <= len(on_ring) <= STRIP_VIEWS + 1:
        return on_ring
    count = min(STRIP_VIEWS, len(circle))
    step = len(circle) / count
    views = [circle[int(k * step)] for k in range(count)]
    near = {v: min(on_ring, key=lambda k: abs(k - v), default=v) for v in views}
    return sorted({near[v] if abs(near[v] - v) < step / 2 else v for v in views})


def _section(
    run: Run, settings: Settings, frames: Sequence[Frame], detail: Detail, folded: bool
) -> Section:
    circle = ring(frames)
    keys = planned(run, settings)
    views = strip_views([f.frame for f in circle], keys)
    shown, _ = _source(run, settings)
    strips = [("", _strip(run, settings, views, frames, detail, keyed=True))]
    held = [f.frame for f in _test_frames(frames, settings) if run.render(f.frame).is_file()]
    if held:
        count = min(HELD_OUT_VIEWS, len(held))
        chosen = [held[k * len(held) // count] for k in range(count)]
        held_out = _strip(run, settings, chosen, frames, detail, keyed=False)
        strips.append(("Views the splat was not trained on", held_out))
    return Section(
        f"Iteration {run.iteration}",
        f"{_plural(len(keys), 'keyframe')} of {shown} restyled and carried to all "
        f"{len(frames)} views.",
        strips,
        _pages(run, detail),
        _heat(run, detail),
        folded,
    )


def _test_frames(frames: Sequence[Frame], settings: Settings) -> list[Frame]:
    _, _, test = split_frames([f.ring for f in frames], parse_split(settings.split), settings.seed)
    return [frames[k] for k in test]


def _source(run: Run, settings: Settings) -> tuple[str, str]:
    """What the iteration restyled, in a sentence and as a row's label."""
    styled = stage_settings("stylize", run.iteration, settings)
    source = styled.source if run.iteration > 1 else "original"
    if source == "original" and settings.main_folder:
        return "the main folder's frames", "Main folder"
    if source == "original":
        return "the turntable", "Turntable"
    splat = f"the splat of iteration {run.iteration - 1}"
    if source == "blend":
        return f"a mix of the turntable and {splat}", "Turntable and last splat"
    return splat, "Last splat"


def _strip(
    run: Run,
    settings: Settings,
    views: Sequence[int],
    frames: Sequence[Frame],
    detail: Detail,
    keyed: bool,
) -> Strip:
    by_number = {f.frame: f for f in frames}

    def row(label: str, paths: Sequence[Path]) -> StripRow:
        return StripRow(label, [picture(p, detail.thumb, detail.quality) for p in paths])

    rows = [row(_source(run, settings)[1], [run.source(k) for k in views])]
    if keyed:
        rows.append(row("Stylized keys", [run.key(k) for k in views]))
    rows.append(row("Propagated", [run.stylized_frame(k) for k in views]))
    rows.append(row("Splat", [run.render(k) for k in views]))
    if not keyed:
        pairs = [(run.stylized_frame(k), run.render(k)) for k in views]
        cells = [difference(a, b, detail.thumb, detail.quality) for a, b in pairs]
        rows.append(StripRow("Difference", cells))
    heads = [
        f"view {k}" if by_number[k].ring == 0 else f"view {k} (ring {by_number[k].ring})"
        for k in views
    ]
    return Strip(heads, [r for r in rows if any(r.cells)])


def _pages(run: Run, detail: Detail) -> list[Any]:
    pairs = []
    while (sent := run.input / f"input{len(pairs)}.png").is_file():
        back = run.output / f"{len(pairs):05d}-input{len(pairs)}.png"
        before = picture(sent, detail.page, detail.quality)
        pairs.append((before, picture(back, detail.page, detail.quality)))
    return pairs


def _heat(run: Run, detail: Detail) -> list[Any]:
    """(name, picture) of each heat map of the iteration."""
    paths = sorted((run.folder / HEAT).glob("*.png"))
    made = [(p.stem, picture(p, detail.page, detail.quality)) for p in paths]
    return [(name.replace("_", " "), shown) for name, shown in made if shown is not None]

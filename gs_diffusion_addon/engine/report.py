"""Stage ``report``: metrics.json of the iteration, and report.html over all iterations so far.

The page is one file that opens anywhere without a network, made of what the run folder holds: what
is not there yet is left out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.dataset import Frame, split_frames
from ..core.events import Emit
from ..core.orbit import plan_keys
from ..core.run import Run, read_json, read_manifest, write_json, write_text
from ..core.settings import Settings, parse_split
from ..core.stages import NAMES
from .guides import cameras, ring
from .metrics import measure
from .report_incidents import incidents
from .report_page import (
    Card,
    Curve,
    Page,
    Section,
    Strip,
    StripRow,
    WarpRow,
    duration,
    render,
)
from .report_pictures import DETAILS, Detail, picture, sprite
from .report_settings import command, setting_rows, versions

LARGEST = 8_000_000  # bytes; mail and chat programs take a file of that size
STRIP_VIEWS = 8
HELD_OUT_VIEWS = 6

LAGS = {
    "1": "next view",
    "key_gap": "one key apart",
    "60deg": "60° apart",
    "loop": "across the seam",
}
SEQUENCE_LABELS = {
    "source": "Unstyled render",
    "stylized_independent": "Every frame restyled on its own",
    "propagated": "Propagated from the keys",
    "splat": "Renders of the splat",
}

Metrics = Mapping[str, Any]


def run_stage(run: Run, settings: Settings, emit: Emit) -> None:
    """Write run.metrics (once) and run.report (always anew, it tells of all iterations)."""
    if not run.metrics.is_file():
        emit("phase", message="Measuring")
        write_json(run.metrics, measure(run, settings))
        emit("frame_done", frame=0, path=run.metrics.relative_to(run.root).as_posix())
    emit("phase", message="Writing the report")
    write_text(run.report, report(run, settings))
    emit("frame_done", frame=1, path=run.report.relative_to(run.root).as_posix())


def report(run: Run, settings: Settings) -> str:
    """The HTML of the report, with pictures as good as :data:`LARGEST` allows."""
    frames = cameras(run)
    text = ""
    for detail in DETAILS:
        text = render(_page(run, settings, frames, detail))
        if len(text.encode("utf-8")) <= LARGEST:
            break
    return text


def _page(run: Run, settings: Settings, frames: Sequence[Frame], detail: Detail) -> Page:
    manifest = read_manifest(run.root) if run.manifest.is_file() else {}
    numbers = range(1, run.iteration + 1)
    every = {k: read_json(run.at(k).metrics) for k in numbers if run.at(k).metrics.is_file()}
    last = every.get(run.iteration, {})
    model = Path(settings.model or settings.blend).name
    facts = [model, f"{len(frames)} views", _plural(run.iteration, "iteration")]
    facts += [f"{frames[0].camera.width} × {frames[0].camera.height} pixels"]
    created = str(manifest.get("created", ""))[:10] or time.strftime("%Y-%m-%d")
    return Page(
        title=settings.prompt or f"{model or 'Untitled model'}, restyled",
        subtitle=" · ".join([*(f for f in facts if f), created]),
        negative=settings.negative_prompt,
        note=_note(settings),
        spins=_spins(run, frames, detail),
        cards=_cards(last),
        warp_heads=[LAGS[lag] for lag in LAGS],
        warp=[
            (f"Iteration {k}" if len(every) > 1 else "", _warp_rows(m)) for k, m in every.items()
        ],
        warp_text=_warp_text(last),
        curves=_curves(every),
        sections=[
            _section(run.at(k), settings, frames, detail)
            for k in _told(run.iteration, detail.iterations)
        ],
        seconds=_seconds(every),
        settings=setting_rows(settings, manifest),
        versions=versions(manifest),
        command=command(run, settings, manifest),
        footer=f"Written by GS Diffusion {manifest.get('version', '')}".strip() + ".",
        quality=_quality(every),
        incidents=incidents(run.events),
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


def _spins(run: Run, frames: Sequence[Frame], detail: Detail) -> list[Any]:
    circle = [f.frame for f in ring(frames)]
    kinds = (
        ("The model", [run.frame(k) for k in circle]),
        ("Restyled frames", [run.stylized_frame(k) for k in circle]),
        ("The splat", [run.render(k) for k in circle]),
    )
    made = ((label, sprite(paths, detail)) for label, paths in kinds)
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


def _section(run: Run, settings: Settings, frames: Sequence[Frame], detail: Detail) -> Section:
    circle = ring(frames)
    keys = plan_keys(settings)
    views = strip_views([f.frame for f in circle], keys)
    shown = "the turntable" if run.iteration == 1 else f"the splat of iteration {run.iteration - 1}"
    strips = [("", _strip(run, views, frames, detail, keyed=True))]
    held = [f.frame for f in _test_frames(frames, settings) if run.render(f.frame).is_file()]
    if held:
        count = min(HELD_OUT_VIEWS, len(held))
        chosen = [held[k * len(held) // count] for k in range(count)]
        strips.append(
            ("Views the splat was not trained on", _strip(run, chosen, frames, detail, keyed=False))
        )
    return Section(
        f"Iteration {run.iteration}",
        f"{_plural(len(keys), 'keyframe')} of {shown} restyled and carried to all "
        f"{len(frames)} views.",
        strips,
        _pages(run, detail),
    )


def _test_frames(frames: Sequence[Frame], settings: Settings) -> list[Frame]:
    _, _, test = split_frames([f.ring for f in frames], parse_split(settings.split), settings.seed)
    return [frames[k] for k in test]


def _strip(
    run: Run, views: Sequence[int], frames: Sequence[Frame], detail: Detail, keyed: bool
) -> Strip:
    by_number = {f.frame: f for f in frames}

    def row(label: str, paths: Sequence[Path]) -> StripRow:
        return StripRow(label, [picture(p, detail.thumb, detail.quality) for p in paths])

    source = "Turntable" if run.iteration == 1 else "Last splat"
    rows = [row(source, [run.source(k) for k in views])]
    if keyed:
        rows.append(row("Stylized keys", [run.key(k) for k in views]))
    rows.append(row("Propagated", [run.stylized_frame(k) for k in views]))
    rows.append(row("Splat", [run.render(k) for k in views]))
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


# --- numbers --------------------------------------------------------------------------------------


def _cards(metrics: Metrics) -> list[Card]:
    def text(value: float | None, pattern: str) -> str:
        return "" if value is None else format(value, pattern)

    crisp = metrics.get("sharpness") or {}
    seconds = metrics.get("seconds") or {}
    count = metrics.get("splats")
    cover = metrics.get("coverage")
    gain = consistency_gain(metrics)
    cards = [
        Card(
            text(gain, ".0f"), "×", "more consistent", "than restyling every frame, views 60° apart"
        ),
        Card(
            text(metrics.get("psnr_test_object"), ".1f"),
            "dB",
            "PSNR, silhouette",
            "splat on held-out views, inside the model's outline",
        ),
        Card(
            text(metrics.get("psnr_test"), ".1f"),
            "dB",
            "PSNR, whole picture",
            "held-out views, on black",
        ),
        Card(text(metrics.get("ssim_test"), ".3f"), "", "SSIM", "held-out views; 1 is identical"),
        Card(
            text(None if cover is None else 100 * cover, ".1f"),
            "%",
            "coverage",
            "of the visible surface is seen by a key",
        ),
        Card(
            text(crisp.get("propagated_over_keys"), ".2f"),
            "",
            "sharpness, propagated",
            "over the keyframes' own",
        ),
        Card(
            text(crisp.get("splat_over_keys"), ".2f"),
            "",
            "sharpness, splat",
            "over the keyframes' own",
        ),
        Card(
            text(metrics.get("silhouette_iou"), ".3f"),
            "",
            "silhouette",
            "overlap of splat and model",
        ),
        Card(text(count, ","), "", "splats", "in the result"),
        Card(
            duration(sum(seconds.values())) if seconds else "",
            "",
            "computing time",
            "all stages so far",
        ),
    ]
    return [c for c in cards if c.value]


def consistency_gain(metrics: Metrics) -> float | None:
    """How many times smaller the warp error 60° apart is than of frames restyled singly."""
    table = metrics.get("warp_error") or {}
    alone, together = (
        ((table.get(name) or {}).get("60deg") or {}).get("raw")
        for name in ("stylized_independent", "propagated")
    )
    return alone / together if alone and together else None


def _warp_rows(metrics: Metrics) -> list[WarpRow]:
    rows = []
    for name, label in SEQUENCE_LABELS.items():
        lags = (metrics.get("warp_error") or {}).get(name)
        if lags is None:
            continue
        cells = []
        for lag in LAGS:
            entry = lags.get(lag) or {}
            raw, ratio = entry.get("raw"), entry.get("over_source")
            cells.append(
                (
                    "–" if raw is None else significant(raw * 1e4),
                    "" if ratio is None else significant(ratio),
                )
            )
        rows.append(WarpRow(label, cells, best=name == "propagated"))
    return rows


def significant(value: float) -> str:
    """Two significant digits, without exponent: 0.034, 3.4, 34, 340."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, 1 - math.floor(math.log10(abs(value))))}f}"


def _warp_text(metrics: Metrics) -> str:
    gain = consistency_gain(metrics)
    if gain is None:
        return "How much the color of a surface point changes from view to view."
    return (
        "How much the color of a surface point changes from view to view. Seen 60° apart, the "
        f"propagated frames agree {significant(gain)} times better than frames restyled one by one."
    )


def _quality(every: Mapping[int, Metrics]) -> list[list[str]]:
    labels = {"all": "all held-out views", "on_ring": "on ring 0", "off_ring": "off it"}
    rows = []
    for k, metrics in every.items():
        for name, label in labels.items():
            part = (metrics.get("test") or {}).get(name) or {}
            if part.get("psnr") is None:
                continue
            head = f"Iteration {k}, {label}" if len(every) > 1 else label[0].upper() + label[1:]
            rows.append(
                [
                    head,
                    str(part["frames"]),
                    f"{part['psnr']:.2f}",
                    f"{part['psnr_object']:.2f}",
                    f"{part['ssim']:.4f}",
                ]
            )
    return rows


def _curves(every: Mapping[int, Metrics]) -> list[Curve]:
    """Lines over the iterations, from the second one on."""
    if len(every) < 2:
        return []

    def warp(metrics: Metrics, name: str) -> float | None:
        lags = (metrics.get("warp_error") or {}).get(name) or {}
        raw = (lags.get("60deg") or {}).get("raw")
        return None if raw is None else 1e4 * raw

    rows = list(every.values())
    curves = [
        Curve(
            "PSNR of held-out views inside the silhouette, dB",
            [("splat", [m.get("psnr_test_object") for m in rows])],
        ),
        Curve(
            "Warp error 60° apart, × 10⁴",
            [(n, [warp(m, n) for m in rows]) for n in ("propagated", "splat")],
        ),
        Curve(
            "Sharpness over the keyframes' own",
            [
                (n, [(m.get("sharpness") or {}).get(f"{n}_over_keys") for m in rows])
                for n in ("propagated", "splat")
            ],
        ),
    ]
    return [c for c in curves if any(v is not None for _, line in c.lines for v in line)]


def _seconds(every: Mapping[int, Metrics]) -> list[tuple[str, float]]:
    """Label and seconds of each stage, in the order they ran."""
    out: dict[str, float] = {}
    for k, metrics in every.items():
        found = metrics.get("seconds") or {}
        for name in (n for n in NAMES if n in found and n not in ("report", "import")):
            value = found[name]
            label = f"{name}, iteration {k}" if len(every) > 1 and name != "turntable" else name
            out[label] = value
    return list(out.items())

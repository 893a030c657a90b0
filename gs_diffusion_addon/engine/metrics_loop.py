"""What an iteration did: style left, change from the one before, drift from the model, history.

Everything is None (or says why) where what it is measured from is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.dataset import Frame
from ..core.keyframes import planned
from ..core.run import Run, read_json
from ..core.settings import Settings
from .clip import similarity
from .guides import View
from .images import BLACK, Bytes, over, read_on_black, read_rgb, read_rgba, to_bytes
from .likeness import NAME, cosine, style_of, subject
from .parallel import in_order

STYLED_VIEWS = 8  # views of ring 0 whose style is encoded
OPAQUE = 128  # alpha from which on a pixel belongs to the silhouette

Number = float | None


def loop_figures(
    run: Run,
    settings: Settings,
    frames: Sequence[Frame],
    circle: Sequence[Frame],
    views: Sequence[View],
    threads: int,
) -> dict[str, Any]:
    """The part of metrics.json about the loop; ``circle`` and ``views`` are ring 0."""
    return {
        "change": change(run, frames, threads),
        "style_likeness": style_likeness(run, settings, circle, views, threads),
        "drift": drift(run),
        "clip": similarity(run, settings, circle, threads),
    }


def change(run: Run, frames: Sequence[Frame], threads: int) -> dict[str, Number]:
    """How much the splat's pictures differ from the last iteration's.

    ``mean``: absolute difference of the colors, 0 to 1, composited on black, over the pixels that
    either silhouette covers, averaged over the frames; ``largest`` of a frame. None in the first
    iteration.
    """
    nothing: dict[str, Number] = {"mean": None, "largest": None}
    if run.iteration < 2:
        return nothing
    last = run.at(run.iteration - 1)
    pairs = [(last.render(f.frame), run.render(f.frame)) for f in frames]
    if not all(p.is_file() for pair in pairs for p in pair):
        return nothing
    found = [d for _, d in in_order(_difference, pairs, threads)]
    return {"mean": float(np.mean(found)), "largest": float(np.max(found))}


def _difference(pair: tuple[Path, Path]) -> float:
    a, b = (read_rgba(p) for p in pair)
    shown = (a[..., 3] > 0) | (b[..., 3] > 0)
    if a.shape != b.shape or not shown.any():
        return 0.0 if a.shape == b.shape else 1.0
    colors = [to_bytes(over(p, BLACK))[shown].astype(np.float32) for p in (a, b)]
    return float(np.abs(colors[0] - colors[1]).mean()) / 255


def style_likeness(
    run: Run, settings: Settings, circle: Sequence[Frame], views: Sequence[View], threads: int
) -> dict[str, Any]:
    """How alike in style the frames are to the iteration's keyframes: see :mod:`.likeness`.

    ``source`` (the turntable), ``propagated``, ``splat``: 1 is the keys' own style; ``named`` says
    what measures it.
    """
    by_number = {f.frame: view for f, view in zip(circle, views, strict=True)}
    keys = [k for k in planned(run, settings) if k in by_number and run.key(k).is_file()]
    step = max(1, len(circle) // STYLED_VIEWS)
    shown = [f.frame for f in circle][::step]
    every = max(1, len(keys) // STYLED_VIEWS)

    def vector(
        numbers: Sequence[int], place: Callable[[int], Path], read: Callable[[Path], Bytes]
    ) -> npt.NDArray[np.float32] | None:
        if not numbers or not all(place(k).is_file() for k in numbers):
            return None
        pictures = (subject(read(place(k)), by_number[k].mask) for k in numbers)
        return style_of(pictures, threads)

    target = vector(keys[::every], run.key, read_rgb)
    kinds: Mapping[str, Callable[[int], Path]] = {
        "source": run.frame, "propagated": run.stylized_frame, "splat": run.render,
    }  # fmt: skip
    figures: dict[str, Any] = {
        name: cosine(vector(shown, place, read_on_black), target) for name, place in kinds.items()
    }
    return {**figures, "named": NAME}


def drift(run: Run) -> dict[str, Any] | None:
    """How far the splat that this iteration began with had left the model; None if not asked."""
    path = run.folder / "drift.json"
    if not path.is_file():
        return None
    found = read_json(path)
    return {name: found[name] for name in ("share", "largest", "distance", "frames_replaced")}


def history(run: Run) -> list[dict[str, Any]]:
    """The figures of iterations 1 to this one that curves are drawn of, one entry each."""
    rows = []
    for k in range(1, run.iteration + 1):
        path = run.at(k).metrics
        if path.is_file():
            rows.append(_row(k, read_json(path)))
    return rows


def _row(iteration: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """An iteration's line in metrics-history.json."""
    table = metrics.get("warp_error") or {}

    def lags(name: str) -> dict[str, Number] | None:
        found = table.get(name)
        return None if found is None else {lag: entry["raw"] for lag, entry in found.items()}

    likeness = metrics.get("style_likeness") or {}
    crisp = metrics.get("sharpness") or {}
    return {
        "iteration": iteration,
        "warp_before": lags("propagated"),
        "warp_after": lags("splat"),
        "psnr_test": metrics.get("psnr_test"),
        "psnr_test_object": metrics.get("psnr_test_object"),
        "ssim_test": metrics.get("ssim_test"),
        "sharpness": {n: crisp.get(n) for n in ("source", "keys", "propagated", "splat")},
        "style_likeness": {n: likeness.get(n) for n in ("source", "propagated", "splat")},
        "silhouette_iou": metrics.get("silhouette_iou"),
        "drift": (metrics.get("drift") or {}).get("share"),
        "change": (metrics.get("change") or {}).get("mean"),
        "clip": metrics.get("clip"),
        "splats": metrics.get("splats"),
        "seconds": metrics.get("seconds") or {},
    }

"""What a run is worth in numbers: consistency between views, quality of the splat, cost.

:func:`measure` reads a run folder and gives the content of metrics.json; what is not there yet is
None.

Warp errors (raw) are mean squared differences of the same surface points in two views of ring 0,
0..1, with exact correspondence through the turntable's guides; ``over_source`` is the same divided
by the turntable's own, which is not zero either (highlights move, pixels alias). For splats and
later iterations the turntable's geometry is a close stand-in for the splat's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.dataset import Frame, split_frames
from ..core.errors import InputError
from ..core.keyframes import planned
from ..core.run import Run, read_json, read_manifest
from ..core.settings import Settings, parse_split
from . import perceptual
from .guides import View, cameras, interior, read_view, ring
from .images import read_on_black, read_rgba
from .measures import intersection_over_union, psnr, sharpness, ssim, warp_error
from .metrics_loop import loop_figures
from .metrics_surface import surface_figures
from .parallel import in_order, thread_count

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Pair = tuple[int, int]
Number = float | None

BORDER = 2  # pixels along silhouettes that warp errors leave out: they mix two surfaces
RIM = 3  # the same for sharpness and the difference to the keys
MOST_PAIRS = 36  # pairs of views a lag is measured on, spread over the ring; lag 1 takes all
PERCEIVED = 8  # test views whose learned distance is measured, seconds each
OPAQUE = 128  # alpha from which on a pixel belongs to the silhouette

# Sequences on ring 0 whose consistency is compared.
SEQUENCES: Mapping[str, Callable[[Run, int], Path]] = {
    "source": lambda run, k: run.frame(k),
    "stylized_independent": lambda run, k: run.independent / f"r_{k}.png",
    "propagated": lambda run, k: run.stylized_frame(k),
    "splat": lambda run, k: run.render(k),
}


@dataclass(frozen=True, eq=False)
class Ring:
    """Ring 0 with its geometry; ``inside`` are the pixels that warp errors count."""

    frames: Sequence[Frame]
    views: Sequence[View]
    inside: Sequence[Mask]


def measure(run: Run, settings: Settings) -> dict[str, Any]:
    """The content of metrics.json for the run's iteration; raises InputError if that fails."""
    frames = cameras(run)
    threads = thread_count(settings)
    circle = load_ring(run, frames, threads)
    errors = warp_table(run, circle, key_gap(settings, len(circle.frames)), threads)
    quality = held_out(run, settings, frames, threads)
    return {
        "iteration": run.iteration,
        "psnr_test": quality["all"]["psnr"],
        "psnr_test_object": quality["all"]["psnr_object"],
        "ssim_test": quality["all"]["ssim"],
        "test": quality,
        "warp_error": errors,
        "coverage": coverage(run),
        **appearance(run, settings, frames, circle, threads),
        **surface_figures(
            run, settings, frames, (circle.frames, circle.views), sequences(run, circle)
        ),
        **loop_figures(run, settings, frames, circle.frames, circle.views, threads),
        "splats": splat_count(run.splat),
        "seconds": stage_seconds(run),
    }


def sequences(run: Run, circle: Ring) -> dict[str, list[Path]]:
    """Files of ring 0's sequences by name, whether they are there or not."""
    return {n: [place(run, f.frame) for f in circle.frames] for n, place in SEQUENCES.items()}


# --- consistency ----------------------------------------------------------------------------------


def load_ring(run: Run, frames: Sequence[Frame], threads: int) -> Ring:
    """The geometry of ring 0."""
    chosen = ring(frames)
    views = [v for _, v in in_order(lambda f: read_view(run.at(0), f), chosen, threads)]
    return Ring(chosen, views, [interior(v, BORDER) for v in views])


def key_gap(settings: Settings, count: int) -> int:
    """Frames between two keys on a ring of ``count``; without propagation, of the keys there would
    be.
    """
    return max(1, round(count / min(settings.keys, count)))


def lag_pairs(count: int, gap: int) -> dict[str, list[Pair]]:
    """Pairs of positions on a closed ring of ``count`` views, by lag.

    ``1``: neighbors. ``key_gap``: one gap between keys apart. ``60deg``: a sixth of the ring.
    ``loop``: one key gap apart across the seam between the last and the first view; a propagation
    that does not close the loop is worse there than at ``key_gap``.
    """
    sixth = max(1, round(count / 6))

    def around(lag: int, most: int) -> list[Pair]:
        step = max(1, count // most)
        return [(k, (k + lag) % count) for k in range(0, count, step)]

    return {
        "1": around(1, count),
        "key_gap": around(gap, MOST_PAIRS),
        "60deg": around(sixth, MOST_PAIRS),
        "loop": [(count - gap + k, k) for k in range(min(gap, count))],
    }


def warp_table(run: Run, circle: Ring, gap: int, threads: int) -> dict[str, Any]:
    """Warp errors of every sequence that is complete on ring 0: name -> lag -> raw, over_source."""
    pairs = lag_pairs(len(circle.frames), gap)
    raw: dict[str, dict[str, Number] | None] = {}
    for name, paths in sequences(run, circle).items():
        complete = all(p.is_file() for p in paths)
        raw[name] = _sequence_errors(circle, paths, pairs, threads) if complete else None
    source = raw["source"] or {}

    def entry(lag: str, value: Number) -> dict[str, Number]:
        own = source.get(lag)
        # A source without any error of its own (a perfectly matte model) leaves nothing to divide
        # by.
        return {"raw": value, "over_source": value / own if value is not None and own else None}

    return {
        name: None if lags is None else {lag: entry(lag, value) for lag, value in lags.items()}
        for name, lags in raw.items()
    }


def _sequence_errors(
    circle: Ring, paths: Sequence[Path], pairs: Mapping[str, Sequence[Pair]], threads: int
) -> dict[str, Number]:
    pictures = [picture for _, picture in in_order(read_on_black, paths, threads)]
    for path, picture, view in zip(paths, pictures, circle.views, strict=True):
        if picture.shape[:2] != view.depth.shape:
            raise InputError(f"The picture {path} is of another size than the turntable's frames.")

    def error(pair: Pair) -> Number:
        a, b = pair
        sides = circle.views[a], circle.views[b], circle.inside[a], circle.inside[b]
        return warp_error(*sides, pictures[a], pictures[b])

    distinct = sorted({pair for chosen in pairs.values() for pair in chosen})
    found = dict(in_order(error, distinct, threads))
    return {lag: mean([found[pair] for pair in chosen]) for lag, chosen in pairs.items()}


def mean(values: Sequence[Number]) -> Number:
    """Mean of what is there, None if nothing is."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


# --- the splat against the frames it was trained on -----------------------------------------------


def held_out(run: Run, settings: Settings, frames: Sequence[Frame], threads: int) -> dict[str, Any]:
    """PSNR and SSIM of the renders of the test views against the restyled frames.

    ``all``, ``on_ring`` (ring 0) and ``off_ring``, each ``frames, psnr, psnr_object, ssim``: means
    over the frames; psnr_object counts the silhouette's pixels alone. ``st_lpips``: ``value`` or
    the ``reason`` why it is not there, see :mod:`.perceptual`.
    """
    _, _, test = split_frames([f.ring for f in frames], parse_split(settings.split), settings.seed)
    chosen = [frames[k] for k in test]
    ready = chosen and all(
        run.render(f.frame).is_file() and run.stylized_frame(f.frame).is_file() for f in chosen
    )

    def compare(frame: Frame) -> tuple[float, float, float]:
        truth, render = run.stylized_frame(frame.frame), run.render(frame.frame)
        a, b = read_on_black(truth), read_on_black(render)
        if a.shape != b.shape:
            raise InputError(f"The pictures {truth} and {render} differ in size.")
        inside = read_rgba(truth)[..., 3] >= OPAQUE
        return psnr(b, a), psnr(b, a, inside), ssim(b, a)

    scores = [(f, s) for f, s in in_order(compare, chosen, threads)] if ready else []
    step = max(1, len(chosen) // PERCEIVED)
    pairs = [
        (read_on_black(run.render(f.frame)), read_on_black(run.stylized_frame(f.frame)))
        for f in (chosen[::step] if ready and perceptual.installed() else [])
    ]

    def summary(part: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
        columns = [mean([row[k] for row in part]) for k in range(3)]
        return {
            "frames": len(part),
            **dict(zip(("psnr", "psnr_object", "ssim"), columns, strict=True)),
        }

    return {
        "all": summary([s for _, s in scores]),
        "on_ring": summary([s for f, s in scores if f.ring == 0]),
        "off_ring": summary([s for f, s in scores if f.ring != 0]),
        "st_lpips": perceptual.st_lpips(pairs),
    }


# --- looks ----------------------------------------------------------------------------------------


def appearance(
    run: Run, settings: Settings, frames: Sequence[Frame], circle: Ring, threads: int
) -> dict[str, Any]:
    """Sharpness on ring 0 and over the keys' own, difference to the keys, and silhouette IoU."""
    by_number = {f.frame: k for k, f in enumerate(circle.frames)}
    inner = [interior(v, RIM) for v in circle.views]
    keys = [k for k in planned(run, settings) if k in by_number and run.key(k).is_file()]

    def crispness(paths: Sequence[Path], masks: Sequence[Mask]) -> Number:
        if not paths or not all(p.is_file() for p in paths):
            return None

        def one(item: tuple[Path, Mask]) -> float:
            return sharpness(read_on_black(item[0]), item[1])

        return mean([s for _, s in in_order(one, list(zip(paths, masks, strict=True)), threads)])

    numbers = list(by_number)
    crisp = {
        name: crispness([SEQUENCES[name](run, k) for k in numbers], inner)
        for name in ("source", "propagated", "splat")
    }
    crisp["keys"] = crispness([run.key(k) for k in keys], [inner[by_number[k]] for k in keys])
    own = crisp["keys"]
    for name in ("propagated", "splat"):
        value = crisp[name]
        crisp[f"{name}_over_keys"] = value / own if value is not None and own else None
    return {
        "sharpness": crisp,
        "l1_keys": mean([_key_difference(run, k, inner[by_number[k]]) for k in keys]),
        "silhouette_iou": silhouettes(run, frames, threads),
    }


def _key_difference(run: Run, number: int, inside: Mask) -> Number:
    """Mean absolute difference, 0..1, between a key and the propagated frame at its place."""
    path = run.stylized_frame(number)
    if not path.is_file() or not inside.any():
        return None
    difference = read_on_black(path).astype(np.float32) - read_on_black(run.key(number))
    return float(np.abs(difference[inside]).mean()) / 255


def silhouettes(run: Run, frames: Sequence[Frame], threads: int) -> Number:
    """Mean intersection over union of the splat's and the turntable's silhouettes."""
    if not all(run.render(f.frame).is_file() for f in frames):
        return None

    def compare(frame: Frame) -> float:
        a, b = (
            read_rgba(p)[..., 3] >= OPAQUE
            for p in (run.frame(frame.frame), run.render(frame.frame))
        )
        return intersection_over_union(a, b)

    return mean([v for _, v in in_order(compare, frames, threads)])


# --- what others noted ----------------------------------------------------------------------------


def coverage(run: Run) -> Number:
    """Share of the object's pixels that some key sees, from propagation.json."""
    path = run.folder / "propagation.json"
    return float(read_json(path)["coverage"]) if path.is_file() else None


def splat_count(path: Path) -> int | None:
    """The number of splats a .ply states in its header."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        for line in file:
            words = line.split()
            if words[:2] == [b"element", b"vertex"]:
                return int(words[2])
            if words[:1] == [b"end_header"]:
                break
    return None


def stage_seconds(run: Run) -> dict[str, float]:
    """Wall seconds of the turntable and of this iteration's finished stages, from run.json."""
    if not run.manifest.is_file():
        return {}
    stages = read_manifest(run.root)["stages"]
    seconds = {}
    for record, state in stages.items():
        iteration, _, name = record.partition("/")
        wanted = iteration == str(run.iteration) or record == "0/turntable"
        if wanted and state.get("state") == "done" and state.get("seconds") is not None:
            seconds[name] = float(state["seconds"])
    return seconds

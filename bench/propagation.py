"""Consistency, sharpness, seams and cost of propagation, measured on run folders.

    .venv-worker/bin/python bench/propagation.py [--patches] [--splats FOLDER] RUN_DIR...

A run folder needs its turntable and keyframes, and for the comparison every frame restyled on its
own (``run --until stylize --compare-independent yes``). For each folder, on ring 0: the warp errors
of the unstyled render, of every frame restyled on its own, and of each way to weave the keys into
one surface; sharpness over the keys' own; contrast of seams over their neighborhood; processor
seconds, single-threaded, holes filled, without reading and writing files. ``--patches`` adds patch
synthesis with cross-fade, on a third of the ring (two minutes). ``--splats`` propagates every
frame anew in FOLDER, by ``reproject`` and by patch synthesis with cross-fade, trains a splat on
each, and compares its renders with its own held-out frames (about fifteen minutes; what is there is
kept, so the same command goes on). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gs_diffusion_addon.core.dataset import Frame
from gs_diffusion_addon.core.errors import GsdError
from gs_diffusion_addon.core.keyframes import used
from gs_diffusion_addon.core.run import Run, read_manifest, run_settings
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.engine import dataset, metrics, propagate, render, train
from gs_diffusion_addon.engine.guides import cameras, interior
from gs_diffusion_addon.engine.images import BLACK, over, read_rgba, to_bytes
from gs_diffusion_addon.engine.measures import seam_contrast, sharpness, warp_error
from gs_diffusion_addon.engine.parallel import thread_count
from gs_diffusion_addon.engine.propagate import (
    finish,
    guidance,
    holes,
    patchmatch,
    read_key,
    unmixed,
)
from gs_diffusion_addon.engine.propagate.reproject import KeySet, closed

MODES = ("soft", "hard", "hidden")
LAGS = ("1", "key_gap", "60deg", "loop")
SPLATS = {  # what splats are trained on, as settings of the propagate stage
    "reproject": {"propagator": "reproject", "seams": "hidden"},
    "patches + crossfade": {
        "propagator": "patchmatch",
        "patch_start": "plain",
        "blending": "crossfade",
    },
}
SPANS = 3  # patch synthesis is measured from the last key across the seam to the third one


@dataclasses.dataclass
class Scene:
    """A run's ring 0 with what all methods are compared on."""

    run: Run
    settings: Settings
    circle: metrics.Ring
    keys: list[int]
    pairs: Mapping[str, Sequence[tuple[int, int]]]

    @classmethod
    def of(cls, root: Path, iteration: int) -> Scene:
        run = Run(root, iteration)
        settings = run_settings(read_manifest(root))
        frames = cameras(run)
        circle = metrics.load_ring(run, frames, thread_count(settings))
        numbers = [f.frame for f in circle.frames]
        keys = [numbers.index(k) for k in used(run, settings) if k in numbers]
        count = len(numbers)
        pairs = metrics.lag_pairs(count, metrics.key_gap(settings, count))
        return cls(run, settings, circle, keys, pairs)

    def errors(self, picture: Callable[[int], np.ndarray | None]) -> dict[str, float | None]:
        """Raw warp errors by lag of the frames that ``picture`` has."""
        cache = {k: picture(k) for k in range(len(self.circle.frames))}
        views, inside = self.circle.views, self.circle.inside
        out = {}
        for lag, pairs in self.pairs.items():
            known = [
                warp_error(views[a], views[b], inside[a], inside[b], cache[a], cache[b])
                for a, b in pairs
                if cache[a] is not None and cache[b] is not None
            ]
            out[lag] = metrics.mean(known)
        return out

    def crispness(self, picture: Callable[[int], np.ndarray | None]) -> float:
        """Sharpness over the keys' own."""
        inner = [interior(v, metrics.RIM) for v in self.circle.views]
        own = np.mean([sharpness(self.key(k), inner[k]) for k in self.keys])
        found = [(picture(k), m) for k, m in enumerate(inner)]
        return float(np.mean([sharpness(p, m) for p, m in found if p is not None]) / own)

    def key(self, position: int) -> np.ndarray:
        """A key's picture."""
        return read_key(self.run, self.circle.frames[position])

    def stored(self, place: Callable[[int], Path]) -> dict[int, np.ndarray]:
        """Pictures on disk, composited on black, by position."""
        paths = {k: place(f.frame) for k, f in enumerate(self.circle.frames)}
        return {k: to_bytes(over(read_rgba(p), BLACK)) for k, p in paths.items() if p.is_file()}


def measure_run(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one run folder."""
    scene = Scene.of(root, options.iteration)
    run = scene.run
    table: dict[str, dict[str, Any]] = {}
    for name, place in (
        ("render", run.frame),
        ("each on its own", lambda k: run.independent / f"r_{k}.png"),
    ):
        pictures = scene.stored(place)
        if len(pictures) == len(scene.circle.frames):
            table[name] = {"warp": scene.errors(pictures.get)}
            table[name]["sharpness"] = scene.crispness(pictures.get)
    for mode in MODES:
        table[f"reproject {mode}"] = woven(scene, mode)
    if options.patches:
        for start in ("reproject", "plain"):
            table[f"patches ({start}) + crossfade"] = patched(scene, start)
    alone = table.get("each on its own")
    for row in table.values():
        base = alone["warp"]["60deg"] if alone else None
        row["gain_60deg"] = base / row["warp"]["60deg"] if base else None
    views = scene.circle.views
    found = {
        "run": root.name,
        "size": f"{views[0].camera.width}x{views[0].camera.height}",
        "object_share": round(float(np.mean([v.mask.mean() for v in views])), 3),
        "views": len(views),
        "keys": len(scene.keys),
        "methods": table,
    }
    if options.splats:
        found["splats"] = {
            name: trained(scene, options, name.split()[0], changes)
            for name, changes in SPLATS.items()
        }
    return found


def woven(scene: Scene, mode: str) -> dict[str, Any]:
    """One way to weave: warp errors, sharpness, seams, cost."""
    views = [scene.circle.views[k] for k in scene.keys]
    styled = [scene.key(k) for k in scene.keys]
    alphas = [read_rgba(scene.run.source(scene.circle.frames[k].frame))[..., 3] for k in scene.keys]
    by_number = {f.frame: v for f, v in zip(scene.circle.frames, scene.circle.views, strict=True)}

    def unstyled(frame: Frame) -> np.ndarray:
        return guidance.unstyled(scene.run, frame.frame)

    def solved() -> KeySet:
        clear = [unmixed(c, a, v.mask) for c, a, v in zip(styled, alphas, views, strict=True)]
        keys = KeySet.of(views, np.stack(clear), mode, scene.settings.sharpness)
        frames = scene.circle.frames
        return holes.filled(keys, frames, lambda f: by_number[f.frame], unstyled, 1)

    closed(views[0], solved())  # compiles
    start = time.process_time()
    keys = solved()
    solve = time.process_time() - start
    pictures, seams, spent, coverage = {}, [], [0.0, 0.0], []
    for k, view in enumerate(scene.circle.views):
        marks = [time.process_time()]
        painted, label = closed(view, keys)
        marks.append(time.process_time())
        alpha = np.where(view.mask, 255, 0).astype(np.uint8)
        pictures[k] = np.ascontiguousarray(finish(painted, alpha)[..., :3])
        marks.append(time.process_time())
        spent = [spent[i] + marks[i + 1] - marks[i] for i in (0, 1)]
        coverage.append(float(((label >= 0) & (label < len(views)))[view.mask].mean()))
        seams.append(seam_contrast(pictures[k], label, interior(view, metrics.RIM)))
    count = len(pictures)
    across, beside = np.mean(seams, axis=0)
    return {
        "warp": scene.errors(pictures.get),
        "sharpness": scene.crispness(pictures.get),
        "seam": float(across / beside) if beside else None,
        "coverage": float(np.mean(coverage)),
        "solve_cpu_seconds": round(solve, 3),
        "kernel_cpu_seconds_a_frame": round(spent[0] / count, 4),
        "cpu_seconds_a_frame": round((solve + sum(spent)) / count, 4),
    }


def patched(scene: Scene, start: str) -> dict[str, Any]:
    """Patch synthesis from the two nearest keys, cross-faded, on :data:`SPANS` gaps of keys."""
    settings = dataclasses.replace(
        scene.settings, patch_start=start, blending="crossfade", threads=1
    )
    frames = scene.circle.frames
    by_number = {f.frame: v for f, v in zip(frames, scene.circle.views, strict=True)}
    patches = patchmatch.Patches.of(scene.run, settings, frames, lambda f: by_number[f.frame])
    patches.picture(frames[scene.keys[0]].frame)  # compiles
    patches.chains.clear()
    first, last = scene.keys[-1] - len(frames), scene.keys[min(SPANS, len(scene.keys)) - 1]
    began = time.process_time()
    positions = [k % len(frames) for k in range(first, last)]
    pictures = {k: patches.picture(frames[k].frame) for k in positions}
    spent = time.process_time() - began
    return {
        "warp": scene.errors(pictures.get),
        "sharpness": scene.crispness(pictures.get),
        "cpu_seconds_a_pass": round(spent / 2 / len(pictures), 2),
        "cpu_seconds_a_frame": round(spent / len(pictures), 2),
    }


def trained(
    scene: Scene, options: argparse.Namespace, name: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """A splat trained on all frames as ``changes`` has them propagated: held-out quality inside
    the silhouette, and sharpness over the keys' own.
    """
    source = scene.run
    run = Run(options.splats.resolve() / source.root.name / name, source.iteration)
    for place in (source.train_main, source.guides, source.transforms_main, source.keys):
        link = run.root / place.relative_to(source.root)
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(place)
    settings = dataclasses.replace(
        scene.settings,
        **changes,
        trainer="builtin",
        train_steps=options.train_steps,
        splats=options.start_splats,
        max_splats=options.max_splats,
    )

    def quiet(event: str, **fields: Any) -> None:
        if event in ("phase", "warning"):
            print(f"    {name}: {fields['message']}", flush=True)

    spent: dict[str, float] = {}
    for stage in (propagate, dataset, train, render):
        began = time.process_time()
        stage.run_stage(run, settings, quiet)
        spent[stage.__name__.rpartition(".")[2]] = round(time.process_time() - began, 1)
    threads = thread_count(settings)
    frames = cameras(run)
    quality = metrics.held_out(run, settings, frames, threads)["all"]
    looks = metrics.appearance(run, settings, frames, scene.circle, threads)
    warp = metrics.warp_table(run, scene.circle, metrics.key_gap(settings, len(frames)), threads)
    return {
        "psnr_object": quality["psnr_object"],
        "psnr": quality["psnr"],
        "held_out": quality["frames"],
        "sharpness": looks["sharpness"]["splat_over_keys"],
        "frames_sharpness": looks["sharpness"]["propagated_over_keys"],
        "warp_60deg": {k: warp[k]["60deg"]["raw"] for k in ("propagated", "splat")},
        "splats": metrics.splat_count(run.splat),
        "cpu_seconds": spent,
    }


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(
        f"\n{found['run']}: {found['views']} views, {found['size']} ({found['object_share']:.0%} "
        f"model), {found['keys']} keys"
    )
    heads = [*(f"E {lag}" for lag in LAGS), "gain", "sharp", "seam", "CPU-s"]
    print(f"  {'warp error E x 1e4':30}" + "".join(f"{h:>10}" for h in heads))
    for name, row in found["methods"].items():
        cells = [None if row["warp"][lag] is None else 1e4 * row["warp"][lag] for lag in LAGS]
        cells += [row.get(k) for k in ("gain_60deg", "sharpness", "seam", "cpu_seconds_a_frame")]
        digits = (2, 2, 2, 2, 1, 3, 3, 4)
        text = ["-" if c is None else f"{c:.{d}f}" for c, d in zip(cells, digits, strict=True)]
        print(f"  {name:30}" + "".join(f"{t:>10}" for t in text))
    for name, row in found.get("splats", {}).items():
        print(
            f"  splat on {name:21} {row['psnr_object']:.2f} dB inside the silhouette of "
            f"{row['held_out']} held-out frames; sharpness over the keys' {row['sharpness']:.3f}"
        )


def main() -> int:
    """Measure the folders of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="run folders")
    parser.add_argument("--iteration", type=int, default=1, help="iteration (default: 1)")
    parser.add_argument("--patches", action="store_true", help="patch synthesis as well (slow)")
    parser.add_argument("--splats", type=Path, metavar="FOLDER", help="train splats (slower)")
    parser.add_argument("--train-steps", type=int, default=1000, help="default: 1000")
    parser.add_argument("--start-splats", type=int, default=30000, help="default: 30000")
    parser.add_argument("--max-splats", type=int, default=60000, help="default: 60000")
    arguments = parser.parse_args()
    results = []
    try:
        for root in arguments.runs:
            found = measure_run(root.resolve(), arguments)
            show(found)
            results.append(found)
    except GsdError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if not arguments.runs:
        print("Name at least one run folder, such as runs/demo.", file=sys.stderr)
    print(json.dumps({"bench": "propagation", "runs": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

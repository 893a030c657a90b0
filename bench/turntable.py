"""How long a turntable frame and its geometry pass take, and how large they are.

    .venv/bin/python bench/turntable.py [--engine cycles] [--samples 16] [--size 512] [--views 8]

Renders Suzanne (subdivided) or --model. Prints a table, and as its last line one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("BLENDER_USER_RESOURCES", tempfile.mkdtemp(prefix="gsd-bench-"))

import bpy

from gs_diffusion_addon.core.exr import read_guide
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings, validate
from gs_diffusion_addon.scene import model_file, turntable


class Clock:
    """Takes the time of each finished frame, by kind: wall and processor seconds since the last
    event.
    """

    def __init__(self) -> None:
        self.frames: dict[str, list[tuple[float, float]]] = {"frames": [], "passes": []}
        self._last = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return time.perf_counter(), usage.ru_utime + usage.ru_stime

    def __call__(self, event: str, **fields: Any) -> None:
        now = self._now()
        if event == "frame_done":
            kind = "frames" if fields["path"].endswith(".png") else "passes"
            self.frames[kind].append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="cycles", choices=("cycles", "eevee", "workbench"))
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--size", default="512")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--no-denoise", action="store_true")
    parser.add_argument("--model", default="")
    return parser.parse_args()


def open_model(settings: Settings) -> None:
    if settings.model:
        model_file.open_source(settings)
        return
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.mesh.primitive_monkey_add()
    bpy.ops.object.shade_smooth()
    bpy.context.object.modifiers.new("Subdivision", "SUBSURF").render_levels = 3


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send Blender's own prints nowhere."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(nowhere)
        os.close(kept)


def main() -> None:
    args = arguments()
    settings = validate(
        Settings(
            model=args.model,
            views=args.views,
            rings="none",
            size=args.size,
            engine=args.engine,
            samples=args.samples,
            denoise=not args.no_denoise,
        )
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, quiet():
        run = Run(Path(folder))
        open_model(settings)
        start = time.perf_counter()
        turntable.run_stage(run, settings, clock)
        total = time.perf_counter() - start
        sizes = {
            "frames": mean([p.stat().st_size for p in run.train_main.iterdir()]),
            "passes": mean([p.stat().st_size for p in run.guides.glob("*.exr")]),
        }
        seen = float(read_guide(run.guide(0)).mask.mean())
    result: dict[str, Any] = {
        "blender": bpy.app.version_string,
        "engine": args.engine,
        "samples": args.samples,
        "denoise": settings.denoise,
        "size": args.size,
        "views": args.views,
        "seconds_total": round(total, 2),
        "share_of_picture_seen": round(seen, 3),
    }
    print(f"{'':10} {'first s':>8} {'then s':>8} {'CPU s':>8} {'bytes':>10}")
    for kind, name in (("frames", "beauty"), ("passes", "geometry")):
        first, *rest = clock.frames[kind]
        wall, cpu = mean([r[0] for r in rest]), mean([r[1] for r in rest])
        print(f"{name:10} {first[0]:8.2f} {wall:8.3f} {cpu:8.3f} {sizes[kind]:10.0f}")
        result[name] = {
            "first_seconds": round(first[0], 3),
            "seconds": round(wall, 4),
            "cpu_seconds": round(cpu, 4),
            "bytes": round(sizes[kind]),
        }
    print(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # bpy has hung at the interpreter's end


if __name__ == "__main__":
    main()

"""Time and memory of a training step from ten thousand to a million splats.

.venv-worker/bin/python bench/scaling.py [--counts 10000 100000 1000000] [--size 1024]

The scene is bench/kernel.py's bumpy sphere at --size squared, seen by two views whose pictures are
the splats' own drawing. A step is what training does: draw, compare, differentiate, Adam, with SH
degree 1. Compilation is apart; memory is the process' peak so far, so counts go upward. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.kernel import surface
from gs_diffusion_addon.core.cameras import Camera, look_at
from gs_diffusion_addon.engine.splat.backends import builtin, warm_up
from gs_diffusion_addon.engine.splat.dataset import Dataset, Picture, World
from gs_diffusion_addon.engine.splat.drawing import render
from gs_diffusion_addon.engine.splat.initialize import from_points
from gs_diffusion_addon.engine.splat.training import Recipe, train


def measure(count: int, size: int, steps: int) -> dict[str, Any]:
    """One row: seconds of a step (processor and wall) and the peak memory in GiB."""
    points, places = surface(None), ((0.0, -2.9, 0.7), (2.9, 0.0, 0.7))
    fl = 1.39 * size
    cameras = [
        Camera(size, size, fl, fl, size / 2, size / 2, look_at(np.array(p), np.zeros(3)))
        for p in places
    ]
    world = World.of(cameras)
    first = from_points(points, world, count, 1, 0)
    model = world.splats_out(first)
    box = (0, size, 0, size)
    pictures = [
        Picture(render(model, camera), camera, world.view(camera), box, k)
        for k, camera in enumerate(cameras)
    ]
    recipe = Recipe(steps=steps, most_splats=count)
    cpu, wall = time.process_time(), time.perf_counter()
    train(Dataset(pictures, [], world), lambda: first, recipe, builtin())
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return {
        "splats": first.count,
        "cpu_ms_per_step": round(1e3 * cpu / steps, 1),
        "wall_ms_per_step": round(1e3 * wall / steps, 1),
        "cpu_us_per_splat": round(1e6 * cpu / steps / first.count, 3),
        "peak_gib": round(peak, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    warm_up(builtin())
    measure(1000, 64, 2)  # torch imports more when its optimizer is first used
    rows = []
    for count in sorted(options.counts):
        rows.append(measure(count, options.size, options.steps))
        if len(rows) == 1:
            print("  ".join(f"{name:>17}" for name in rows[0]))
        print("  ".join(f"{value:>17}" for value in rows[-1].values()), flush=True)
    print(json.dumps({"size": options.size, "steps": options.steps, "rows": rows}))


if __name__ == "__main__":
    main()

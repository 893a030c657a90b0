"""How fast does a splat .ply come into Blender, and with how much memory?

    .venv/bin/python bench/import_ply.py [--counts 200000 1000000] [--degree 3]

Compares our import (numpy and foreach_set) with Blender's own PLY importer (geometry only before
5.3) and with a Python loop over the splats, which is how other add-ons fill attributes. Each in a
process of its own, the file warm in the cache. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gs_diffusion_addon.core.ply import Splats, read_splats, write_splats

METHODS = ("ours", "wm.ply_import", "python loop")


def main() -> None:
    """Make a file of each size, run each method on it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--degree", type=int, default=3)
    parser.add_argument("--child", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.child, options.file)
    figures = {}
    print(f"{'splats':>10} {'MB':>7} {'method':>14} {'seconds':>8} {'peak MB above base':>19}")
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "splats.ply"
            write_splats(path, random_splats(count, options.degree))
            size = path.stat().st_size / 1e6
            for method in METHODS:
                command = [sys.executable, __file__, "--child", method, "--file", str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                figure = json.loads(done.stdout.strip().splitlines()[-1])
                figures[f"{method}, {count}"] = figure
                print(
                    f"{count:>10,} {size:>7.1f} {method:>14} {figure['seconds']:>8.2f} "
                    f"{figure['megabytes']:>19.0f}"
                )
    print(json.dumps(figures))


def random_splats(count: int, degree: int) -> Splats:
    """Normally distributed numbers throughout."""
    rng = np.random.default_rng(0)
    shapes = ((count, 3), (count, (degree + 1) ** 2, 3), (count,), (count, 3), (count, 4))
    return Splats(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def measure(method: str, path: Path) -> None:
    """Import ``path`` in this process, print seconds and peak memory as JSON, and end."""
    import bpy

    from gs_diffusion_addon.scene.splat_import import import_splat

    with open(path, "rb") as file:
        while file.read(1 << 20):  # into the system's cache, not into this process
            pass
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    if method == "ours":
        import_splat(path)
    elif method == "wm.ply_import":
        bpy.ops.wm.ply_import(filepath=str(path))
    else:
        loop_import(path)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": round(seconds, 3), "megabytes": round((peak - base) / 1024, 1)}))
    sys.stdout.flush()
    os._exit(0)


def loop_import(path: Path) -> None:
    """Set position, color, scale and rotation splat by splat."""
    import bpy

    splats = read_splats(path)
    mesh = bpy.data.meshes.new("loop")
    mesh.from_pydata(splats.means.tolist(), [], [])
    base = mesh.attributes.new("radiance:base", "FLOAT_COLOR", "POINT").data
    scale = mesh.attributes.new("scale", "FLOAT_VECTOR", "POINT").data
    rotation = mesh.attributes.new("rotation", "QUATERNION", "POINT").data
    opacities = 1 / (1 + np.exp(-splats.opacities))
    for k in range(splats.count):
        base[k].color = (*splats.sh[k, 0], opacities[k])
        scale[k].vector = np.exp(splats.scales[k])
        rotation[k].value = splats.quats[k]


if __name__ == "__main__":
    main()

"""How fast does a splat .ply come into Blender? (in Blender's Python)

    .venv/bin/python bench/import_ply.py [--counts 200000 1000000] [--degree 3] [--repeat 3]

Compares our import (numpy and foreach_set) with Blender's own PLY importer (before 5.3 a bare mesh
with custom attributes) and with a Python loop over the splats, which is how other add-ons fill
attributes. Each in processes of its own, the file warm in the cache; the least CPU seconds of
``--repeat`` runs count, which other programs disturb less than the clock. Peak memory is what the
import adds to the process, as a multiple of the file. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
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
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--child", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.child, options.file)
    figures = {}
    print(
        f"{'splats':>10} {'MB':>7} {'method':>14} {'CPU s':>6} {'clock s':>8} {'memory/file':>12}"
    )
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "splats.ply"
            write_splats(path, random_splats(count, options.degree))
            size = path.stat().st_size / 1e6
            for method in options.methods:
                figure = best(method, path, options.repeat)
                figure["memory_per_file"] = round(figure.pop("megabytes") / size, 2)
                figures[f"{method}, {count}"] = figure
                print(
                    f"{count:>10,} {size:>7.1f} {method:>14} {figure['cpu']:>6.2f} "
                    f"{figure['seconds']:>8.2f} {figure['memory_per_file']:>12.2f}"
                )
    print(json.dumps(figures))


def best(method: str, path: Path, repeat: int) -> dict[str, float]:
    """The least of each figure over ``repeat`` processes."""
    runs = []
    for _ in range(1 if method == "python loop" else repeat):
        command = [sys.executable, __file__, "--child", method, "--file", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
    return {name: min(run[name] for run in runs) for name in runs[0]}


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
    base = peak_bytes(reset=True)
    start, used = time.perf_counter(), time.process_time()
    if method == "ours":
        import_splat(path)
    elif method == "wm.ply_import":
        bpy.ops.wm.ply_import(filepath=str(path))
    else:
        loop_import(path)
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    megabytes = (peak_bytes() - base) / 1e6
    print(json.dumps({"cpu": round(cpu, 3), "seconds": round(seconds, 3), "megabytes": megabytes}))
    sys.stdout.flush()
    os._exit(0)


def peak_bytes(reset: bool = False) -> int:
    """The process' peak of resident memory (Linux); after a ``reset`` that is what it has now.

    Not ``ru_maxrss``, which a child inherits from its parent.
    """
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


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

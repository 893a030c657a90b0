"""Quality and time of the built-in trainer on unstyled turntables.

.venv-worker/bin/python bench/training.py [RUN_DIR] [--steps 300 600 1000] [--threads 2]

RUN_DIR is a folder that the turntable stage has written. Without one, Blender (.venv) makes
Suzanne on a checkered floor: 72 views at 512 x 512 on one ring at 20 degrees, 8 held-out views
between them, and 12 off the ring at 40 and 5 degrees. Trained is ring 0; other rings are held
out, those at ring 0's height as "on ring". With --all-rings every ring is trained, every eighth
view of each held out; with --seen those are trained as well, which bounds what can be reached.
PSNR is on black, whole image and inside the silhouette. Compilation is timed apart.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gs_diffusion_addon.core.dataset import Frame, read_transforms
from gs_diffusion_addon.core.exr import read_guide
from gs_diffusion_addon.core.ply import Splats, read_points
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.engine.splat.backends import Backend, builtin, warm_up
from gs_diffusion_addon.engine.splat.dataset import Dataset, Picture, World, load_picture
from gs_diffusion_addon.engine.splat.initialize import colored, from_points
from gs_diffusion_addon.engine.splat.loss import psnr
from gs_diffusion_addon.engine.splat.model import model_of
from gs_diffusion_addon.engine.splat.training import Recipe, Status, train

ROOT = Path(__file__).resolve().parent.parent
MAKE = """
import os, sys
from pathlib import Path
import bpy
sys.path.insert(0, sys.argv[2])
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.scene.turntable import run_stage

bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_monkey_add(size=2)
monkey = bpy.context.object
smooth = monkey.modifiers.new("smooth", "SUBSURF")
smooth.levels = smooth.render_levels = 2
bpy.ops.object.shade_smooth()
bpy.ops.mesh.primitive_plane_add(size=2.4, location=(0, 0, -1))
floor = bpy.context.object
for thing, node, scale in (monkey, "ShaderNodeTexVoronoi", 4), (floor, "ShaderNodeTexChecker", 8):
    material = bpy.data.materials.new(node)
    material.use_nodes = True
    tree = material.node_tree
    texture = tree.nodes.new(node)
    texture.inputs["Scale"].default_value = scale
    tree.links.new(texture.outputs["Color"], tree.nodes["Principled BSDF"].inputs["Base Color"])
    thing.data.materials.append(material)
settings = Settings(views=72, rings="20:8,40:6,5:6", elevation=20.0, size="512", samples=8)
run_stage(Run(Path(sys.argv[1]), 0), settings, lambda event, **fields: None)
sys.stdout.flush()
os._exit(0)
"""


def make_run(folder: Path) -> Path:
    """Render the default scene with Blender's interpreter (minutes)."""
    print("rendering Suzanne with Blender, a few minutes", flush=True)
    script = folder / "make.py"
    script.write_text(MAKE, encoding="utf-8")
    command = [ROOT / ".venv" / "bin" / "python", script, folder / "run", ROOT]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return folder / "run"


def split(frames: list[Frame], all_rings: bool) -> tuple[list[Frame], list[Frame], list[Frame]]:
    """Training, held-out on-ring and held-out off-ring frames."""
    if all_rings:
        held = [f for k, f in enumerate(frames) if k % 8 == 4]
        kept = [f for k, f in enumerate(frames) if k % 8 != 4]
        return kept, [f for f in held if f.ring == 0], [f for f in held if f.ring > 0]
    ring0 = [f for f in frames if f.ring == 0]
    height = ring0[0].camera.position[2]
    rest = [f for f in frames if f.ring > 0]
    level = [f for f in rest if abs(f.camera.position[2] - height) < 1e-3]
    return ring0, level, [f for f in rest if f not in level]


def scores(splats: Splats, pictures: list[Picture], backend: Backend) -> tuple[float, float]:
    """Mean PSNR of the whole image and inside the silhouette, on black."""
    if not pictures:
        return float("nan"), float("nan")
    model, black, out = model_of(splats, backend.device, 1), torch.zeros(3), []
    for picture in pictures:
        with torch.no_grad():
            drawn = backend.rasterize(*model.arguments(), picture.view, black).image
        image, target = drawn.clamp(0, 1).numpy(), backend.target(picture, black).numpy()
        inside = picture.rgba[..., 3] > 0
        out.append((psnr(image, target), psnr(image[:, inside], target[:, inside])))
    whole, silhouette = np.mean(out, axis=0)
    return float(whole), float(silhouette)


def measure(dataset: Dataset, off: list[Picture], first: Splats, recipe: Recipe) -> dict[str, Any]:
    """Train once; nothing is judged meanwhile, so the times are the training's alone."""
    backend, last = builtin(), []
    blind = dataclasses.replace(dataset, held_out=[])
    wall, cpu = time.perf_counter(), time.process_time()
    splats = train(blind, lambda: first, recipe, backend, last.append)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    on_ring, on_object = scores(splats, dataset.held_out, backend)
    off_ring, off_object = scores(splats, off, backend)
    final: Status = last[-1]
    return {
        "steps": recipe.steps,
        "splats_first": first.count,
        "splats": splats.count,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "on_ring": round(on_ring, 2),
        "on_ring_object": round(on_object, 2),
        "off_ring": round(off_ring, 2),
        "off_ring_object": round(off_object, 2),
        "loss": round(final.loss, 5),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 600, 1000])
    parser.add_argument("--splats", type=int, default=15_000)
    parser.add_argument("--max-splats", type=int, default=40_000)
    parser.add_argument("--sh-degree", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--all-rings", action="store_true")
    parser.add_argument("--seen", action="store_true")
    options = parser.parse_args()
    os.environ["GSD_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        root = options.run or make_run(Path(scratch))
        result = bench(Run(root, 1), options)
    print(json.dumps(result))


def bench(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Everything for one run folder; prints the table."""
    frames = read_transforms(run.transforms_main)
    parts = split(frames, options.all_rings)
    if options.seen:
        parts = (frames, *parts[1:])
    world = World.of([f.camera for f in parts[0]])
    kept, level, off = ([load_picture(run.root, f, world) for f in part] for part in parts)
    dataset = Dataset(kept, level, world)
    chosen = kept[:: max(1, len(kept) // 24)]
    guides = [read_guide(run.guide(p.frame)) for p in chosen]
    points = read_points(run.surface)
    points = dataclasses.replace(points, colors=colored(points.positions, chosen, guides))
    start = time.perf_counter()
    warm_up(builtin())
    jit = time.perf_counter() - start
    size = kept[0].rgba.shape
    print(
        f"{len(kept)} views of {size[1]}x{size[0]} trained, {len(level)} held out on ring 0's "
        f"height, {len(off)} off it; random background; {options.threads} threads; "
        f"kernels ready after {jit:.1f} s"
    )
    rows = []
    for steps in options.steps:
        recipe = Recipe(steps=steps, most_splats=options.max_splats)
        first = from_points(points, world, options.splats, options.sh_degree, recipe.seed)
        rows.append(measure(dataset, off, first, recipe))
        if len(rows) == 1:
            print("  ".join(f"{name:>15}" for name in rows[0]))
        print("  ".join(f"{value:>15}" for value in rows[-1].values()), flush=True)
    return {
        "views": len(kept),
        "jit_seconds": round(jit, 1),
        "threads": options.threads,
        "rows": rows,
    }


if __name__ == "__main__":
    main()

"""How near is Cycles' picture of a run's splat to the trainer's own? (in Blender's Python)

    .venv/bin/python bench/splat_picture.py [RUN] [--frames 0 3] [--quick]

RUN is the folder of a finished run, the demo's if none is given. Each display of the splat is
rendered from training cameras and compared with the trainer's render of the same view
(iterK/renders): PSNR of the colors inside the silhouette (alpha above 0.5) and of the alpha, and
the CPU seconds it took. "turned" is after the object was turned, moved and scaled, its transform
applied, and the camera moved along. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Euler, Matrix

from gs_diffusion_addon.core.cameras import Camera
from gs_diffusion_addon.core.dataset import read_transforms
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.scene.result import set_filter
from gs_diffusion_addon.scene.splat_display import prepare_scene, sample_centers, show_splat
from gs_diffusion_addon.scene.splat_edit import apply_transform
from gs_diffusion_addon.scene.splat_import import import_splat

TURN = (
    Matrix.Translation((1, 2, 3))
    @ Euler((0.7, -1.1, 2.2)).to_matrix().to_4x4()
    @ Matrix.Scale(2.5, 4)
)


@dataclass(frozen=True)
class Way:
    """One way to render: display, blending as trained, pixel centers only, turned and applied."""

    name: str
    mode: str
    exact: bool
    centers: bool
    turned: bool = False
    samples: int = 8


WAYS = (
    Way("faithful, as trained, centers", "faithful", True, True, samples=1),
    Way("faithful, as trained, centers, turned", "faithful", True, True, True, 1),
    Way("faithful, as trained", "faithful", True, False),
    Way("faithful, Standard, centers", "faithful", False, True, samples=1),
    Way("faithful, Standard", "faithful", False, False),
    Way("gaussians, as trained, centers", "gaussians", True, True, samples=1),
    Way("gaussians, Standard", "gaussians", False, False),
)
QUICK = 4


def main() -> None:
    """Render all ways and frames, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--iteration", type=int, default=1)
    parser.add_argument("--frames", type=int, nargs="+", default=[0])
    parser.add_argument("--quick", action="store_true", help="only the ways of one sample")
    options = parser.parse_args()
    run = Run(options.run, options.iteration)
    if not run.splat.is_file():
        print(f"{run.splat} does not exist; `make demo` makes one.\n{{}}")
        return
    cameras = {f.frame: f.camera for f in read_transforms(run.transforms_main)}
    figures = {}
    for way in WAYS[:QUICK] if options.quick else WAYS:
        for frame in options.frames:
            color, alpha, seconds = compared(run, cameras[frame], frame, way)
            figures[f"{way.name}, {frame}"] = {"color": color, "alpha": alpha, "cpu": seconds}
            row = f"color {color:6.2f} dB  alpha {alpha:6.2f} dB  {seconds:6.2f} CPU s"
            print(f"{way.name:40} frame {frame:>3}  {row}", flush=True)
    print(json.dumps(figures))
    sys.stdout.flush()
    os._exit(0)


def compared(run: Run, camera: Camera, frame: int, way: Way) -> tuple[float, float, float]:
    """PSNR of colors inside the silhouette and of alpha, and CPU seconds of the render."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    item = import_splat(run.splat)
    show_splat(item, render=way.mode)
    set_filter(item, run.transforms_main)
    pose = Matrix(camera.matrix.tolist())
    if way.turned:
        item.matrix_world = TURN
        bpy.context.view_layer.update()
        apply_transform(item)
        place, turn, _ = (TURN @ pose).decompose()
        pose = Matrix.LocRotScale(place, turn, None)
    set_up(bpy.context.scene, camera, pose, way)
    path = Path(bpy.app.tempdir) / "splat_picture.png"
    bpy.context.scene.render.filepath = str(path)
    start = time.process_time()
    bpy.ops.render.render(write_still=True)
    seconds = time.process_time() - start
    ours, trained = pixels(path), pixels(run.render(frame))
    inside = trained[..., 3] > 0.5
    colors = [p[..., :3] * p[..., 3:] for p in (ours, trained)]
    return (
        psnr(colors[0][inside], colors[1][inside]),
        psnr(ours[..., 3], trained[..., 3]),
        round(seconds, 2),
    )


def set_up(scene: bpy.types.Scene, camera: Camera, pose: Matrix, way: Way) -> None:
    """Camera and render settings."""
    data = bpy.data.cameras.new("camera")
    data.sensor_width, data.lens = 36, camera.fl_x * 36 / camera.width
    scene.camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(scene.camera)
    scene.camera.matrix_world = pose
    scene.render.engine, scene.cycles.samples = "CYCLES", way.samples
    scene.cycles.use_denoising = False
    prepare_scene(scene, way.exact)
    if way.centers:
        sample_centers(scene)
    render = scene.render
    render.film_transparent, render.dither_intensity = True, 0
    render.resolution_x, render.resolution_y = camera.width, camera.height
    render.resolution_percentage = 100
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"


def pixels(path: Path) -> np.ndarray:
    """(H, W, 4) of 0..1, straight alpha."""
    image = bpy.data.images.load(str(path))
    image.alpha_mode = "CHANNEL_PACKED"
    values = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(values)
    shape = (image.size[1], image.size[0], 4)
    bpy.data.images.remove(image)
    return values.reshape(shape)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Decibels of values of 0..1; 99 at most."""
    return round(float(-10 * np.log10(max(np.mean((a - b) ** 2), 10**-9.9))), 2)


if __name__ == "__main__":
    main()

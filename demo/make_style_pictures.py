"""Renders the style pictures of the preview stylizer with Blender: materials under studio light.

    .venv/bin/python demo/make_style_pictures.py [NAME …] [--out FOLDER]

A style network takes color and texture from them, so each shows a rich surface up close: a lumpy
ball that fills the picture. They are committed; this script is how they were made.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import bpy
from painter import Color, Painter, Socket, new_material

ROOT = Path(__file__).resolve().parent.parent
PRESETS = ROOT / "gs_diffusion_addon" / "engine" / "stylize" / "presets"
WORKER = ROOT / ".venv-worker" / "bin" / "python"
SHRINK = """
import sys
from PIL import Image
picture = Image.open(sys.argv[1]).convert("RGB")
picture = picture.quantize(96, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
picture.save(sys.argv[1], optimize=True)
"""
"""Run in the worker's environment, which has Pillow: a palette keeps a picture below 100 kB."""

SIDE = 384  # px, what the style network takes


def main() -> None:
    """Render the named pictures, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(STYLES)}; all if none is given")
    parser.add_argument("--out", type=Path, default=PRESETS)
    options = parser.parse_args()
    for name in options.names or STYLES:
        make_scene()
        material, paint = new_material(name)
        lumps = STYLES[name](paint)
        bpy.context.object.data.materials.append(material)
        add_lumps(bpy.context.object, *lumps)
        render(options.out.absolute() / f"{name}.png")


def make_scene() -> None:
    """An empty studio with a ball, a key light, a warm rim light and Blender's studio picture."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    world = scene.world = bpy.data.worlds.new("Studio")
    if not world.node_tree:
        world.use_nodes = True
    picture = world.node_tree.nodes.new("ShaderNodeTexEnvironment")
    folder = Path(bpy.utils.system_resource("DATAFILES")) / "studiolights" / "world"
    picture.image = bpy.data.images.load(str(folder / "studio.exr"))
    background = world.node_tree.nodes["Background"]
    background.inputs["Strength"].default_value = 0.55
    world.node_tree.links.new(picture.outputs[0], background.inputs[0])
    for location, energy, color in (
        ((-3, -4, 5), 210, (1, 1, 1)),
        ((4, 0, 1), 110, (1, 0.75, 0.5)),
    ):
        bpy.ops.object.light_add(type="AREA", location=location)
        light = bpy.context.object
        light.data.energy, light.data.color, light.data.size = energy, color, 1.5
        x, y, z = location
        light.rotation_euler = (math.atan2(math.hypot(x, y), z), 0, math.atan2(y, x) + math.pi / 2)
    bpy.ops.object.camera_add(location=(0, -5, 0), rotation=(math.pi / 2, 0, 0))
    scene.camera = bpy.context.object
    scene.camera.data.type, scene.camera.data.ortho_scale = "ORTHO", 1.36
    bpy.ops.mesh.primitive_uv_sphere_add(segments=256, ring_count=128)
    bpy.context.object.data.shade_smooth()


def add_lumps(ball: bpy.types.Object, size: float, height: float) -> None:
    """Hills of ``size`` and ``height``, so that the light has something to play on."""
    texture = bpy.data.textures.new("Lumps", "CLOUDS")
    texture.noise_scale, texture.noise_depth = size, 2
    modifier = ball.modifiers.new("Lumps", "DISPLACE")
    modifier.texture, modifier.strength = texture, height


def render(path: Path) -> None:
    """Cycles, Standard view transform, an opaque PNG."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 24, True
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x = scene.render.resolution_y = SIDE
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.image_settings.compression = 100
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    subprocess.run([str(WORKER), "-c", SHRINK, str(path)], check=True)


# --- materials: each paints, and returns size and height of the ball's lumps ---------------------


def bronze(paint: Painter) -> tuple[float, float]:
    """Dark cast bronze, worn bright on the ridges, green patina in the hollows."""
    cloud = paint.step(paint.noise(3.5, 8.0), 0.35, 0.62)
    grain = paint.noise(45.0, 6.0)
    color = paint.mix(paint.step(grain, 0.3, 0.7), (0.09, 0.035, 0.012), (0.36, 0.17, 0.055))
    color = paint.mix(paint.step(paint.noise(9.0, 6.0), 0.52, 0.66), color, (0.72, 0.42, 0.16))
    runs = paint.step(paint.noise(12.0, 8.0, (1, 1, 0.25)), 0.5, 0.66)
    green = paint.math("MULTIPLY", runs, cloud)
    patina = paint.mix(grain, (0.05, 0.22, 0.18), (0.22, 0.48, 0.38))
    metal = paint.math("MULTIPLY_ADD", green, -0.9, 0.95)
    paint.finish(
        paint.mix(green, color, patina),
        paint.math("MULTIPLY_ADD", green, 0.4, 0.3),
        paint.math("ADD", paint.noise(26.0, 8.0), paint.noise(9.0, 2.0)),
        0.06,
        metallic=metal,
    )
    return 0.32, 0.35


def marble(paint: Painter) -> tuple[float, float]:
    """White marble with gray and ocher veins."""
    warp = paint.math("MULTIPLY", paint.noise(2.2, 10.0), 9.0)
    x, _, z = paint.split(paint.place)
    wave = paint.math("SINE", paint.sum(warp, paint.math("MULTIPLY", x, 5.0), z))
    vein = paint.step(paint.math("ABSOLUTE", wave), 0.28, 0.0)
    thin = paint.step(
        paint.math("ABSOLUTE", paint.math("SUBTRACT", paint.noise(5.0, 12.0), 0.5)), 0.03, 0.0
    )
    color = paint.mix(
        paint.step(paint.noise(7.0, 6.0), 0.35, 0.65), (0.80, 0.79, 0.76), (0.58, 0.60, 0.62)
    )
    color = paint.mix(vein, color, (0.20, 0.22, 0.25))
    color = paint.mix(paint.math("MULTIPLY", thin, 0.8), color, (0.36, 0.25, 0.13))
    paint.finish(color, 0.22, paint.noise(6.0, 3.0), 0.02)
    return 0.45, 0.35


def painted(paint: Painter) -> tuple[float, float]:
    """Thick oil paint: short strokes of unmixed colors, a palette of sun and shade."""
    strokes = _strokes(paint, 11.0)
    hue = paint.step(paint.math("MULTIPLY_ADD", strokes, 0.45, paint.noise(2.6, 2.0)), 0.42, 1.0)
    palette: list[Color] = [
        (0.02, 0.05, 0.22),
        (0.03, 0.20, 0.42),
        (0.10, 0.40, 0.33),
        (0.82, 0.55, 0.10),
        (0.80, 0.20, 0.05),
        (0.88, 0.72, 0.45),
    ]
    color: Socket | Color = palette[0]
    for k, tone in enumerate(palette[1:]):
        at = (k + 0.7) / len(palette)
        color = paint.mix(paint.step(hue, at, at + 0.04), color, tone)
    bristles = paint.noise(90.0, 3.0, (1, 1, 0.12))
    paint.finish(
        paint.mix(
            paint.math("MULTIPLY", paint.step(bristles, 0.45, 0.7), 0.3), color, (0.9, 0.8, 0.6)
        ),
        0.35,
        paint.math("MULTIPLY_ADD", strokes, 0.8, paint.math("MULTIPLY", bristles, 0.8)),
        0.05,
    )
    return 0.6, 0.2


def _strokes(paint: Painter, scale: float) -> Socket:
    """Cells of random gray, longer than wide and swirled: brush strokes."""
    x, y, z = paint.split(paint.place)
    swirl = paint.math("MULTIPLY", paint.noise(1.6, 2.0), 5.0)
    cos, sin = paint.math("COSINE", swirl), paint.math("SINE", swirl)
    along = paint.math("ADD", paint.math("MULTIPLY", x, cos), paint.math("MULTIPLY", z, sin))
    across = paint.math("SUBTRACT", paint.math("MULTIPLY", z, cos), paint.math("MULTIPLY", x, sin))
    cells = paint.node("ShaderNodeTexVoronoi")
    paint.feed(cells.inputs["Vector"], paint.join(paint.math("MULTIPLY", along, 0.35), y, across))
    cells.inputs["Scale"].default_value = scale
    return paint.split(cells.outputs["Color"])[0]


def porcelain(paint: Painter) -> tuple[float, float]:
    """White porcelain with cobalt brushwork under the glaze."""
    rings = paint.math("MULTIPLY_ADD", paint.noise(3.2, 1.0), 34.0, paint.noise(9.0, 2.0))
    lines = paint.step(paint.math("SINE", rings), 0.25, 0.75)
    wash = paint.math("MULTIPLY", paint.step(paint.noise(16.0, 5.0), 0.4, 0.7), 0.8)
    blue = paint.mix(wash, (0.01, 0.03, 0.30), (0.10, 0.22, 0.62))
    ground = paint.mix(
        paint.step(paint.noise(5.0, 4.0), 0.4, 0.7), (0.80, 0.83, 0.86), (0.66, 0.74, 0.84)
    )
    paint.finish(paint.mix(lines, ground, blue), 0.08, paint.noise(4.0, 2.0), 0.01)
    return 0.5, 0.25


def terracotta(paint: Painter) -> tuple[float, float]:
    """Fired clay with tool marks, ash and soot."""
    marks = paint.noise(20.0, 6.0, (0.3, 1, 1))
    color = paint.mix(
        paint.step(paint.noise(4.0, 6.0), 0.35, 0.65), (0.42, 0.13, 0.05), (0.66, 0.30, 0.14)
    )
    color = paint.mix(paint.step(paint.noise(7.0, 8.0), 0.55, 0.7), color, (0.74, 0.58, 0.42))
    color = paint.mix(paint.step(paint.noise(60.0, 3.0), 0.6, 0.68), color, (0.10, 0.04, 0.03))
    paint.finish(color, 0.85, paint.math("ADD", marks, paint.noise(70.0, 4.0)), 0.05)
    return 0.3, 0.3


def wood(paint: Painter) -> tuple[float, float]:
    """Carved walnut: rings, pores and the flats of the gouge."""
    x, y, _ = paint.split(paint.place)
    distance = paint.vector("LENGTH", paint.join(paint.math("ADD", x, 0.9), y, 0.0))
    swing = paint.math("MULTIPLY", paint.noise(2.0, 4.0, (1, 1, 0.3)), 9.0)
    rings = paint.math("SINE", paint.math("MULTIPLY_ADD", distance, 60.0, swing))
    color = paint.mix(paint.step(rings, -0.7, 0.9), (0.10, 0.038, 0.014), (0.40, 0.19, 0.075))
    pores = paint.step(paint.noise(110.0, 3.0, (1, 1, 0.06)), 0.56, 0.66)
    cells = paint.node("ShaderNodeTexVoronoi")
    paint.feed(cells.inputs["Vector"], paint.place)
    cells.inputs["Scale"].default_value = 7.0
    relief = paint.math("MULTIPLY_ADD", pores, -0.15, cells.outputs["Distance"])
    paint.finish(paint.mix(pores, color, (0.04, 0.015, 0.008)), 0.38, relief, 0.10)
    return 0.45, 0.25


STYLES: dict[str, Callable[[Painter], tuple[float, float]]] = {
    f.__name__: f for f in (bronze, marble, painted, porcelain, terracotta, wood)
}

if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # bpy may hang at the interpreter's end

"""Small scenes and a way to run the turntable stage on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings, validate
from gs_diffusion_addon.scene import turntable

SMALL = Settings(views=8, rings="none", size="48", samples=1, denoise=False, threads=2)


def small(**changes: Any) -> Settings:
    """The quickest settings, changed."""
    return validate(dataclasses.replace(SMALL, **changes))


class Events(list):
    """An emitter that remembers: (event, fields)."""

    def __call__(self, event: str, **fields: Any) -> None:
        self.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self if name == event]

    @property
    def paths(self) -> list[str]:
        return [fields["path"] for fields in self.of("frame_done")]

    @property
    def warnings(self) -> list[str]:
        return [fields["message"] for fields in self.of("warning")]


def render(root: Path, settings: Settings = SMALL) -> tuple[Run, Events]:
    """Run the stage on the open scene."""
    run, events = Run(root), Events()
    turntable.run_stage(run, settings, events)
    return run, events


def add(
    name: str,
    vertices: Any,
    faces: Any,
    location: tuple[float, float, float] = (0, 0, 0),
) -> bpy.types.Object:
    """A mesh object in the open scene."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([tuple(v) for v in vertices], [], [tuple(f) for f in faces])
    item = bpy.data.objects.new(name, mesh)
    item.location = location
    bpy.context.scene.collection.objects.link(item)
    bpy.context.view_layer.update()
    return item


def box(name: str = "Box", size: Any = (1, 1, 1), location: Any = (0, 0, 0)) -> bpy.types.Object:
    """A box of the given edge lengths around its origin."""
    corners = (np.indices((2, 2, 2)).reshape(3, -1).T - 0.5) * np.asarray(size, float)
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return add(name, corners, faces, location)


def monkey() -> bpy.types.Object:
    """Suzanne."""
    bpy.ops.mesh.primitive_monkey_add()
    return bpy.context.object


def add_camera(location: Any = (4.0, -3.0, 2.0), name: str = "Camera") -> bpy.types.Object:
    """The scene's camera."""
    item = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    item.location = location
    bpy.context.scene.collection.objects.link(item)
    bpy.context.scene.camera = item
    bpy.context.view_layer.update()
    return item


def add_light(name: str = "Lamp") -> bpy.types.Object:
    """A point light beside the model."""
    lamp = bpy.data.lights.new(name, "POINT")
    lamp.energy = 500
    item = bpy.data.objects.new(name, lamp)
    item.location = (3, -3, 3)
    bpy.context.scene.collection.objects.link(item)
    bpy.context.view_layer.update()
    return item


def emission(color: Any) -> bpy.types.Material:
    """A material that shines in one color, linear RGB."""
    material = bpy.data.materials.new("glow")
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    glow, output = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    glow.inputs["Color"].default_value = (*color, 1)
    links.new(glow.outputs[0], output.inputs["Surface"])
    return material


def read_png(path: Path) -> np.ndarray:
    """(h, w, 4) uint8, row 0 on top, as stored."""
    image = bpy.data.images.load(str(path), check_existing=False)
    image.alpha_mode = "CHANNEL_PACKED"  # leave color and alpha alone
    image.colorspace_settings.is_data = True  # its name depends on the color configuration
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return np.rint(pixels.reshape(height, width, 4)[::-1] * 255).astype(np.uint8)

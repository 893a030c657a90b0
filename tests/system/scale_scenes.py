"""Scenes whose numbers are hard: tiny, huge, far away, mirrored, instanced, and so on.

    python tests/system/scale_scenes.py make NAME FILE.blend    print the model's bounds as JSON
    python tests/system/scale_scenes.py look FILE.blend         print the splat's bounds as JSON

Each function of :data:`SCENES` fills an empty scene; the bounds come from Blender's own evaluation,
not from the program's.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

# Before bpy is imported: afterwards Blender has read the user's folders already.
os.environ.setdefault("BLENDER_USER_RESOURCES", tempfile.mkdtemp(prefix="gsd-test-blender-"))

import bpy
import numpy as np
from mathutils import Matrix, Vector

SPLAT = "gs_diffusion_splat"


def link(item: bpy.types.Object) -> bpy.types.Object:
    """Put an object into the scene."""
    bpy.context.scene.collection.objects.link(item)
    return item


def monkey(size: float = 2.0, location: tuple[float, float, float] = (0, 0, 0)) -> bpy.types.Object:
    """Suzanne, ``size`` / 2 times as big as she is."""
    bpy.ops.mesh.primitive_monkey_add(size=size, location=location)
    return bpy.context.object


def material(item: bpy.types.Object, name: str) -> tuple[bpy.types.NodeTree, bpy.types.Node]:
    """A fresh material on ``item``: its nodes and their Principled BSDF."""
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    item.data.materials.append(made)
    return made.node_tree, made.node_tree.nodes["Principled BSDF"]


def millimeters() -> None:
    monkey(0.002)


def kilometers() -> None:
    monkey(3000)


def far() -> None:
    monkey(2, (10_000, -3_000, 500))


def too_far() -> None:
    monkey(0.002, (10_000, -3_000, 500))


def parents() -> None:
    """A child mirrored, squeezed and sheared by two parents."""
    outer, inner = (link(bpy.data.objects.new(name, None)) for name in ("outer", "inner"))
    outer.scale, outer.location = (1, 3, 0.5), (5, 0, 2)
    inner.parent, inner.scale, inner.rotation_euler = outer, (-1, 1, 1), (0, 0, 0.6)
    monkey().parent = inner


def animated() -> None:
    """At frame 1 a small thing at the origin, at frame 20 a big one elsewhere."""
    item = monkey()
    item.keyframe_insert("location", frame=1)
    item.keyframe_insert("scale", frame=1)
    item.location, item.scale = (30, 4, 0), (3, 3, 3)
    item.keyframe_insert("location", frame=20)
    item.keyframe_insert("scale", frame=20)
    bpy.context.scene.frame_set(1)


def instances() -> None:
    """Copies by a collection, by an array modifier, and by geometry nodes."""
    library = bpy.data.collections.new("library")
    item = monkey()
    bpy.context.scene.collection.objects.unlink(item)
    library.objects.link(item)
    copy = link(bpy.data.objects.new("copy", None))
    copy.instance_type, copy.instance_collection = "COLLECTION", library
    copy.location, copy.scale = (-3, 0, 0), (1, -1.5, 1)
    bpy.ops.mesh.primitive_cube_add(size=1, location=(0, 2, 0))
    bpy.context.object.modifiers.new("Array", "ARRAY").count = 3
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=3, y_subdivisions=3, location=(1, -2, 0))
    nodes = bpy.data.node_groups.new("instances", "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        nodes.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    start, end = nodes.nodes.new("NodeGroupInput"), nodes.nodes.new("NodeGroupOutput")
    place = nodes.nodes.new("GeometryNodeInstanceOnPoints")
    cube = nodes.nodes.new("GeometryNodeMeshCube")
    cube.inputs["Size"].default_value = (0.3, 0.3, 0.6)
    nodes.links.new(start.outputs[0], place.inputs["Points"])
    nodes.links.new(cube.outputs["Mesh"], place.inputs["Instance"])
    nodes.links.new(place.outputs["Instances"], end.inputs[0])
    bpy.context.object.modifiers.new("Nodes", "NODES").node_group = nodes


def one_pixel() -> None:
    """A scene camera from which the model is about a pixel wide."""
    monkey(0.2)
    item = link(bpy.data.objects.new("camera", bpy.data.cameras.new("camera")))
    item.location, item.rotation_euler = (0, -10, 0), (np.pi / 2, 0, 0)
    bpy.context.scene.camera = item


def plane() -> None:
    bpy.ops.mesh.primitive_plane_add(size=2, location=(1, 0, 0))


def edge() -> None:
    mesh = bpy.data.meshes.new("edge")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0)], [(0, 1)], [])
    link(bpy.data.objects.new("edge", mesh))


def empty_mesh() -> None:
    link(bpy.data.objects.new("empty", bpy.data.meshes.new("empty")))


def glass() -> None:
    """Clear glass, which Cycles shows as surface, around a thing that shines."""
    bpy.ops.mesh.primitive_uv_sphere_add(radius=1, location=(-1.2, 0, 0))
    _, shader = material(bpy.context.object, "glass")
    shader.inputs["Transmission Weight"].default_value = 1.0
    shader.inputs["Alpha"].default_value = 0.6
    bpy.ops.mesh.primitive_cube_add(size=1.5, location=(1.2, 0, 0))
    _, shader = material(bpy.context.object, "lamp")
    shader.inputs["Emission Color"].default_value = (1, 0.5, 0.1, 1)
    shader.inputs["Emission Strength"].default_value = 1000


def deep_texture() -> None:
    """A picture with 16 bits a channel and another in floats beyond 1."""
    for number, (suffix, is_float) in enumerate((("PNG", False), ("OPEN_EXR", True))):
        picture = bpy.data.images.new(suffix, 32, 32, float_buffer=True)
        ramp = np.ones((32, 32, 4), np.float32)
        ramp[..., 0] = np.linspace(0, 40 if is_float else 1, 32)
        picture.pixels.foreach_set(ramp.ravel())
        bpy.context.scene.render.image_settings.file_format = suffix
        bpy.context.scene.render.image_settings.color_depth = "32" if is_float else "16"
        path = str(Path(sys.argv[3]).with_suffix(f".{number}.{suffix[-3:].lower()}"))
        picture.save_render(path)
        bpy.ops.mesh.primitive_cube_add(size=1.5, location=(2 * number, 0, 0))
        tree, shader = material(bpy.context.object, suffix)
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image = bpy.data.images.load(path)
        tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])


def hidden() -> None:
    """What does not render is no part of the model, wherever it stands and however it is hidden."""
    monkey()
    monkey(2, (90, 0, 0)).hide_render = True
    monkey(2, (0, 0, 90)).visible_camera = False
    off = bpy.data.collections.new("off")
    bpy.context.scene.collection.children.link(off)
    item = monkey(2, (0, 90, 0))
    bpy.context.scene.collection.objects.unlink(item)
    off.objects.link(item)
    bpy.context.view_layer.layer_collection.children["off"].exclude = True


def pixels() -> None:
    """Pixels half as wide as they are high."""
    monkey()
    bpy.context.scene.render.pixel_aspect_y = 2.0


SCENES: dict[str, Callable[[], None]] = {
    scene.__name__: scene
    for scene in (
        *(millimeters, kilometers, far, too_far, parents, animated, instances, one_pixel, plane),
        *(edge, empty_mesh, glass, deep_texture, hidden, pixels),
    )
}


def bounds(frame: int = 1) -> tuple[list[float], list[float]]:
    """Lowest and highest corner of what renders, at an animation frame."""
    bpy.context.scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    points = [Vector((0, 0, 0))]
    for instance in graph.object_instances:
        item = instance.object
        if item.type == "MESH" and not item.hide_render and item.visible_camera:
            matrix = Matrix(instance.matrix_world)
            points += [matrix @ vertex.co for vertex in item.data.vertices]
    found = np.array(points[1:] or points, np.float64)
    return found.min(0).tolist(), found.max(0).tolist()


def splat_bounds() -> dict:
    """The splat object's matrix and the middle 98 % of its points, in the world."""
    (item,) = (o for o in bpy.context.scene.objects if SPLAT in o)
    points = np.array([tuple(item.matrix_world @ v.co) for v in item.data.vertices])
    low, high = np.percentile(points, [1, 99], axis=0)
    shown = [o.name for o in bpy.context.scene.objects if o.type == "MESH" and not o.hide_render]
    finite = bool(np.isfinite(points).all())
    return {"low": low.tolist(), "high": high.tolist(), "finite": finite, "shown": shown}


def main() -> None:
    """Do what the command line says."""
    if sys.argv[1] == "make":
        bpy.ops.wm.read_factory_settings(use_empty=True)
        SCENES[sys.argv[2]]()
        low, high = bounds(20 if sys.argv[2] == "animated" else 1)
        bpy.context.scene.frame_set(1)
        bpy.ops.wm.save_as_mainfile(filepath=sys.argv[3])
        print(json.dumps({"low": low, "high": high}))
    else:
        bpy.ops.wm.open_mainfile(filepath=sys.argv[2])
        print(json.dumps(splat_bounds()))
    sys.stdout.flush()
    os._exit(0)  # bpy's teardown at interpreter exit has hung and crashed


if __name__ == "__main__":
    main()

"""How a splat object looks: node groups and materials, built here in code.

Three ways, each a modifier that can be on in the viewport, in renders or in both:

- *faithful*: what the trainer's rasterizer draws, seen from the active camera (splat_faithful.py).
- *gaussians*: every splat is an instance of a small sphere, stretched to 3 standard deviations,
  whose material computes the Gaussian's exact alpha along the view ray. Right from every side, in
  mirrors and shadows too; but rays meet overlapping splats' surfaces in another order than the
  trainer sorts their centers.
- *points*: every splat is a dot of its own size and color. Fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import bpy

from ..declarations import Attributes, Nodes, Properties
from .color_view import RAW_VIEW, leave_tone_mapping, show_plainly, show_raw
from .modifier_inputs import get_input, set_input
from .node_math import Builder
from .splat_color import (
    DEGREES,
    RAW,
    color_attribute,
    color_group,
    colored_points,
    empty_material,
    geometry_tree,
    variant,
)
from .splat_faithful import PIXEL, faithful

Mode = Literal["faithful", "gaussians", "points", "none"]

SIGMAS = 3.0
"""Radius of a splat's sphere in standard deviations, as in the 3DGS rasterizer."""

MAX_ALPHA = 0.99
MIN_ALPHA = 1 / 255
TRANSPARENT_BOUNCES = 1024
"""Most splat surfaces that a ray passes; a sphere has two."""

CERTAIN_BOUNCES = 128
"""Surfaces a ray passes before Cycles may end it by chance, which shows as noise."""

_SPHERE_RADIUS = 1.08
"""The icosphere's corners; its flat faces then lie just outside of the unit sphere."""

_NODES_OF_MODE: dict[Mode, str] = {
    "faithful": Nodes.FAITHFUL,
    "gaussians": Nodes.GAUSSIANS,
    "points": Nodes.POINTS,
}


def show_splat(
    scene_object: bpy.types.Object, viewport: Mode = "points", render: Mode = "faithful"
) -> None:
    """Choose how a splat object is drawn in the viewport and in renders."""
    for mode in (viewport, render):
        if mode != "none" and _NODES_OF_MODE[mode] not in scene_object.modifiers:
            _add_display(scene_object, mode)
    for mode, name in _NODES_OF_MODE.items():
        modifier = scene_object.modifiers.get(name)
        if modifier is not None:
            modifier.show_viewport = viewport == mode
            modifier.show_render = render == mode


def shown_as(scene_object: bpy.types.Object) -> tuple[Mode, Mode]:
    """How a splat object is drawn now, in the viewport and in renders."""
    found: dict[str, Mode] = {"show_viewport": "none", "show_render": "none"}
    for mode, name in _NODES_OF_MODE.items():
        modifier = scene_object.modifiers.get(name)
        for where in found if modifier is not None else ():
            if getattr(modifier, where):
                found[where] = mode
    return found["show_viewport"], found["show_render"]


def _add_display(scene_object: bpy.types.Object, mode: str) -> None:
    others = [m for n in _NODES_OF_MODE.values() if (m := scene_object.modifiers.get(n))]
    modifier = scene_object.modifiers.new(_NODES_OF_MODE[mode], "NODES")
    modifier.node_group = _display_group(mode, min(DEGREES, scene_object[Properties.SPLAT]))
    if others:
        set_input(modifier, RAW, bool(get_input(others[0], RAW)))


def build_displays(degree: int, modes: Sequence[Mode] = ("points", "faithful")) -> Iterator[None]:
    """Build what :func:`show_splat` needs for harmonics of ``degree``, a part at each step: Blender
    takes its time for node trees.
    """
    color_group(min(DEGREES, degree))
    yield
    for mode in modes:
        _display_group(mode, min(DEGREES, degree))
        yield


def set_display(scene_object: bpy.types.Object, name: str, value: Any) -> None:
    """Set the input ``name`` (RAW, PIXEL) of all the object's displays that have it."""
    for modifier_name in _NODES_OF_MODE.values():
        modifier = scene_object.modifiers.get(modifier_name)
        if modifier is not None:
            set_input(modifier, name, value)


def fit_pixel(scene_object: bpy.types.Object, scene: bpy.types.Scene) -> None:
    """Give a splat of unknown training cameras the pixels of the scene's camera, if it has none.

    Rasterizers blur by a part of a pixel; without it thin splats flicker. Orthographic cameras and
    panoramas have no focal length, so nothing is set.
    """
    modifier = scene_object.modifiers.get(Nodes.FAITHFUL)
    camera = scene.camera
    if modifier is None or get_input(modifier, PIXEL) or camera is None:
        return
    if camera.type != "CAMERA" or camera.data.type != "PERSP":
        return
    width = max(1, scene.render.resolution_x * scene.render.resolution_percentage // 100)
    height = max(1, scene.render.resolution_y * scene.render.resolution_percentage // 100)
    projection = camera.calc_matrix_camera(bpy.context.evaluated_depsgraph_get(), x=width, y=height)
    set_input(modifier, PIXEL, 2.0 / (width * projection[0][0]))


# --- the scene ----------------------------------------------------------------------------------


def prepare_scene(scene: bpy.types.Scene, exact: bool = False) -> bool:
    """Set what a scene needs to render splats in their trained colors, all layers of them.

    False where the color configuration has no such view; all but the view is set then.

    With ``exact`` the picture's numbers are the trained numbers (view transform Raw): overlapping
    splats then blend as in the trainer, but everything else in the scene looks too dark. Without,
    they blend as light does (view transform Standard). Exposure and the like are reset.
    """
    found = show_raw(scene) if exact else show_plainly(scene)
    _let_through(scene)
    return found


def adapt_scene(scene: bpy.types.Scene, keep_raw: bool = True) -> list[str]:
    """As :func:`prepare_scene`, but change no more of what the user has set than the view, if it
    tones colors (:func:`~.color_view.leave_tone_mapping`). Returns what to tell the user; raises
    StageError where there is no other view, all but the view is set then.
    """
    try:
        return leave_tone_mapping(scene, keep_raw)
    finally:
        _let_through(scene)


def _let_through(scene: bpy.types.Scene) -> None:
    """Splats emit what the view shows in their colors, and rays pass all layers of them."""
    follow_view(scene)
    if hasattr(scene, "cycles"):
        cycles = scene.cycles
        cycles.transparent_max_bounces = max(cycles.transparent_max_bounces, TRANSPARENT_BOUNCES)
        cycles.min_transparent_bounces = max(cycles.min_transparent_bounces, CERTAIN_BOUNCES)


def follow_view(scene: bpy.types.Scene) -> None:
    """Make all splats of the scene emit what its view transform shows in their trained colors."""
    for item in scene.objects:
        if Properties.SPLAT in item:
            set_display(item, RAW, shows_exact(scene))


def shows_exact(scene: bpy.types.Scene) -> bool:
    """Whether the scene's view transform shows numbers as they are."""
    return scene.view_settings.view_transform == RAW_VIEW


def sample_centers(scene: bpy.types.Scene) -> None:
    """Sample every pixel at its center, as rasterizers do, not over an area around it."""
    scene.render.filter_size = 0.01
    if hasattr(scene, "cycles"):
        scene.cycles.pixel_filter_type = "BOX"
        scene.cycles.filter_width = 0.01


# --- geometry nodes -----------------------------------------------------------------------------


def _display_group(mode: str, degree: int) -> bpy.types.NodeTree:
    """The node group of a mode for harmonics of ``degree``; made once a file."""
    name = f"{_NODES_OF_MODE[mode]} {variant(degree)}"
    tree = bpy.data.node_groups.get(name)
    if tree is None:
        tree = geometry_tree(name)
        tree.is_modifier = True
        if mode == "faithful":
            pixel = tree.interface.new_socket(PIXEL, in_out="INPUT", socket_type="NodeSocketFloat")
            pixel.min_value = 0.0
            pixel.description = "Width of the trainer's pixel at a distance of 1"
        builder = Builder(tree)
        points = colored_points(builder, degree)
        build = {"faithful": faithful, "gaussians": _gaussians, "points": _points}[mode]
        shown = build(builder, points)
        builder.feed(builder.node("NodeGroupOutput").inputs[0], shown)
    return tree


def _sizes(builder: Builder) -> bpy.types.NodeSocket:
    """Standard deviations (vector), widened by the attribute FILTER as the trainer's pixels did."""
    scale = builder.named(Attributes.SCALE, "FLOAT_VECTOR")
    width = builder.named(Attributes.FILTER, "FLOAT")
    square = builder.math("MULTIPLY", width, width)
    widened = builder.vector("MULTIPLY_ADD", scale, scale, builder.join(square, square, square))
    return builder.join(*(builder.math("SQRT", c) for c in builder.split(widened)))


def _gaussians(builder: Builder, points: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    sphere = builder.node("GeometryNodeMeshIcoSphere")
    sphere.inputs["Radius"].default_value = _SPHERE_RADIUS
    sphere.inputs["Subdivisions"].default_value = 2
    material = builder.node("GeometryNodeSetMaterial")
    builder.feed(material.inputs["Geometry"], sphere.outputs[0])
    builder.feed(material.inputs["Material"], _gaussian_material())
    instances = builder.node("GeometryNodeInstanceOnPoints")
    builder.feed(instances.inputs["Points"], points)
    builder.feed(instances.inputs["Instance"], material.outputs[0])
    size = builder.vector("SCALE", _sizes(builder), SIGMAS)
    builder.feed(instances.inputs["Scale"], size)
    rotation = builder.named(Attributes.ROTATION, "QUATERNION")
    builder.feed(instances.inputs["Rotation"], rotation)
    return instances.outputs[0]


def _points(builder: Builder, points: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """Dots as large as the splats' mean deviation; faint ones are small, so they hide little."""
    x, y, z = builder.split(_sizes(builder))
    volume = builder.math("MULTIPLY", builder.math("MULTIPLY", x, y), z)
    base = builder.node("FunctionNodeSeparateColor")
    builder.feed(base.inputs[0], builder.named(Attributes.COLOR, "FLOAT_COLOR"))
    size = builder.math("MULTIPLY", builder.math("POWER", volume, 1 / 3), base.outputs["Alpha"])
    radius = builder.node("GeometryNodeSetPointRadius")
    builder.feed(radius.inputs["Points"], points)
    builder.feed(radius.inputs["Radius"], size)
    material = builder.node("GeometryNodeSetMaterial")
    builder.feed(material.inputs["Geometry"], radius.outputs[0])
    builder.feed(material.inputs["Material"], _point_material())
    return material.outputs[0]


# --- materials ----------------------------------------------------------------------------------


def _point_material() -> bpy.types.Material:
    """Flat color of the attribute COLOR."""
    existing = bpy.data.materials.get(Nodes.POINTS)
    if existing is not None:
        return existing
    material, builder = empty_material(Nodes.POINTS)
    emission = builder.node("ShaderNodeEmission")
    builder.feed(emission.inputs["Color"], color_attribute(builder, "GEOMETRY").outputs["Color"])
    builder.feed(builder.node("ShaderNodeOutputMaterial").inputs[0], emission.outputs[0])
    return material


def _gaussian_material() -> bpy.types.Material:
    """Emission behind the Gaussian's alpha along the view ray, on the sphere's front side only."""
    existing = bpy.data.materials.get(Nodes.GAUSSIANS)
    if existing is not None:
        return existing
    material, builder = empty_material(Nodes.GAUSSIANS)
    color = color_attribute(builder, "INSTANCER")
    emission = builder.node("ShaderNodeEmission")
    builder.feed(emission.inputs["Color"], color.outputs["Color"])
    mix = builder.node("ShaderNodeMixShader")
    builder.feed(mix.inputs[0], _alpha(builder, color.outputs["Alpha"]))
    builder.feed(mix.inputs[1], builder.node("ShaderNodeBsdfTransparent").outputs[0])
    builder.feed(mix.inputs[2], emission.outputs[0])
    builder.feed(builder.node("ShaderNodeOutputMaterial").inputs[0], mix.outputs[0])
    return material


def _alpha(builder: Builder, opacity: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """min(0.99, opacity * exp(-r²/2)) of the ray's closest approach r to the center, in deviations.

    In the sphere's own space, where the Gaussian is round with a deviation of 1/3: with p the
    shaded point and v the unit ray direction, r² = 9 (p·p - (p·v)²). Alphas below 1/255 are
    dropped, as rasterizers do.
    """
    geometry = builder.node("ShaderNodeNewGeometry")
    point = builder.node("ShaderNodeTexCoord").outputs["Object"]
    local = builder.node(
        "ShaderNodeVectorTransform", vector_type="VECTOR", convert_from="WORLD", convert_to="OBJECT"
    )
    builder.feed(local.inputs[0], geometry.outputs["Incoming"])
    ray = builder.vector("NORMALIZE", local.outputs[0])
    along = builder.vector("DOT_PRODUCT", point, ray)
    distance = builder.math(
        "SUBTRACT",
        builder.vector("DOT_PRODUCT", point, point),
        builder.math("MULTIPLY", along, along),
    )
    falloff = builder.math("EXPONENT", builder.math("MULTIPLY", distance, -0.5 * SIGMAS**2))
    alpha = builder.math("MINIMUM", builder.math("MULTIPLY", falloff, opacity), MAX_ALPHA)
    visible = builder.math("GREATER_THAN", alpha, MIN_ALPHA)
    front = builder.math("SUBTRACT", 1.0, geometry.outputs["Backfacing"])
    return builder.math("MULTIPLY", builder.math("MULTIPLY", alpha, visible), front)

"""How a splat object looks: node groups and materials, built here in code.

Two ways, each a modifier that can be on in the viewport, in renders or in both:

- *gaussians*: every splat is an instance of a small sphere, stretched to 3 standard deviations,
whose
  material computes the Gaussian's exact alpha along the view ray. What a trained model looks like.
- *points*: every splat is a dot of its own size and color. Fast.

A splat's color is that of its harmonics (up to degree 3) seen from the active camera, as 3DGS
rasterizers do it: once a splat, from the camera to the splat's center, in the object's own space.
Trained colors are display-referred sRGB, so they become scene-linear here, and the view transform
Standard shows them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import bpy

from ..core.ply import SH_C0
from ..declarations import Attributes, Nodes, Properties
from .node_math import Builder, Operand

Mode = Literal["gaussians", "points", "none"]

SIGMAS = 3.0
"""Radius of a splat's sphere in standard deviations, as in the 3DGS rasterizer."""

MAX_ALPHA = 0.99
MIN_ALPHA = 1 / 255
TRANSPARENT_BOUNCES = 256
"""Most sphere surfaces that a ray passes; every splat has two."""

CERTAIN_BOUNCES = 128
"""Surfaces a ray passes before Cycles may end it by chance, which shows as noise."""

_SPHERE_RADIUS = 1.08
"""The icosphere's corners; its flat faces then lie just outside of the unit sphere."""

_NODES_OF_MODE = {"gaussians": Nodes.GAUSSIANS, "points": Nodes.POINTS}


def show_splat(
    scene_object: bpy.types.Object, viewport: Mode = "points", render: Mode = "gaussians"
) -> None:
    """Choose how a splat object is drawn in the viewport and in renders."""
    degree = min(3, scene_object[Properties.SPLAT])
    for mode, name in _NODES_OF_MODE.items():
        modifier = scene_object.modifiers.get(name)
        if modifier is None:
            modifier = scene_object.modifiers.new(name, "NODES")
        modifier.node_group = _display_group(mode, degree)
        modifier.show_viewport = viewport == mode
        modifier.show_render = render == mode


def build_displays(degree: int) -> Iterator[None]:
    """Build what :func:`show_splat` needs for harmonics of ``degree``, a part at each step: Blender
    takes its time for node trees.
    """
    for mode in _NODES_OF_MODE:
        _display_group(mode, min(3, degree))
        yield


def prepare_scene(scene: bpy.types.Scene) -> None:
    """Set what a scene needs to render splats in their trained colors, all layers of them."""
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "None"
    scene.view_settings.exposure = 0.0
    scene.view_settings.gamma = 1.0
    scene.view_settings.use_curve_mapping = False
    if hasattr(scene, "cycles"):
        cycles = scene.cycles
        cycles.transparent_max_bounces = max(cycles.transparent_max_bounces, TRANSPARENT_BOUNCES)
        cycles.min_transparent_bounces = max(cycles.min_transparent_bounces, CERTAIN_BOUNCES)


# --- geometry nodes -----------------------------------------------------------------------------


def _display_group(mode: str, degree: int) -> bpy.types.NodeTree:
    """The node group of a mode for harmonics of ``degree``; made once a file."""
    name = f"{_NODES_OF_MODE[mode]} SH{degree}"
    tree = bpy.data.node_groups.get(name)
    if tree is None:
        tree = _geometry_tree(name)
        builder = Builder(tree)
        points = _colored_points(builder, degree)
        shown = _gaussians(builder, points) if mode == "gaussians" else _points(builder, points)
        builder.feed(builder.node("NodeGroupOutput").inputs[0], shown)
    return tree


def _geometry_tree(name: str) -> bpy.types.NodeTree:
    tree = bpy.data.node_groups.new(name, "GeometryNodeTree")
    for direction in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=direction, socket_type="NodeSocketGeometry")
    tree.is_modifier = True
    return tree


def _colored_points(builder: Builder, degree: int) -> bpy.types.NodeSocket:
    """The splats as points with the attribute COLOR: scene-linear color and opacity."""
    points = builder.node("GeometryNodeMeshToPoints")
    builder.feed(points.inputs["Mesh"], builder.node("NodeGroupInput").outputs[0])
    base = builder.node("FunctionNodeSeparateColor")
    builder.feed(base.inputs[0], builder.named(Attributes.BASE, "FLOAT_COLOR"))
    color = builder.node("FunctionNodeCombineColor")
    trained = builder.join(*base.outputs[:3])
    for socket, channel in zip(
        color.inputs, builder.split(_seen_color(builder, trained, degree)), strict=False
    ):
        builder.feed(socket, builder.linear(builder.math("MAXIMUM", channel, 0.0)))
    builder.feed(color.inputs["Alpha"], base.outputs["Alpha"])
    store = builder.node("GeometryNodeStoreNamedAttribute", data_type="FLOAT_COLOR", domain="POINT")
    builder.feed(store.inputs["Geometry"], points.outputs[0])
    builder.feed(store.inputs["Name"], Attributes.COLOR)
    value = next(s for s in store.inputs if s.enabled and s.name == "Value")
    builder.feed(value, color.outputs[0])
    return store.outputs[0]


def _seen_color(builder: Builder, dc: bpy.types.NodeSocket, degree: int) -> bpy.types.NodeSocket:
    """sRGB color of the splats seen from the active camera: 0.5 + sum of basis times harmonic."""
    color = builder.vector("MULTIPLY_ADD", dc, (SH_C0,) * 3, (0.5,) * 3)
    if degree == 0:
        return color
    camera = builder.node("GeometryNodeObjectInfo", transform_space="RELATIVE")
    active = builder.node("GeometryNodeInputActiveCamera")
    builder.feed(camera.inputs["Object"], active.outputs[0])
    position = builder.node("GeometryNodeInputPosition").outputs[0]
    ray = builder.vector("SUBTRACT", position, camera.outputs["Location"])
    direction = builder.split(builder.vector("NORMALIZE", ray))
    for k, basis in enumerate(_harmonics(builder, *direction)[: (degree + 1) ** 2 - 1]):
        harmonic = builder.named(Attributes.HARMONIC.format(k), "FLOAT_VECTOR")
        weight = builder.join(basis, basis, basis)
        color = builder.vector("MULTIPLY_ADD", harmonic, weight, color)
    return color


def _harmonics(builder: Builder, x: Operand, y: Operand, z: Operand) -> list[bpy.types.NodeSocket]:
    """The 15 real spherical harmonics of degree 1 to 3 in 3DGS' order and signs."""

    def product(factor: float, *operands: Operand) -> bpy.types.NodeSocket:
        result: Operand = factor
        for operand in operands:
            result = builder.math("MULTIPLY", operand, result)
        return result

    def combined(a: float, xx_: float, yy_: float, zz_: float) -> bpy.types.NodeSocket:
        terms = [product(f, s) for f, s in ((xx_, xx), (yy_, yy), (zz_, zz)) if f]
        return builder.sum(*terms, a) if a else builder.sum(*terms)

    xx, yy, zz = (builder.math("MULTIPLY", c, c) for c in (x, y, z))
    xy = builder.math("MULTIPLY", x, y)
    return [
        product(-0.4886025119029199, y),
        product(0.4886025119029199, z),
        product(-0.4886025119029199, x),
        product(1.0925484305920792, xy),
        product(-1.0925484305920792, y, z),
        product(0.31539156525252005, combined(0, -1, -1, 2)),
        product(-1.0925484305920792, x, z),
        product(0.5462742152960396, combined(0, 1, -1, 0)),
        product(-0.5900435899266435, y, combined(0, 3, -1, 0)),
        product(2.890611442640554, xy, z),
        product(-0.4570457994644658, y, combined(0, -1, -1, 4)),
        product(0.3731763325901154, z, combined(0, -3, -3, 2)),
        product(-0.4570457994644658, x, combined(0, -1, -1, 4)),
        product(1.445305721320277, z, combined(0, 1, -1, 0)),
        product(-0.5900435899266435, x, combined(0, 1, -3, 0)),
    ]


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


def _empty_material(name: str) -> tuple[bpy.types.Material, Builder]:
    material = bpy.data.materials.new(name)
    if not material.node_tree:
        material.use_nodes = True
    material.node_tree.nodes.clear()
    if hasattr(material, "cycles"):
        # Thousands of glowing spheres as light sources would take longer than the picture.
        material.cycles.emission_sampling = "NONE"
    return material, Builder(material.node_tree)


def _color_attribute(builder: Builder, owner: str) -> bpy.types.Node:
    return builder.node(
        "ShaderNodeAttribute", attribute_name=Attributes.COLOR, attribute_type=owner
    )


def _point_material() -> bpy.types.Material:
    """Flat color of the attribute COLOR."""
    existing = bpy.data.materials.get(Nodes.POINTS)
    if existing is not None:
        return existing
    material, builder = _empty_material(Nodes.POINTS)
    emission = builder.node("ShaderNodeEmission")
    builder.feed(emission.inputs["Color"], _color_attribute(builder, "GEOMETRY").outputs["Color"])
    builder.feed(builder.node("ShaderNodeOutputMaterial").inputs[0], emission.outputs[0])
    return material


def _gaussian_material() -> bpy.types.Material:
    """Emission behind the Gaussian's alpha along the view ray, on the sphere's front side only."""
    existing = bpy.data.materials.get(Nodes.GAUSSIANS)
    if existing is not None:
        return existing
    material, builder = _empty_material(Nodes.GAUSSIANS)
    color = _color_attribute(builder, "INSTANCER")
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

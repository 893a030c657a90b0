"""The color of splats, built in node trees: harmonics seen from the active camera.

As 3DGS rasterizers do it: once a splat, from the camera to the splat's center, in the object's own
space. Trained colors are display-referred sRGB numbers. They become scene-linear here, which the
view transform Standard shows as they were, or stay as they are for the view transform Raw.
"""

from __future__ import annotations

import bpy

from ..core.ply import SH_C0
from ..declarations import Attributes
from .node_math import Builder, Operand

RAW = "Raw Colors"
"""Input of every display's node group: on, colors stay sRGB numbers."""

DEGREES = 3
"""Highest degree of harmonics that is shown, as in 3DGS rasterizers."""


def colored_points(builder: Builder, degree: int) -> bpy.types.NodeSocket:
    """The splats as points with the attribute COLOR: color and opacity.

    The tree's group has the inputs Geometry and :data:`RAW`.
    """
    given = builder.node("NodeGroupInput").outputs
    points = builder.node("GeometryNodeMeshToPoints")
    builder.feed(points.inputs["Mesh"], given["Geometry"])
    raw = given[RAW]
    base = builder.node("FunctionNodeSeparateColor")
    builder.feed(base.inputs[0], builder.named(Attributes.BASE, "FLOAT_COLOR"))
    color = builder.node("FunctionNodeCombineColor")
    trained = builder.join(*base.outputs[:3])
    for socket, channel in zip(
        color.inputs, builder.split(_seen_color(builder, trained, degree)), strict=False
    ):
        srgb = builder.math("MAXIMUM", channel, 0.0)
        linear = builder.linear(srgb)
        step = builder.math("SUBTRACT", srgb, linear)
        builder.feed(socket, builder.math("MULTIPLY_ADD", raw, step, linear))
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


def empty_material(name: str) -> tuple[bpy.types.Material, Builder]:
    """A new material without nodes that is no light source, and its tree's builder."""
    material = bpy.data.materials.new(name)
    if not material.node_tree:
        material.use_nodes = True
    material.node_tree.nodes.clear()
    if hasattr(material, "cycles"):
        # Thousands of glowing spheres as light sources would take longer than the picture.
        material.cycles.emission_sampling = "NONE"
    return material, Builder(material.node_tree)


def color_attribute(builder: Builder, owner: str) -> bpy.types.Node:
    """The attribute COLOR of a shader's GEOMETRY or INSTANCER."""
    return builder.node(
        "ShaderNodeAttribute", attribute_name=Attributes.COLOR, attribute_type=owner
    )

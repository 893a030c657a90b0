"""The color of splats, built in node trees: harmonics seen from the active camera.

As 3DGS rasterizers do it: once a splat, from the camera to the splat's center, in the object's own
space. Trained colors are display-referred sRGB numbers. They become scene-linear here, which the
view transform Standard shows as they were, or stay as they are for the view transform Raw.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..core.ply import SH_C0
from ..declarations import Attributes, Nodes
from .color_view import from_linear_srgb
from .node_math import Builder, Operand

RAW = "Raw Colors"
"""Input of every display's node group: on, colors stay sRGB numbers."""

DEGREES = 3
"""Highest degree of harmonics that is shown, as in 3DGS rasterizers."""


def colored_points(builder: Builder, degree: int) -> bpy.types.NodeSocket:
    """The splats as points with the attribute COLOR: color and opacity.

    The builder's group has the inputs Geometry and :data:`RAW`.
    """
    given = builder.node("NodeGroupInput").outputs
    group = builder.node("GeometryNodeGroup")
    group.node_tree = color_group(degree)
    builder.feed(group.inputs["Geometry"], given["Geometry"])
    builder.feed(group.inputs[RAW], given[RAW])
    return group.outputs[0]


def geometry_tree(name: str) -> bpy.types.NodeTree:
    """A new node group from geometry to geometry with the input :data:`RAW`."""
    tree = bpy.data.node_groups.new(name, "GeometryNodeTree")
    for direction in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=direction, socket_type="NodeSocketGeometry")
    tree.interface.new_socket(RAW, in_out="INPUT", socket_type="NodeSocketBool")
    return tree


def variant(degree: int) -> str:
    """What tells node groups of one purpose apart: the harmonics' degree, and this Blender's
    scene-linear colors where they are not Blender's own.
    """
    matrix = from_linear_srgb()
    if np.array_equal(matrix, np.eye(3)):
        return f"SH{degree}"
    return f"SH{degree} {' '.join(f'{x:.3f}' for x in np.diagonal(matrix))}"


def color_group(degree: int) -> bpy.types.NodeTree:
    """The group that all displays begin with; made once a file, since nodes take time to make."""
    name = f"{Nodes.COLOR} {variant(degree)}"
    tree = bpy.data.node_groups.get(name)
    if tree is not None:
        return tree
    tree = geometry_tree(name)
    builder = Builder(tree)
    given = builder.node("NodeGroupInput").outputs
    points = builder.node("GeometryNodeMeshToPoints")
    builder.feed(points.inputs["Mesh"], given["Geometry"])
    base = builder.node("FunctionNodeSeparateColor")
    builder.feed(base.inputs[0], builder.named(Attributes.BASE, "FLOAT_COLOR"))
    trained = builder.join(*base.outputs[:3])
    srgb = builder.vector("MAXIMUM", _seen_color(builder, trained, degree), (0.0,) * 3)
    linear = builder.times(from_linear_srgb(), builder.linear(srgb))
    shown = builder.vector(
        "MULTIPLY_ADD", builder.vector("SUBTRACT", srgb, linear), given[RAW], linear
    )
    color = builder.node("FunctionNodeCombineColor")
    for socket, channel in zip(color.inputs, builder.split(shown), strict=False):
        builder.feed(socket, channel)
    builder.feed(color.inputs["Alpha"], base.outputs["Alpha"])
    stored = builder.stored(points.outputs[0], Attributes.COLOR, color.outputs[0], "FLOAT_COLOR")
    builder.feed(builder.node("NodeGroupOutput").inputs[0], stored)
    return tree


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
    for k, basis in enumerate(_harmonics(builder, builder.vector("NORMALIZE", ray), degree)):
        harmonic = builder.named(Attributes.HARMONIC.format(k), "FLOAT_VECTOR")
        color = builder.vector("MULTIPLY_ADD", harmonic, basis, color)
    return color


def _harmonics(
    builder: Builder, direction: bpy.types.NodeSocket, degree: int
) -> list[bpy.types.NodeSocket]:
    """The real spherical harmonics of degree 1 to ``degree`` (3 at most) in 3DGS' order and signs.

    As in core/harmonics.py, with xx + yy + zz = 1 to need fewer nodes.
    """

    def product(a: Operand, b: Operand) -> bpy.types.NodeSocket:
        return builder.math("MULTIPLY", a, b)

    def line(a: Operand, b: Operand, c: Operand) -> bpy.types.NodeSocket:
        return builder.math("MULTIPLY_ADD", a, b, c)

    x, y, z = builder.split(direction)
    c1 = 0.4886025119029199
    x1, y1, z1 = builder.split(builder.vector("MULTIPLY", direction, (-c1, -c1, c1)))
    bases = [y1, z1, x1]
    if degree == 1:
        return bases
    pairs = builder.vector("MULTIPLY", direction, builder.join(y, z, x))
    c2 = 1.0925484305920792
    xy, yz, zx = builder.split(builder.vector("MULTIPLY", pairs, (c2, -c2, -c2)))
    xx, yy, zz = builder.split(builder.vector("MULTIPLY", direction, direction))
    difference = builder.math("SUBTRACT", xx, yy)
    c20 = 0.31539156525252005
    bases += [xy, yz, line(zz, 3 * c20, -c20), zx, product(difference, c2 / 2)]
    if degree == 2:
        return bases
    c33, c31, c30 = 0.5900435899266435, 0.4570457994644658, 0.3731763325901154
    sides = line(zz, -5 * c31, c31)  # -c31 (4 zz - xx - yy)
    bases += [
        product(product(y, -c33), line(xx, 2.0, difference)),
        product(product(xy, 2.890611442640554 / c2), z),
        product(y, sides),
        product(z, line(zz, 5 * c30, -3 * c30)),
        product(x, sides),
        product(product(z, 1.445305721320277), difference),
        product(product(x, -c33), line(yy, -2.0, difference)),
    ]
    return bases


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

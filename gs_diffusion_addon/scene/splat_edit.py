"""Changing splat objects: apply their rotation, filter them, write them to a .ply again.

Blender's own Apply Rotation would move the splats and leave each one's axes and view-dependent
color as they were; :func:`apply_transform` turns them too.
"""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..core.errors import InputError
from ..core.harmonics import turned
from ..core.ply import Splats, write_splats
from ..declarations import Attributes, Nodes
from .node_math import Builder
from .splat_import import (
    SCALAR,
    VECTOR,
    attributes_of,
    get_attribute,
    set_attribute,
    splats_of,
)

UNIFORM = 1e-3
"""Largest relative difference of an object's scale along its axes that still counts as none."""


def transformed(splats: Splats, matrix: Matrix) -> Splats:
    """``splats`` moved by a matrix of rotation, translation and one scale for all axes.

    Raises InputError for a sheared, mirrored or unevenly scaled object, whose splats would no
    longer be Gaussians of the same kind.
    """
    linear = np.array(matrix.to_3x3(), np.float64)
    scales = np.linalg.norm(linear, axis=0)
    scale = float(scales.mean())
    rotation = linear / scale if scale > 0 else linear
    even = scale > 0 and np.abs(rotation.T @ rotation - np.eye(3)).max() < UNIFORM
    if not even or np.linalg.det(rotation) < 0:
        raise InputError(
            "Splats can only be turned, moved and scaled evenly: give the object the same positive "
            "scale on all axes."
        )
    quaternion = np.array(Matrix(rotation.tolist()).to_quaternion(), np.float64)
    means = splats.means.astype(np.float64) @ linear.T + np.array(matrix.translation)
    return Splats(
        means.astype(np.float32),
        turned(splats.sh, rotation),
        splats.opacities,
        splats.scales + np.float32(np.log(scale)),
        _product(quaternion, splats.quats).astype(np.float32),
    )


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Hamilton product of one quaternion w, x, y, z with many (N, 4)."""
    w, x, y, z = left
    matrix = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    return right.astype(np.float64) @ matrix.T


def apply_transform(scene_object: bpy.types.Object) -> None:
    """Put the object's transform into its splats, then make it the identity; raises InputError.

    Another object that shares the mesh keeps the old one.
    """
    matrix = scene_object.matrix_world
    moved = transformed(splats_of(scene_object), matrix)
    if scene_object.data.users > 1:
        scene_object.data = scene_object.data.copy()
    mesh = scene_object.data
    if Attributes.FILTER in mesh.attributes:
        width = get_attribute(mesh, Attributes.FILTER, SCALAR) * matrix.median_scale
        set_attribute(mesh, Attributes.FILTER, SCALAR, width)
    mesh.vertices.foreach_set("co", moved.means.ravel())
    for name, kind, values in attributes_of(moved):
        set_attribute(mesh, name, kind, values)
    scene_object.matrix_world = Matrix.Identity(4)
    mesh.update()


def export_splat(scene_object: bpy.types.Object, path: Path) -> int:
    """Write the object's splats, in the world, as a .ply; returns their number.

    An object that was never moved is written bit for bit as it came. Raises InputError.
    """
    splats = splats_of(scene_object)
    matrix = scene_object.matrix_world
    if matrix != Matrix.Identity(4):
        splats = transformed(splats, matrix)
    write_splats(path, splats)
    return splats.count


# --- filters --------------------------------------------------------------------------------------

FILTERS = ("Faintest", "Largest", "Crop Box")


def filtered(scene_object: bpy.types.Object) -> bpy.types.Modifier:
    """The modifier that leaves out splats by opacity, size and a box; added if there is none.

    It stands before the display's modifiers. Its inputs are :data:`FILTERS`: the smallest opacity,
    the largest deviation in meters (0 is no limit) and an object whose bounding cube (2 m, in its
    own space, as an empty of type cube) is kept.
    """
    modifier = scene_object.modifiers.get(Nodes.FILTER)
    if modifier is None:
        modifier = scene_object.modifiers.new(Nodes.FILTER, "NODES")
        modifier.node_group = _filter_group()
        scene_object.modifiers.move(len(scene_object.modifiers) - 1, 0)
    return modifier


def _filter_group() -> bpy.types.NodeTree:
    tree = bpy.data.node_groups.get(Nodes.FILTER)
    if tree is not None:
        return tree
    tree = bpy.data.node_groups.new(Nodes.FILTER, "GeometryNodeTree")
    tree.is_modifier = True
    add = tree.interface.new_socket
    add("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    for name in FILTERS[:2]:
        socket = add(name, in_out="INPUT", socket_type="NodeSocketFloat")
        socket.min_value = 0.0
    add(FILTERS[2], in_out="INPUT", socket_type="NodeSocketObject")
    add("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    _build_filter(Builder(tree))
    return tree


def _build_filter(builder: Builder) -> None:
    given = builder.node("NodeGroupInput").outputs
    base = builder.node("FunctionNodeSeparateColor")
    builder.feed(base.inputs[0], builder.named(Attributes.BASE, "FLOAT_COLOR"))
    faint = builder.math("LESS_THAN", base.outputs["Alpha"], given["Faintest"])
    x, y, z = builder.split(builder.named(Attributes.SCALE, VECTOR.type))
    longest = builder.math("MAXIMUM", builder.math("MAXIMUM", x, y), z)
    limited = builder.math("GREATER_THAN", given["Largest"], 0.0)
    large = builder.math("MULTIPLY", limited, builder.math("GREATER_THAN", longest, given[1 + 1]))
    outside = _outside(builder, given["Crop Box"])
    delete = builder.node("GeometryNodeDeleteGeometry", domain="POINT")
    builder.feed(delete.inputs["Geometry"], given["Geometry"])
    unwanted = builder.math("GREATER_THAN", builder.sum(faint, large, outside), 0.5)
    builder.feed(delete.inputs["Selection"], unwanted)
    builder.feed(builder.node("NodeGroupOutput").inputs[0], delete.outputs[0])


def _outside(builder: Builder, box: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """1 where a splat lies outside of the box object's cube; 0 everywhere without a box.

    Without one, Object Info's scale is zero, and so is the product at the end.
    """
    info = builder.node("GeometryNodeObjectInfo", transform_space="RELATIVE")
    builder.feed(info.inputs["Object"], box)
    position = builder.node("GeometryNodeInputPosition").outputs[0]
    offset = builder.vector("SUBTRACT", position, info.outputs["Location"])
    turn = builder.node("FunctionNodeInvertRotation")
    builder.feed(turn.inputs[0], info.outputs["Rotation"])
    local = builder.node("FunctionNodeRotateVector")
    builder.feed(local.inputs["Vector"], offset)
    builder.feed(local.inputs["Rotation"], turn.outputs[0])
    scale = info.outputs["Scale"]
    x, y, z = builder.split(
        builder.vector("DIVIDE", builder.vector("ABSOLUTE", local.outputs[0]), scale)
    )
    farthest = builder.math("MAXIMUM", builder.math("MAXIMUM", x, y), z)
    present = builder.math("GREATER_THAN", builder.vector("LENGTH", scale), 0.0)
    return builder.math("MULTIPLY", present, builder.math("GREATER_THAN", farthest, 1.0))

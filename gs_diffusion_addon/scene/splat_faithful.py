"""Splats as the trainer's rasterizer draws them, out of nodes: flat, towards the active camera.

Each splat is a parallelogram in the plane through its center that faces the camera, so rays meet
splats in the order of their centers' depths, as a rasterizer sorts them. Its sides come from the
projected covariance (EWA splatting, Zwicker et al. 2002; Kerbl et al. 2023): with j1, j2 the
gradients of the picture's axes, M = R S, the covariance is (M^T j1, M^T j2) and the trainer's
blur; its Cholesky factor maps the unit square to the splat. The material then needs no more than
the place in the square. A ray passes one surface a splat where a sphere has two.
"""

from __future__ import annotations

import bpy

from ..declarations import Attributes, Nodes
from .node_math import Builder
from .splat_color import color_attribute, empty_material

PIXEL = "Pixel"
"""Group input: the width of the trainer's pixel at a distance of 1, that is 1 / focal length."""

DILATION = 0.3
"""What 3DGS rasterizers add to a splat's variance in the picture, in px² of :data:`PIXEL`."""

MAX_ALPHA = 0.99
FAINTEST = 255.0
"""Alphas below 1 / 255 are not drawn."""

_OWN = (f"{Attributes.LOGIT}*", f"{Attributes.FILTER}*")
"""Attributes that not every splat has; patterns, because a missing name is worth a warning."""

_STEEPEST = 1.5
"""Tangent from the view's axis beyond which the local affine map grows no further."""


def faithful(builder: Builder, points: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """The geometry of the faithful display from points with the attribute COLOR."""
    given = builder.node("NodeGroupInput").outputs
    across, upward, seen = _sides(builder, given[PIXEL])
    geometry = builder.stored(points, Attributes.ACROSS, across)
    geometry = builder.stored(geometry, Attributes.UPWARD, upward)
    instances = builder.node("GeometryNodeInstanceOnPoints")
    for used_up in ("radiance:*", Attributes.SCALE, Attributes.ROTATION, *_OWN):
        geometry = builder.without(geometry, used_up)  # four corners would only copy it
    builder.feed(instances.inputs["Points"], geometry)
    builder.feed(instances.inputs["Selection"], seen)
    builder.feed(instances.inputs["Instance"], _folded_square(builder))
    realized = builder.node("GeometryNodeRealizeInstances")
    builder.feed(realized.inputs[0], instances.outputs[0])
    x, y, _ = builder.split(builder.named(Attributes.CORNER, "FLOAT_VECTOR"))
    along = builder.vector("SCALE", builder.named(Attributes.ACROSS, "FLOAT_VECTOR"), x)
    side = builder.named(Attributes.UPWARD, "FLOAT_VECTOR")
    spread = builder.node("GeometryNodeSetPosition")
    builder.feed(spread.inputs["Geometry"], realized.outputs[0])
    offset = builder.vector("MULTIPLY_ADD", side, builder.join(y, y, y), along)
    builder.feed(spread.inputs["Offset"], offset)
    material = builder.node("GeometryNodeSetMaterial")
    flat = builder.without(spread.outputs[0], Attributes.ACROSS)
    flat = builder.without(flat, Attributes.UPWARD)
    builder.feed(material.inputs["Geometry"], flat)
    builder.feed(material.inputs["Material"], _material())
    return material.outputs[0]


def _sides(
    builder: Builder, pixel: bpy.types.NodeSocket
) -> tuple[bpy.types.NodeSocket, bpy.types.NodeSocket, bpy.types.NodeSocket]:
    """Half sides of each splat's parallelogram (vectors), and whether it is drawn at all."""
    right, up, back, offset = _camera(builder)
    depth = builder.math("MULTIPLY", builder.vector("DOT_PRODUCT", offset, back), -1.0)
    gradients = []
    for axis in (right, up):
        slope = builder.math("DIVIDE", builder.vector("DOT_PRODUCT", offset, axis), depth)
        limited = builder.math("MAXIMUM", builder.math("MINIMUM", slope, _STEEPEST), -_STEEPEST)
        # The plane through the center shows an offset d at d . (axis + slope back).
        gradient = builder.vector("ADD", axis, builder.vector("SCALE", back, limited))
        gradients.append(_in_deviations(builder, gradient))
    width = builder.math("MULTIPLY", pixel, depth)
    blur = builder.math("MULTIPLY", builder.math("MULTIPLY", width, width), DILATION)
    j1, j2 = gradients
    xx = builder.math("ADD", builder.vector("DOT_PRODUCT", j1, j1), blur)
    yy = builder.math("ADD", builder.vector("DOT_PRODUCT", j2, j2), blur)
    xy = builder.vector("DOT_PRODUCT", j1, j2)
    first = builder.math("SQRT", xx)
    shear = builder.math("DIVIDE", xy, first)
    rest = builder.math("SUBTRACT", yy, builder.math("MULTIPLY", shear, shear))
    second = builder.math("SQRT", builder.math("MAXIMUM", rest, 0.0))
    reach, visible = _reach(builder)
    across = builder.vector(
        "ADD", builder.vector("SCALE", right, first), builder.vector("SCALE", up, shear)
    )
    upward = builder.vector("SCALE", up, second)
    seen = builder.math("MULTIPLY", builder.math("GREATER_THAN", depth, 0.0), visible)
    return builder.vector("SCALE", across, reach), builder.vector("SCALE", upward, reach), seen


def _camera(builder: Builder) -> tuple[bpy.types.NodeSocket, ...]:
    """The active camera's axes right, up, back and each splat's place from it, in object space."""
    active = builder.node("GeometryNodeInputActiveCamera").outputs[0]
    camera = builder.node("GeometryNodeObjectInfo", transform_space="RELATIVE")
    builder.feed(camera.inputs["Object"], active)
    axes = []
    for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        turn = builder.node("FunctionNodeRotateVector")
        builder.feed(turn.inputs["Vector"], axis)
        builder.feed(turn.inputs["Rotation"], camera.outputs["Rotation"])
        axes.append(turn.outputs[0])
    position = builder.node("GeometryNodeInputPosition").outputs[0]
    return (*axes, builder.vector("SUBTRACT", position, camera.outputs["Location"]))


def _in_deviations(builder: Builder, direction: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """S R^T direction: its length is the splat's deviation along ``direction``."""
    back = builder.node("FunctionNodeInvertRotation")
    builder.feed(back.inputs[0], builder.named(Attributes.ROTATION, "QUATERNION"))
    turn = builder.node("FunctionNodeRotateVector")
    builder.feed(turn.inputs["Vector"], direction)
    builder.feed(turn.inputs["Rotation"], back.outputs[0])
    return builder.vector(
        "MULTIPLY", turn.outputs[0], builder.named(Attributes.SCALE, "FLOAT_VECTOR")
    )


def _reach(builder: Builder) -> tuple[bpy.types.NodeSocket, bpy.types.NodeSocket]:
    """Deviations at which a splat's alpha is 1 / 255, and whether it has any such."""
    base = builder.node("FunctionNodeSeparateColor")
    builder.feed(base.inputs[0], builder.named(Attributes.COLOR, "FLOAT_COLOR"))
    bright = builder.math("MULTIPLY", base.outputs["Alpha"], FAINTEST)
    # Natural logarithm: the node's base is the second input.
    log = builder.math("LOGARITHM", builder.math("MAXIMUM", bright, 1.0), 2.718281828459045)
    reach = builder.math("SQRT", builder.math("MULTIPLY", log, 2.0))
    return reach, builder.math("GREATER_THAN", bright, 1.0)


def _folded_square(builder: Builder) -> bpy.types.NodeSocket:
    """A square whose corners (-1..1) are the attribute CORNER and which all lie in the origin.

    So every corner starts in the splat's exact center, however far from the object's origin.
    """
    grid = builder.node("GeometryNodeMeshGrid")
    for name, value in (("Size X", 2.0), ("Size Y", 2.0), ("Vertices X", 2), ("Vertices Y", 2)):
        grid.inputs[name].default_value = value
    position = builder.node("GeometryNodeInputPosition").outputs[0]
    marked = builder.stored(grid.outputs["Mesh"], Attributes.CORNER, position)
    folded = builder.node("GeometryNodeSetPosition")
    builder.feed(folded.inputs["Geometry"], marked)
    # Linked, because this input's own value always means "where it is".
    builder.feed(folded.inputs["Position"], builder.join(0.0, 0.0, 0.0))
    return folded.outputs[0]


def _material() -> bpy.types.Material:
    """Emission behind min(0.99, o (255 o)^(-c²)), with o the opacity and c the place in the square.

    That is o exp(-r²/2) for a Gaussian which has fallen to 1 / 255 at c = 1, where it ends.
    """
    existing = bpy.data.materials.get(Nodes.FAITHFUL)
    if existing is not None:
        return existing
    material, builder = empty_material(Nodes.FAITHFUL)
    color = color_attribute(builder, "GEOMETRY")
    corner = builder.node(
        "ShaderNodeAttribute", attribute_name=Attributes.CORNER, attribute_type="GEOMETRY"
    ).outputs["Vector"]
    square = builder.vector("DOT_PRODUCT", corner, corner)
    opacity = color.outputs["Alpha"]
    falloff = builder.math(
        "POWER",
        builder.math("MULTIPLY", opacity, FAINTEST),
        builder.math("MULTIPLY", square, -1.0),
    )
    alpha = builder.math("MINIMUM", builder.math("MULTIPLY", opacity, falloff), MAX_ALPHA)
    inside = builder.math("LESS_THAN", square, 1.0)
    emission = builder.node("ShaderNodeEmission")
    builder.feed(emission.inputs["Color"], color.outputs["Color"])
    mix = builder.node("ShaderNodeMixShader")
    builder.feed(mix.inputs[0], builder.math("MULTIPLY", alpha, inside))
    builder.feed(mix.inputs[1], builder.node("ShaderNodeBsdfTransparent").outputs[0])
    builder.feed(mix.inputs[2], emission.outputs[0])
    builder.feed(builder.node("ShaderNodeOutputMaterial").inputs[0], mix.outputs[0])
    return material

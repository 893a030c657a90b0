"""Arithmetic in node trees, written as expressions: ``builder.math("MULTIPLY", a, 2.0)``.

Works in geometry and shader trees alike; an operand is a number or another node's output socket.
"""

from __future__ import annotations

from typing import Any, Union

import bpy
import numpy as np
import numpy.typing as npt

Operand = Union[float, bpy.types.NodeSocket]


class Builder:
    """Adds nodes to one tree and links them."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree

    def node(self, kind: str, **properties: Any) -> bpy.types.Node:
        """A new node with its properties (not sockets) set."""
        node = self.tree.nodes.new(kind)
        for name, value in properties.items():
            setattr(node, name, value)
        return node

    def feed(self, socket: bpy.types.NodeSocket, value: Any) -> None:
        """Link ``value`` to an input socket if it is an output, else make it the socket's value."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value

    def math(self, operation: str, *operands: Operand) -> bpy.types.NodeSocket:
        """A Math node's result."""
        node = self.node("ShaderNodeMath", operation=operation)
        for socket, operand in zip(node.inputs, operands, strict=False):
            self.feed(socket, operand)
        return node.outputs[0]

    def sum(self, *terms: Operand) -> bpy.types.NodeSocket:
        """The sum of two or more numbers."""
        total = terms[0]
        for term in terms[1:]:
            total = self.math("ADD", total, term)
        return total

    def vector(self, operation: str, *operands: Any) -> bpy.types.NodeSocket:
        """A Vector Math node's result: a number for DOT_PRODUCT and LENGTH, else a vector.

        The second operand of SCALE is a number.
        """
        node = self.node("ShaderNodeVectorMath", operation=operation)
        inputs = [s for s in node.inputs if s.enabled]
        for socket, operand in zip(inputs, operands, strict=False):
            self.feed(socket, operand)
        return next(s for s in node.outputs if s.enabled)

    def split(self, vector: bpy.types.NodeSocket) -> tuple[bpy.types.NodeSocket, ...]:
        """x, y, z of a vector."""
        node = self.node("ShaderNodeSeparateXYZ")
        self.feed(node.inputs[0], vector)
        return tuple(node.outputs)

    def join(self, x: Operand, y: Operand, z: Operand) -> bpy.types.NodeSocket:
        """A vector of three numbers."""
        node = self.node("ShaderNodeCombineXYZ")
        for socket, operand in zip(node.inputs, (x, y, z), strict=True):
            self.feed(socket, operand)
        return node.outputs[0]

    def named(self, name: str, data_type: str) -> bpy.types.NodeSocket:
        """A named attribute's field; zero where the geometry has none of that name."""
        node = self.node("GeometryNodeInputNamedAttribute", data_type=data_type)
        node.inputs["Name"].default_value = name
        return next(s for s in node.outputs if s.enabled and s.name == "Attribute")

    def stored(
        self,
        geometry: bpy.types.NodeSocket,
        name: str,
        value: bpy.types.NodeSocket,
        data_type: str = "FLOAT_VECTOR",
    ) -> bpy.types.NodeSocket:
        """``geometry`` with ``value`` as the named attribute of its points."""
        node = self.node("GeometryNodeStoreNamedAttribute", data_type=data_type, domain="POINT")
        self.feed(node.inputs["Geometry"], geometry)
        self.feed(node.inputs["Name"], name)
        self.feed(next(s for s in node.inputs if s.enabled and s.name == "Value"), value)
        return node.outputs[0]

    def without(self, geometry: bpy.types.NodeSocket, pattern: str) -> bpy.types.NodeSocket:
        """``geometry`` without the attribute of a name; ``*`` at its end stands for anything."""
        node = self.node("GeometryNodeRemoveAttribute")
        if pattern.endswith("*"):
            mode = node.inputs.get("Pattern Mode")  # a socket from 5.0 on
            if mode is None:
                node.pattern_mode = "WILDCARD"
            else:
                mode.default_value = "Wildcard"
        self.feed(node.inputs["Geometry"], geometry)
        self.feed(node.inputs["Name"], pattern)
        return node.outputs[0]

    def times(self, matrix: npt.ArrayLike, vector: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        """``matrix`` (3, 3) times a vector; the vector itself for the unit matrix."""
        rows = np.asarray(matrix, np.float64)
        if np.array_equal(rows, np.eye(3)):
            return vector
        return self.join(*(self.vector("DOT_PRODUCT", vector, tuple(row)) for row in rows))

    def linear(self, srgb: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        """Linear of an sRGB-encoded color (IEC 61966-2-1), a vector of 0 and more."""
        low = self.vector("MULTIPLY", srgb, (1 / 12.92,) * 3)
        base = self.vector("MULTIPLY_ADD", srgb, (1 / 1.055,) * 3, (0.055 / 1.055,) * 3)
        high = self.join(*(self.math("POWER", c, 2.4) for c in self.split(base)))
        # A steep ramp for the step between the two; 4.2 has no sign of vectors.
        ramp = self.vector("MULTIPLY_ADD", srgb, (1e6,) * 3, (-0.04045e6,) * 3)
        is_high = self.vector("MINIMUM", self.vector("MAXIMUM", ramp, (0.0,) * 3), (1.0,) * 3)
        step = self.vector("SUBTRACT", high, low)
        return self.vector("MULTIPLY_ADD", is_high, step, low)

"""Paints procedural materials: node trees of noise, falloffs and mixes, written as expressions."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from gs_diffusion_addon.scene.node_math import Builder

Socket = bpy.types.NodeSocket
Color = tuple[float, float, float]


class Painter(Builder):
    """Node arithmetic for colors that depend on the place on the model."""

    def __init__(self, material: bpy.types.Material) -> None:
        super().__init__(material.node_tree)
        self.place = self.node("ShaderNodeTexCoord").outputs["Object"]

    def mix(self, share: Socket | float, below: Socket | Color, above: Socket | Color) -> Socket:
        """``below`` where ``share`` is 0, ``above`` where it is 1."""
        node = self.node("ShaderNodeMix", data_type="RGBA")
        inputs = [s for s in node.inputs if s.enabled]
        for socket, value in zip(inputs, (share, below, above), strict=True):
            if isinstance(value, tuple):
                value = (*value, 1.0)
            self.feed(socket, value)
        return next(s for s in node.outputs if s.enabled)

    def step(self, value: Socket, low: float, high: float) -> Socket:
        """A smooth 0..1 as ``value`` goes from ``low`` to ``high`` (which may be the smaller)."""
        node = self.node("ShaderNodeMapRange", interpolation_type="SMOOTHSTEP")
        flip = low > high
        numbers = (high, low, 1.0, 0.0) if flip else (low, high, 0.0, 1.0)
        for socket, number in zip(node.inputs, (value, *numbers), strict=False):
            self.feed(socket, number)
        return node.outputs[0]

    def noise(
        self, scale: float, detail: float = 4.0, stretch: Sequence[float] = (1, 1, 1)
    ) -> Socket:
        """Smooth noise of about 0.3..0.7, ``scale`` features a meter, finer along ``stretch``."""
        node = self.node("ShaderNodeTexNoise")
        node.inputs["Scale"].default_value = scale
        node.inputs["Detail"].default_value = detail
        self.feed(node.inputs["Vector"], self.vector("MULTIPLY", self.place, tuple(stretch)))
        return node.outputs[0]

    def mirrored(self) -> Socket:
        """The place with |x|: what is painted on one side is on both."""
        x, y, z = self.split(self.place)
        return self.join(self.math("ABSOLUTE", x), y, z)

    def blob(self, center: Color, radii: Color) -> Socket:
        """1 at ``center`` (both sides of the face), falling to 0 on the ellipsoid of ``radii``."""
        offset = self.vector("SUBTRACT", self.mirrored(), center)
        inverse = tuple(1 / r for r in radii)
        return self.step(self.vector("LENGTH", self.vector("MULTIPLY", offset, inverse)), 1.0, 0.3)

    def attribute(self, name: str) -> Socket:
        """A number stored on the mesh."""
        return self.node("ShaderNodeAttribute", attribute_name=name).outputs["Fac"]

    def finish(
        self,
        color: Socket,
        roughness: float | Socket,
        bump: Socket,
        height: float,
        metallic: float | Socket = 0.0,
    ) -> None:
        """The surface: ``color``, ``roughness``, and a bump map of ``height`` meters."""
        surface = self.node("ShaderNodeBsdfPrincipled")
        relief = self.node("ShaderNodeBump")
        relief.inputs["Distance"].default_value = height
        self.feed(relief.inputs["Height"], bump)
        self.feed(surface.inputs["Base Color"], color)
        self.feed(surface.inputs["Roughness"], roughness)
        self.feed(surface.inputs["Metallic"], metallic)
        self.feed(surface.inputs["Normal"], relief.outputs[0])
        self.feed(self.node("ShaderNodeOutputMaterial").inputs[0], surface.outputs[0])


def new_material(name: str) -> tuple[bpy.types.Material, Painter]:
    """A material without nodes, and the painter of its tree."""
    material = bpy.data.materials.new(name)
    if not material.node_tree:
        material.use_nodes = True
    material.node_tree.nodes.clear()
    return material, Painter(material)

"""Light for the turntable: the scene's own, or an even studio environment."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
import numpy as np

from ..core.errors import InputError, MissingError
from ..core.settings import Settings

BRIGHTEST = 1.0
"""Environments are scaled so that a matte white surface facing their brightest side sends back this
much (linear; 1 clips in the Standard view) times its albedo. Blender's studio.exr itself is more
than twice as bright in 4.5 as in 4.2, and other pictures have any exposure.
"""

STUDIO_SATURATION = 0.4
STUDIO_TURN = 45.0
"""Blender's studio.exr has teal and violet walls, so it is used less colored than it is, and turned
by these degrees about the vertical, so that the front is lit from the side.
"""

_LARGEST = 4096
"""Wider environment pictures are measured at this width."""

_ENVIRONMENTS = {"TEX_ENVIRONMENT", "TEX_SKY"}
_WORLD_LIGHTS = 0.25
"""A plain world at least this bright counts as light; Blender's default of 0.05 does not."""


def use_studio(settings: Settings, scene: bpy.types.Scene, lights: bool) -> bool:
    """Whether to replace the scene's light: what ``--lighting`` says, or ``auto`` finds.

    ``lights``: whether the scene has lamps that render. Emitting surfaces are not looked for.
    """
    if settings.lighting != "auto":
        return settings.lighting == "studio"
    return not lights and not world_shines(scene.world)


def world_shines(world: bpy.types.World | None) -> bool:
    """Whether a world gives noticeable light: an environment or sky, or a bright color."""
    if world is None:
        return False
    if not world.use_nodes or world.node_tree is None:
        return max(world.color) >= _WORLD_LIGHTS
    nodes = world.node_tree.nodes
    if any(node.type in _ENVIRONMENTS for node in nodes):
        return True
    backgrounds = [node for node in nodes if node.type == "BACKGROUND"]
    return any(
        max(node.inputs["Color"].default_value[:3]) * node.inputs["Strength"].default_value
        >= _WORLD_LIGHTS
        for node in backgrounds
    )


def studio_world(settings: Settings) -> bpy.types.World:
    """A world lit by Blender's studio.exr, or by ``settings.hdri``, at a brightness that suits.

    Raises InputError for a missing or unreadable picture, MissingError if Blender's own is not
    installed.
    """
    path = _environment(settings)
    try:
        picture = bpy.data.images.load(str(path))
        pixels = _read_picture(path)
    except RuntimeError:
        raise InputError(f"The environment picture {path} cannot be read.") from None
    peak = brightest_side(pixels)
    if not 0 < peak < np.inf:
        raise InputError(f"The environment picture {path} is black or has infinite pixels.")
    if settings.hdri:
        return _world(picture, turn=0.0, saturation=1.0, strength=BRIGHTEST / peak)
    return _world(picture, STUDIO_TURN, STUDIO_SATURATION, BRIGHTEST / peak)


def brightest_side(pixels: np.ndarray) -> float:
    """The most light that any direction gets from an environment, as a mean radiance.

    ``pixels`` (h, w, 3) is an equirectangular picture, linear. For each of many directions the
    radiance is averaged over its hemisphere, weighted by the cosine: what a white matte surface
    sends back. The strongest channel counts. A picture of one value gives that value.
    """
    value = pixels.max(axis=-1)
    for axis in (0, 1):  # tiny pictures would have too few directions
        value = value.repeat(-(-32 // value.shape[axis]), axis)
    step = max(1, value.shape[1] // 128)
    rows, columns = (max(1, side // step) for side in value.shape)
    value = value[: rows * step, : columns * step].reshape(rows, -1, columns, step)
    value = value.mean(axis=(1, 3), dtype=np.float64)
    directions, areas = _sphere(rows, columns)
    normals, _ = _sphere(8, 16)
    cosines = np.maximum(normals @ directions.T, 0) * areas
    return float((cosines @ value.ravel() / cosines.sum(axis=1)).max())


def _sphere(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions (rows * columns, 3) of an equirectangular picture's pixels, and their areas."""
    polar = (np.arange(rows) + 0.5) / rows * np.pi
    around = (np.arange(columns) + 0.5) / columns * 2 * np.pi
    t, a = (grid.ravel() for grid in np.meshgrid(polar, around, indexing="ij"))
    ring = np.sin(t)
    return np.stack([ring * np.cos(a), ring * np.sin(a), np.cos(t)], axis=1), ring


def _read_picture(path: Path) -> np.ndarray:
    """(h, w, 3) float32 of a picture, of at most the largest width; raises RuntimeError."""
    copy = bpy.data.images.load(str(path), check_existing=False)
    try:
        width, height = copy.size
        if width > _LARGEST:
            copy.scale(_LARGEST, max(1, height * _LARGEST // width))
            width, height = copy.size
        pixels = np.empty(width * height * 4, np.float32)
        if not len(pixels):
            raise RuntimeError(f"{path} has no pixels")
        copy.pixels.foreach_get(pixels)
        return pixels.reshape(height, width, 4)[..., :3]
    finally:
        bpy.data.images.remove(copy)


def _world(
    picture: bpy.types.Image, turn: float, saturation: float, strength: float
) -> bpy.types.World:
    world = bpy.data.worlds.new("GS Diffusion studio")
    if bpy.app.version < (5, 0, 0):  # always so later, and setting it is deprecated
        world.use_nodes = True
    world.sun_threshold = 0.0  # EEVEE would make a hard sun of the brightest part
    nodes, links = world.node_tree.nodes, world.node_tree.links
    nodes.clear()
    place, mapping = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
    mapping.inputs["Rotation"].default_value[2] = math.radians(turn)
    environment = nodes.new("ShaderNodeTexEnvironment")
    environment.image = picture
    tone, shine = nodes.new("ShaderNodeHueSaturation"), nodes.new("ShaderNodeBackground")
    tone.inputs["Saturation"].default_value = saturation
    shine.inputs["Strength"].default_value = strength
    output = nodes.new("ShaderNodeOutputWorld")
    links.new(place.outputs["Generated"], mapping.inputs["Vector"])
    links.new(mapping.outputs["Vector"], environment.inputs["Vector"])
    links.new(environment.outputs["Color"], tone.inputs["Color"])
    links.new(tone.outputs["Color"], shine.inputs["Color"])
    links.new(shine.outputs["Background"], output.inputs["Surface"])
    return world


def _environment(settings: Settings) -> Path:
    if settings.hdri:
        path = Path(settings.hdri).expanduser().absolute()
        if not path.is_file():
            raise InputError(f"The environment picture {path} does not exist.")
        return path
    folder = bpy.utils.system_resource("DATAFILES", path="studiolights/world")
    path = Path(folder) / "studio.exr"
    if not folder or not path.is_file():
        raise MissingError(
            "This Blender comes without its studio lights; name an environment picture with --hdri."
        )
    return path

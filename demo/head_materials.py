"""Procedural colors of the demo's bust: skin, eyes, hair and stone, in node trees, no pictures.

Places are in the bust's space: meters, the face looks to -Y, the cut through the neck is at z = 0.
"""

from __future__ import annotations

import bpy
from painter import Color, Painter, Socket, new_material

SKIN: Color = (0.62, 0.36, 0.25)
PALE: Color = (0.74, 0.49, 0.37)
FLUSH: Color = (0.58, 0.20, 0.15)
LIPS: Color = (0.42, 0.08, 0.09)
FRECKLE: Color = (0.30, 0.13, 0.07)
HAIR: Color = (0.055, 0.022, 0.012)
HAIR_LIGHT: Color = (0.26, 0.115, 0.045)


def skin_material() -> bpy.types.Material:
    """Skin with flushed cheeks, freckles, lips and brows; hair where the attribute "hair" says."""
    material, paint = new_material("Skin")
    tone = paint.step(paint.noise(28.0), 0.35, 0.65)
    color = paint.mix(tone, SKIN, PALE)
    for center, radii, most in (
        ((0.042, -0.105, 0.128), (0.034, 0.05, 0.03), 0.75),  # cheeks
        ((0.0, -0.155, 0.131), (0.018, 0.03, 0.014), 0.7),  # tip of the nose
        ((0.0, -0.12, 0.065), (0.03, 0.03, 0.02), 0.35),  # chin
    ):
        share = paint.math("MULTIPLY", paint.blob(center, radii), most)
        color = paint.mix(share, color, FLUSH)
    color = paint.mix(paint.math("MULTIPLY", paint.attribute("ears"), 0.45), color, FLUSH)
    color = paint.mix(paint.math("MULTIPLY", paint.attribute("eyelids"), 0.5), color, FLUSH)
    color = paint.mix(_freckles(paint), color, FRECKLE)
    color = paint.mix(paint.step(paint.attribute("lips"), 0.3, 0.7), color, LIPS)
    brows = _brows(paint)
    color = paint.mix(brows, color, HAIR)
    edge = paint.math("MULTIPLY_ADD", paint.noise(160.0, 2.0, (1, 1, 0.4)), 0.5, -0.25)
    hair = paint.step(paint.math("ADD", paint.attribute("hair"), edge), 0.35, 0.6)
    strands = _strands(paint)
    color = paint.mix(hair, color, paint.mix(strands, HAIR, HAIR_LIGHT))
    pores = paint.math("MULTIPLY", paint.noise(700.0, 2.0), 0.12)
    bump = paint.math("MULTIPLY_ADD", paint.math("MULTIPLY", hair, strands), 1.0, pores)
    paint.finish(color, 0.5, bump, 0.003)
    return material


def _freckles(paint: Painter) -> Socket:
    zone = paint.blob((0.03, -0.12, 0.135), (0.05, 0.07, 0.035))
    spots = paint.step(paint.noise(330.0, 1.0), 0.6, 0.68)
    return paint.math("MULTIPLY", paint.math("MULTIPLY", zone, spots), 0.65)


def _brows(paint: Painter) -> Socket:
    """Two arcs above the eyes, thinner to the outside, with hairs at their borders."""
    x, y, z = paint.split(paint.mirrored())
    across = paint.math("DIVIDE", paint.math("SUBTRACT", x, 0.034), 0.022)
    arch = paint.math("MULTIPLY", paint.math("MULTIPLY", across, across), -0.005)
    height = paint.math("SUBTRACT", paint.math("SUBTRACT", z, 0.1785), arch)
    width = paint.math("MULTIPLY_ADD", across, -0.0012, 0.0036)
    ragged = paint.math("MULTIPLY_ADD", paint.noise(500.0, 2.0, (0.35, 1, 1)), 0.8, 0.6)
    body = paint.step(
        paint.math("DIVIDE", paint.math("ABSOLUTE", height), paint.math("MULTIPLY", width, ragged)),
        1.0,
        0.6,
    )
    ends = paint.step(paint.math("ABSOLUTE", across), 1.1, 0.9)
    front = paint.step(y, -0.06, -0.08)
    return paint.math("MULTIPLY", paint.math("MULTIPLY", body, ends), front)


def _strands(paint: Painter) -> Socket:
    """Locks that run from the forehead to the back: stripes around the head's left-right axis."""
    x, _, z = paint.split(paint.place)
    swing = paint.math("MULTIPLY", paint.noise(18.0, 2.0), 2.2)
    angle = paint.math("ARCTAN2", x, paint.math("SUBTRACT", z, 0.10))
    phase = paint.math("MULTIPLY_ADD", angle, 17.0, paint.math("MULTIPLY", swing, 3.0))
    wave = paint.math("MULTIPLY_ADD", paint.math("SINE", phase), 0.4, 0.5)
    fine = paint.noise(260.0, 3.0, (1, 0.12, 0.3))
    return paint.step(
        paint.math("MULTIPLY_ADD", fine, 0.9, paint.math("MULTIPLY", wave, 0.6)), 0.35, 1.0
    )


def hair_material() -> bpy.types.Material:
    """The same hair for parts of their own (the bun): locks wound around its axis."""
    material, paint = new_material("Hair")
    x, _, z = paint.split(paint.place)
    around = paint.math("ARCTAN2", x, z)
    radius = paint.vector("LENGTH", paint.join(x, 0.0, z))
    wound = paint.math("MULTIPLY_ADD", around, 3.0, paint.math("MULTIPLY", radius, 330.0))
    swing = paint.math("MULTIPLY", paint.noise(50.0, 2.0), 3.0)
    wave = paint.math("SINE", paint.math("ADD", wound, swing))
    fine = paint.noise(300.0, 3.0, (1, 0.4, 1))
    mixed = paint.math("MULTIPLY_ADD", wave, 0.35, paint.math("MULTIPLY", fine, 1.0))
    strands = paint.step(mixed, 0.15, 0.95)
    paint.finish(paint.mix(strands, HAIR, HAIR_LIGHT), 0.5, strands, 0.003)
    return material


def eye_material() -> bpy.types.Material:
    """White, iris and pupil by the distance from the eye's axis, -Y through the origin."""
    material, paint = new_material("Eye")
    x, y, z = paint.split(paint.place)
    radius = paint.vector("LENGTH", paint.join(x, 0.0, z))
    around = paint.math("ARCTAN2", x, z)
    spokes = paint.math("SINE", paint.math("MULTIPLY", around, 23.0))
    rays = paint.math("MULTIPLY_ADD", spokes, 0.5, 0.5)
    iris = paint.mix(rays, (0.05, 0.12, 0.09), (0.16, 0.27, 0.19))
    color = paint.mix(paint.step(radius, 0.0062, 0.0068), iris, (0.75, 0.70, 0.66))
    color = paint.mix(paint.step(radius, 0.0034, 0.0028), color, (0.005, 0.005, 0.006))
    color = paint.mix(paint.step(y, -0.002, 0.0), color, (0.5, 0.2, 0.15))
    paint.finish(color, 0.12, rays, 0.0)
    return material


def stone_material() -> bpy.types.Material:
    """Dark veined stone for the plinth."""
    material, paint = new_material("Stone")
    veins = paint.step(
        paint.math("ABSOLUTE", paint.math("SUBTRACT", paint.noise(22.0, 8.0), 0.5)), 0.03, 0.0
    )
    cloud = paint.step(paint.noise(60.0, 6.0), 0.35, 0.7)
    color = paint.mix(cloud, (0.03, 0.06, 0.055), (0.09, 0.14, 0.12))
    paint.finish(paint.mix(veins, color, (0.55, 0.58, 0.5)), 0.3, veins, 0.0003)
    return material


def clay_material() -> bpy.types.Material:
    """Painted clay for models without masks of their own (Suzanne)."""
    material, paint = new_material("Clay")
    bands = paint.math("MULTIPLY_ADD", paint.split(paint.place)[2], 14.0, paint.noise(12.0))
    wave = paint.step(paint.math("SINE", paint.math("MULTIPLY", bands, 6.0)), -0.6, 0.6)
    color = paint.mix(wave, (0.45, 0.16, 0.07), (0.70, 0.45, 0.25))
    spots = paint.step(paint.noise(60.0, 3.0), 0.58, 0.66)
    paint.finish(paint.mix(spots, color, (0.08, 0.16, 0.18)), 0.5, paint.noise(200.0), 0.001)
    return material

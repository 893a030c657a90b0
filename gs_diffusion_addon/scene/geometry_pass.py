"""The exact geometry pass: depth, normal, position, object and material of the surface at each
pixel's center.

The beauty render's pixel filter mixes a pixel with its neighbors; this one takes a single sample
within a hundredth of a pixel of the center, so that a position projects to its own pixel's center.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import bpy

from .beauty import set_output
from .selection import OTHER_GEOMETRY, SOLID
from .snapshot import scratch_layer, temporarily

MOST_INDEX = 32767
"""Blender's highest pass index."""

_PASSES = {
    "use_pass_z": True,
    "use_pass_normal": True,
    "use_pass_position": True,
    "use_pass_object_index": True,
    "use_pass_material_index": True,
}


@contextlib.contextmanager
def geometry_pass(scene: bpy.types.Scene) -> Iterator[None]:
    """Within the block, rendering the scratch scene writes geometry passes as multilayer EXR (ZIP,
    float32).

    Surfaces are those that Cycles sees on the camera's ray: where a texture cuts out more than half
    of the opacity, the ray goes on. Normals are the shading normals in world axes, not turned to
    the camera.
    """
    set_output(scene, "MULTI_LAYER_IMAGE", "OPEN_EXR_MULTILAYER")
    image = scene.render.image_settings
    image.color_depth, image.exr_codec = "32", "ZIP"
    if hasattr(image, "use_exr_interleave"):
        # From 5.0 on passes are parts of their own by default, which Blender fails to write where
        # pixels are not square ("Conflicting attributes found for header").
        image.use_exr_interleave = True
    cycles = {
        "samples": 1,
        "use_adaptive_sampling": False,
        "use_denoising": False,
        "pixel_filter_type": "BOX",
        "filter_width": 0.01,
        "max_bounces": 0,
        "film_exposure": 0.0,  # the unused picture becomes black, which costs no bytes
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(temporarily(scene.render, engine="CYCLES"))
        stack.enter_context(temporarily(scene, world=None))  # preparing an HDRI takes a second
        stack.enter_context(temporarily(scene.cycles, **cycles))
        stack.enter_context(temporarily(scratch_layer(scene), **_PASSES, pass_alpha_threshold=0.5))
        stack.enter_context(_numbered())
        yield


@contextlib.contextmanager
def _numbered() -> Iterator[None]:
    """Number everything visible, and all materials, from 1 in order of names (instanced objects
    need not be in the scene).
    """
    with contextlib.ExitStack() as stack:
        visible = [o for o in bpy.data.objects if o.type in SOLID | OTHER_GEOMETRY]
        for items in (visible, bpy.data.materials):
            for number, item in enumerate(sorted(items, key=lambda o: o.name_full)):
                stack.enter_context(temporarily(item, pass_index=1 + number % MOST_INDEX))
        yield

"""How the turntable's frames look: engine, samples, film and color."""

from __future__ import annotations

import os

import bpy

from ..core.settings import Settings, parse_size
from .color_view import no_plain_view, show_plainly


def configure_scene(scene: bpy.types.Scene, settings: Settings) -> None:
    """Set what all passes share: size, transparent film, no extras, threads, Standard sRGB color.

    Pixel aspect is the scene's with ``--camera scene`` (it belongs to that camera's picture), else
    square.
    """
    render = scene.render
    render.resolution_x, render.resolution_y = parse_size(settings.size)
    render.resolution_percentage = 100
    if settings.camera != "scene":
        render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    render.film_transparent = True
    render.use_persistent_data = True
    render.dither_intensity = 0.0
    for name in ("border", "crop_to_border", "compositing", "sequencer", "motion_blur"):
        setattr(render, f"use_{name}", False)
    for name in ("freestyle", "multiview", "placeholder"):
        setattr(render, f"use_{name}", False)
    render.use_overwrite = render.use_file_extension = True
    for prop in render.bl_rna.properties:  # no dates and paths in the PNGs
        if prop.identifier.startswith("use_stamp") and prop.type == "BOOLEAN":
            setattr(render, prop.identifier, False)
    threads = int(os.environ.get("GSD_THREADS") or settings.threads)
    render.threads_mode = "FIXED" if threads else "AUTO"
    if threads:
        render.threads = threads
    if _has_gpu():
        scene.cycles.device = "GPU"
    if not show_plainly(scene, srgb=True):
        raise no_plain_view()


def configure_beauty(scene: bpy.types.Scene, settings: Settings) -> None:
    """Set the engine, its samples and the output for frames: 8-bit RGBA PNG, straight alpha."""
    set_output(scene, "IMAGE", "PNG")
    image = scene.render.image_settings
    image.color_mode, image.color_depth, image.compression = "RGBA", "8", 15
    if settings.engine == "cycles":
        _configure_cycles(scene, settings)
    elif settings.engine == "eevee":
        scene.render.engine = eevee_name()
        scene.eevee.taa_render_samples = settings.samples
    else:
        _configure_workbench(scene, settings)


def set_output(scene: bpy.types.Scene, media: str, file_format: str) -> None:
    """Choose the file format; Blender 5.0 wants the kind of media first."""
    image = scene.render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = media
    image.file_format = file_format
    image.color_management = "FOLLOW_SCENE"


def eevee_name() -> str:
    """EEVEE's id, which was another one from 4.2 to 4.5."""
    return "BLENDER_EEVEE" if bpy.app.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"


def _configure_cycles(scene: bpy.types.Scene, settings: Settings) -> None:
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.samples = settings.samples
    cycles.time_limit = 0.0
    cycles.seed, cycles.use_animated_seed = 0, False
    cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", 1.5
    cycles.use_denoising = settings.denoise and has_denoiser()
    if cycles.use_denoising:
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
        cycles.denoising_prefilter = "FAST"


def has_denoiser() -> bool:
    """Whether this Blender has OpenImageDenoise; distributions build it without, and then Cycles
    raises.
    """
    import _cycles

    return bool(_cycles.with_openimagedenoise)


def _has_gpu() -> bool:
    """Whether a graphics card is switched on for Cycles in the preferences."""
    add_on = bpy.context.preferences.addons.get("cycles")
    if add_on is None or getattr(add_on.preferences, "compute_device_type", "NONE") == "NONE":
        return False
    return any(device.use and device.type != "CPU" for device in add_on.preferences.devices)


def _configure_workbench(scene: bpy.types.Scene, settings: Settings) -> None:
    scene.render.engine = "BLENDER_WORKBENCH"
    steps = (5, 8, 11, 16, 32)
    scene.display.render_aa = str(next((n for n in steps if n >= settings.samples), 32))
    shading = scene.display.shading
    shading.light, shading.color_type = "STUDIO", "TEXTURE"
    shading.show_object_outline = shading.show_shadows = shading.show_cavity = False
    shading.show_xray = False
    # Its lamps stand in front only: fixed in the world they would leave the back dark.
    shading.use_world_space_lighting = False

"""The turntable's camera: its optics, its intrinsics as Blender has them, where it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import bpy
import numpy as np
from mathutils import Matrix

from ..core.cameras import Array, Camera, from_projection, orthonormal
from ..core.errors import InputError
from ..core.orbit import View, framing_distance, turntable
from ..core.settings import Ring, Settings, all_rings
from .evaluated import Lens
from .framing import Bounds, lattice
from .snapshot import scratch_layer


@dataclass(frozen=True, eq=False)
class Rig:
    """The camera object in the scratch scene, the views it takes and its intrinsics.

    ``intrinsics`` has the identity as pose; :meth:`camera` gives it a view's.
    """

    item: bpy.types.Object
    views: list[View]
    intrinsics: Camera

    def camera(self, view: View) -> Camera:
        """The camera of a view, as transforms.json has it."""
        c = self.intrinsics
        return Camera(c.width, c.height, c.fl_x, c.fl_y, c.cx, c.cy, view.matrix)

    def place(self, view: View) -> None:
        """Put the camera object where the view is taken from."""
        self.item.matrix_world = Matrix(view.matrix.tolist())


def build_rig(scene: bpy.types.Scene, settings: Settings, bounds: Bounds, lens: Lens | None) -> Rig:
    """Make the scratch scene's camera at the scene's render size.

    With ``--camera auto`` a centered lens frames the model as closely as all views allow; with
    ``scene`` the scene camera's optics, distance from the model's middle, height and side are
    kept. Raises InputError where there is no such camera, it is no perspective camera, or stands
    inside the model.
    """
    data = bpy.data.cameras.new("GS Diffusion turntable")
    item = bpy.data.objects.new("GS Diffusion turntable", data)
    scene.collection.objects.link(item)
    scene.camera = item
    rings = all_rings(settings)
    if settings.camera == "scene":
        distance, elevation, start = _scene_orbit(lens, bounds)
        assert lens is not None
        for name, value in lens.optics.items():
            setattr(data, name, value)
        rings = (Ring(elevation, settings.views), *rings[1:])
        intrinsics = camera_of(item, scene)
    else:
        data.sensor_fit, data.sensor_width, data.lens = "AUTO", 36.0, settings.lens
        intrinsics = camera_of(item, scene)
        views = turntable(rings, np.zeros(3), 1.0)
        rotations = [view.matrix[:3, :3] for view in views]
        distance = framing_distance(bounds.extremes, rotations, intrinsics, settings.margin)
        start = 0.0
    data.clip_start, data.clip_end = _clip(distance, bounds.radius)
    views = [_as_stored(view) for view in turntable(rings, bounds.center, distance, start)]
    return Rig(item, views, intrinsics)


def _as_stored(view: View) -> View:
    """The view from where Blender, which keeps places as float32, will have the camera."""
    matrix = view.matrix.copy()
    matrix[:3, 3] = matrix[:3, 3].astype(np.float32)
    return replace(view, matrix=matrix)


def coarseness(rig: Rig, bounds: Bounds) -> float:
    """Steps of Blender's numbers where the model stands, in pixels of the frames.

    From about half a pixel on they show: edges jump, surfaces flicker.
    """
    camera = rig.camera(rig.views[0])
    pixel = np.linalg.norm(camera.position - bounds.center) / max(camera.fl_x, camera.fl_y)
    return lattice(bounds.center) / float(pixel)


def camera_of(item: bpy.types.Object, scene: bpy.types.Scene) -> Camera:
    """A camera object's pose and its intrinsics at the scene's render size.

    They come from Blender's own projection matrix, so sensor fit, lens shift and pixel aspect are
    right.
    """
    render = scene.render
    layer = scratch_layer(scene)
    layer.update()
    width = int(render.resolution_x * render.resolution_percentage / 100)
    height = int(render.resolution_y * render.resolution_percentage / 100)
    projection = item.calc_matrix_camera(
        layer.depsgraph,
        x=width,
        y=height,
        scale_x=render.pixel_aspect_x,
        scale_y=render.pixel_aspect_y,
    )
    return from_projection(np.array(projection), width, height, orthonormal(item.matrix_world))


def _scene_orbit(lens: Lens | None, bounds: Bounds) -> tuple[float, float, float]:
    """(distance in meters, elevation, azimuth in degrees) of the scene's camera about the model."""
    if lens is None:
        raise InputError("The scene has no camera; add one, or use --camera auto.")
    if lens.kind != "PERSP":
        raise InputError(
            f"The scene camera {lens.name!r} is not a perspective camera; change its type, or use "
            "--camera auto."
        )
    arm: Array = lens.matrix[:3, 3] - bounds.center
    distance = float(np.linalg.norm(arm))
    if distance <= bounds.radius:
        raise InputError(
            f"The scene camera {lens.name!r} stands inside the model: {distance:.4g} m from its "
            f"middle, where its bounds reach out to {bounds.radius:.4g} m; move it away, or use "
            "--camera auto."
        )
    elevation = math.degrees(math.asin(np.clip(arm[2] / distance, -1, 1)))
    azimuth = math.degrees(math.atan2(arm[0], -arm[1])) if np.hypot(arm[0], arm[1]) > 0 else 0.0
    return distance, float(np.clip(elevation, -89, 89)), azimuth


def _clip(distance: float, radius: float) -> tuple[float, float]:
    """Clipping planes well off the model; right for millimeters as for kilometers."""
    return max(0.5 * (distance - radius), 1e-3 * distance), 2.0 * (distance + radius)

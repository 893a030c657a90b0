"""The scene as a render sees it: meshes after all modifiers, instances, at the render's levels and
animation frame.

Scripts can evaluate the viewport only, which may have fewer subdivisions or hidden things. A render
engine is handed the render's own evaluation, so a tiny one is registered for a moment, asked to
"render", and takes notes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from ..core.errors import InputError, StageError
from .reports import reason
from .selection import OTHER_GEOMETRY
from .snapshot import scratch_layer, temporarily


@dataclass(frozen=True, eq=False)
class Part:
    """A mesh and the places where it stands.

    ``vertices`` (V, 3) float32 in its own space; ``triangles`` (T, 3) int32 vertex numbers;
    ``normals`` (T, 3, 3) float32, the shading normal at each triangle's corners, own space;
    ``matrices`` (M, 4, 4) float64, own space to world. Things without faces (volumes, hair) have
    the corners of their bounding box and T = 0.
    """

    name: str
    vertices: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.int32]
    normals: npt.NDArray[np.float32]
    matrices: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lens:
    """What is kept of a scene camera: its optics and its pose (4, 4), camera-to-world, scale
    included.
    """

    name: str
    kind: str
    optics: dict[str, Any]
    matrix: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The model's parts, and the scene's camera if it has one."""

    parts: list[Part]
    lens: Lens | None


OPTICS = ("lens", "sensor_width", "sensor_height", "sensor_fit", "shift_x", "shift_y")


def evaluate(scene: bpy.types.Scene) -> Evaluated:
    """Measure a scratch scene at its frame; raises InputError if nothing in it has any geometry."""
    original = scene.camera
    notes = _Notes(original)
    stand_in = None
    if original is None:  # Blender renders nothing without a camera
        stand_in = bpy.data.objects.new("GS Diffusion probe", bpy.data.cameras.new("probe"))
        scene.collection.objects.link(stand_in)
        scene.camera = stand_in
    _Probe.notes = notes
    bpy.utils.register_class(_Probe)
    try:
        render = scene.render
        small = {"engine": _Probe.bl_idname, "resolution_x": 8, "resolution_y": 8}
        with (
            temporarily(render, **small, use_compositing=False, use_sequencer=False),
            bpy.context.temp_override(scene=scene, view_layer=scratch_layer(scene)),
        ):
            bpy.ops.render.render()
    except RuntimeError as error:
        raise StageError(f"Blender cannot evaluate the scene: {reason(error)}") from None
    finally:
        bpy.utils.unregister_class(_Probe)
        _Probe.notes = None
        if stand_in is not None:
            bpy.data.cameras.remove(stand_in.data)  # the object goes with it
    if notes.failure is not None:
        raise notes.failure
    return Evaluated(_parts(notes), notes.lens)


@dataclass
class _Notes:
    """What the probe writes down while Blender's evaluation lives."""

    camera: bpy.types.Object | None
    meshes: dict[Any, tuple[str, Any, Any, Any]] = field(default_factory=dict)
    places: dict[Any, list[npt.NDArray[np.float64]]] = field(default_factory=dict)
    lens: Lens | None = None
    failure: Exception | None = None


class _Probe(bpy.types.RenderEngine):
    bl_idname = "GSD_PROBE"
    bl_label = "GS Diffusion probe"
    bl_use_preview = False

    notes: _Notes | None = None

    def render(self, depsgraph: bpy.types.Depsgraph) -> None:
        """Called by Blender with the render's evaluation; Blender swallows exceptions, so keep
        them.
        """
        notes = type(self).notes
        assert notes is not None
        try:
            _take_notes(notes, depsgraph)
        except Exception as error:  # noqa: BLE001 - raised again by evaluate()
            notes.failure = error


def _take_notes(notes: _Notes, depsgraph: bpy.types.Depsgraph) -> None:
    if notes.camera is not None:
        camera = notes.camera.evaluated_get(depsgraph)
        optics = {name: getattr(camera.data, name) for name in OPTICS}
        matrix = np.array(camera.matrix_world, dtype=np.float64)
        notes.lens = Lens(notes.camera.name, camera.data.type, optics, matrix)
    for instance in depsgraph.object_instances:
        item = instance.object
        # Curves, texts and metaballs come twice: as themselves, and as the mesh they become.
        wanted = item.type == "MESH" or item.type in OTHER_GEOMETRY
        shown = instance.show_self and item.visible_camera and not item.is_shadow_catcher
        if not (wanted and shown):
            continue
        key = (item.type, item.data.as_pointer())
        if key not in notes.meshes:
            notes.meshes[key] = (item.name, *_arrays(item))
        notes.places.setdefault(key, []).append(np.array(instance.matrix_world, dtype=np.float64))


def _arrays(item: bpy.types.Object) -> tuple[Any, Any, Any]:
    """(vertices, triangles, normals) of an evaluated object, see :class:`Part`."""
    if item.type == "MESH":
        mesh = item.to_mesh()
        try:
            return _read_mesh(mesh)
        finally:
            item.to_mesh_clear()
    corners = np.array([tuple(corner) for corner in item.bound_box], dtype=np.float32)
    return corners, np.empty((0, 3), np.int32), np.empty((0, 3, 3), np.float32)


def _read_mesh(mesh: bpy.types.Mesh) -> tuple[Any, Any, Any]:
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    mesh.calc_loop_triangles()
    triangles = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", triangles)
    loops = np.empty(len(triangles), np.int32)
    mesh.loop_triangles.foreach_get("loops", loops)
    normals = np.empty(3 * len(mesh.loops), np.float32)
    if len(loops):
        mesh.corner_normals.foreach_get("vector", normals)
    corners = normals.reshape(-1, 3)[loops.reshape(-1, 3)]
    return vertices.reshape(-1, 3), triangles.reshape(-1, 3), corners


def _parts(notes: _Notes) -> list[Part]:
    parts = [
        Part(name, vertices, triangles, normals, np.stack(notes.places[key]))
        for key, (name, vertices, triangles, normals) in notes.meshes.items()
    ]
    parts = [part for part in parts if len(part.vertices)]
    if not parts:
        raise InputError(
            "The model has no geometry at this animation frame: after its modifiers no point is "
            "left. Choose another --frame or other --objects."
        )
    if all(len(p.triangles) == 0 for p in parts) and not _renders_without_faces(notes):
        raise InputError(
            "The model has points but no faces (a point cloud, or only edges), so there is nothing "
            "to render; give it a surface first."
        )
    return parts


def _renders_without_faces(notes: _Notes) -> bool:
    return any(key[0] in OTHER_GEOMETRY for key in notes.meshes)

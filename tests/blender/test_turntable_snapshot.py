"""The user's scene is left as it was, to the last property, after success and after failure."""

from __future__ import annotations

import contextlib
from typing import Any

import bpy
import numpy as np
import pytest

from gs_diffusion_addon.core.errors import StageError
from gs_diffusion_addon.scene import turntable
from gs_diffusion_addon.scene.snapshot import temporarily
from tests.blender.turntable_helpers import add_camera, add_light, box, monkey, render, small

# Reading the UV sculpting tool crashes 4.2.
SKIPPED = {"rna_type", "bl_rna", "original", "depsgraph", "is_evaluated", "uv_sculpt"}
LARGE = {"vertices", "edges", "loops", "polygons", "pixels", "vertex_normals", "corner_normals"}
UV = "uv_layer"
"""Pointers to one of the layers, which are dumped already."""


def dump(owner: Any, seen: set[Any]) -> Any:
    """All RNA properties of a struct: other data-blocks by name, everything else once."""
    mark = (type(owner).__name__, owner.as_pointer())
    if mark in seen:
        return mark[0]
    seen.add(mark)
    out = {}
    for prop in owner.bl_rna.properties:
        name = prop.identifier
        if name in SKIPPED or name in LARGE or name.startswith(UV):
            continue
        with contextlib.suppress(AttributeError, RuntimeError):  # not readable at the moment
            out[name] = plain(prop, getattr(owner, name), seen)
    return out


def plain(prop: Any, value: Any, seen: set[Any]) -> Any:
    if prop.type == "POINTER":
        return reference(value, seen)
    if prop.type == "COLLECTION":
        return [reference(item, seen) for item in value]
    if getattr(prop, "is_array", False):
        return np.array(value).tolist()
    return sorted(value) if isinstance(value, set) else value


def reference(value: Any, seen: set[Any]) -> Any:
    if value is None:
        return None
    if isinstance(value, bpy.types.ID):
        # Node trees inside a material or world belong to it; other data-blocks are dumped alone.
        embedded = getattr(value, "is_embedded_data", False)
        return dump(value, seen) if embedded else (type(value).__name__, value.name_full)
    return dump(value, seen)


WINDOW = {"window_managers", "screens", "workspaces"}
"""No part of the scene, and partly unreadable without a window."""


def everything() -> dict[str, Any]:
    """Every data-block of the open file."""
    out: dict[str, Any] = {}
    for prop in bpy.data.bl_rna.properties:
        if prop.type == "COLLECTION" and prop.identifier not in WINDOW:
            for item in getattr(bpy.data, prop.identifier):
                out[f"{prop.identifier}/{item.name_full}"] = dump(item, set())
                if bpy.app.version < (4, 5, 0):
                    # 4.2 miscounts the objects of a copied scene, until the file is loaded again.
                    del out[f"{prop.identifier}/{item.name_full}"]["users"]
    return out


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(set(a) | set(b))
        found = [differences(a.get(k, "absent"), b.get(k, "absent"), f"{path}.{k}") for k in keys]
        return [line for lines in found for line in lines]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        found = [
            differences(x, y, f"{path}[{k}]") for k, (x, y) in enumerate(zip(a, b, strict=True))
        ]
        return [line for lines in found for line in lines]
    return [] if a == b or a != a else [f"{path}: {a!r} became {b!r}"[:300]]


def busy_scene() -> None:
    """A scene in which whatever we set has another value."""
    scene = bpy.context.scene
    item = monkey()
    item.pass_index = 77
    item.keyframe_insert("location", frame=1)
    item.location = (0, 0, 2)
    item.keyframe_insert("location", frame=9)
    box("Other", location=(4, 0, 0)).hide_render = True
    box("Third", location=(0, 4, 0)).pass_index = 5
    add_light()
    add_camera()
    scene.world = bpy.data.worlds.new("World")
    scene.world.use_nodes = True
    render_settings = scene.render
    render_settings.engine = "BLENDER_WORKBENCH"
    render_settings.resolution_x, render_settings.resolution_percentage = 333, 40
    render_settings.pixel_aspect_x = 1.5
    render_settings.use_border = render_settings.use_motion_blur = True
    render_settings.filepath = "//mine"
    render_settings.image_settings.file_format = "JPEG"
    scene.view_settings.view_transform, scene.view_settings.exposure = "Filmic", 1.5
    scene.cycles.samples, scene.cycles.filter_width = 12, 3.0
    scene.keyframe_insert("cycles.samples", frame=1)
    scene.view_layers.new("Second").use_pass_mist = True
    scene.timeline_markers.new("m", frame=5)
    bpy.data.materials.new("Override")
    scene.view_layers[0].material_override = bpy.data.materials["Override"]
    other = bpy.data.scenes.new("Another scene")
    other.collection.objects.link(item)
    scene.frame_set(3)
    bpy.context.view_layer.update()


@pytest.mark.parametrize("frame", [-1, 9])
@pytest.mark.parametrize("failing", [False, True])
def test_nothing_has_changed(tmp_path, monkeypatch, frame, failing):
    busy_scene()
    before = everything()
    assert len(before) > 8
    expectation: Any = contextlib.nullcontext()
    if failing:
        original, calls = turntable.render_to, []

        def fails_at_the_third(scene, path):
            calls.append(path)
            if len(calls) == 3:
                raise StageError("no more")
            original(scene, path)

        monkeypatch.setattr(turntable, "render_to", fails_at_the_third)
        expectation = pytest.raises(StageError, match="no more")
    with expectation:
        render(tmp_path, small(objects="Suzanne", frame=frame, size="16", lighting="studio"))
    found = differences(before, everything())
    assert not found, "\n".join(found[:20])
    assert not list(tmp_path.rglob(".gsd-tmp-*"))


def test_the_comparison_can_fail():
    busy_scene()
    before = everything()
    bpy.context.scene.cycles.filter_width = 2.5
    bpy.data.objects["Third"].pass_index = 6
    bpy.data.worlds["World"].node_tree.nodes[0].location.x += 1
    found = differences(before, everything())
    changed = {line.split(":")[0].rsplit(".", 1)[1] for line in found}
    assert changed >= {"filter_width", "pass_index", "location[0]"}, found


def test_temporarily_puts_back_after_an_error():
    item = box()
    item.pass_index = 4
    with pytest.raises(KeyError), temporarily(item, pass_index=9, hide_render=True):
        assert item.pass_index == 9 and item.hide_render
        raise KeyError
    assert item.pass_index == 4 and not item.hide_render
    with pytest.raises(AttributeError), temporarily(item, pass_index=9, no_such_thing=1):
        pass
    assert item.pass_index == 4

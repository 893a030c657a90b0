"""What is framed and sampled is what renders: modifiers, instances, animation, visibility."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from mathutils import Matrix

from gs_diffusion_addon.scene.evaluated import Part, evaluate
from gs_diffusion_addon.scene.framing import bounding_sphere
from gs_diffusion_addon.scene.selection import chosen_objects
from gs_diffusion_addon.scene.snapshot import active_layer, scratch_scene
from gs_diffusion_addon.scene.surface import sample_surface
from tests.blender.turntable_helpers import box


def measure(names: str = "", frame: int = 1):
    source = bpy.context.scene
    objects = chosen_objects(names, source, active_layer(source))
    with scratch_scene(source, objects, frame) as scene:
        parts = evaluate(scene).parts
    return parts, bounding_sphere(parts)


def corners(parts) -> tuple[np.ndarray, np.ndarray]:
    points = np.concatenate(
        [p.vertices @ m[:3, :3].T + m[:3, 3] for p in parts for m in p.matrices]
    )
    return points.min(0), points.max(0)


def test_sphere_of_a_box():
    box(size=(2, 4, 4), location=(1, 2, 3))
    _, bounds = measure()
    np.testing.assert_allclose(bounds.center, (1, 2, 3), atol=1e-6)
    assert abs(bounds.radius - 3) < 1e-6


def test_modifiers_at_render_settings():
    """An array that only renders counts, one that only shows in the viewport does not."""
    item = box()
    for name, count, show_render in (("Render", 4, True), ("Viewport", 9, False)):
        array = item.modifiers.new(name, "ARRAY")
        array.count = count
        array.show_render, array.show_viewport = show_render, not show_render
    parts, _ = measure()
    low, high = corners(parts)
    np.testing.assert_allclose(low, (-0.5, -0.5, -0.5), atol=1e-5)
    np.testing.assert_allclose(high, (3.5, 0.5, 0.5), atol=1e-5)


def test_viewport_visibility_does_not_matter():
    box("Seen")
    hidden = box("Hidden", location=(5, 0, 0))
    hidden.hide_viewport = True
    off = box("Off", location=(50, 0, 0))
    off.hide_render = True
    group = bpy.data.collections.new("Excluded")
    bpy.context.scene.collection.children.link(group)
    away = box("Away", location=(99, 0, 0))
    bpy.context.scene.collection.objects.unlink(away)
    group.objects.link(away)
    bpy.context.view_layer.layer_collection.children["Excluded"].exclude = True
    _, high = corners(measure()[0])
    np.testing.assert_allclose(high, (5.5, 0.5, 0.5), atol=1e-5)
    catcher = box("Catcher", size=(100, 100, 0.1))
    catcher.is_shadow_catcher = True
    _, high = corners(measure()[0])
    np.testing.assert_allclose(high, (5.5, 0.5, 0.5), atol=1e-5)


def test_collection_instances():
    group = bpy.data.collections.new("Library")  # in no scene
    item = box(size=(1, 1, 1))
    bpy.context.scene.collection.objects.unlink(item)
    group.objects.link(item)
    for k in range(3):
        empty = bpy.data.objects.new(f"Instance {k}", None)
        empty.instance_type, empty.instance_collection = "COLLECTION", group
        empty.location, empty.scale = (3 * k, 0, 0), (1, 1, 1 + k)
        bpy.context.scene.collection.objects.link(empty)
    parts, _ = measure()
    assert len(parts) == 1 and len(parts[0].matrices) == 3
    low, high = corners(parts)
    np.testing.assert_allclose(low, (-0.5, -0.5, -1.5), atol=1e-5)
    np.testing.assert_allclose(high, (6.5, 0.5, 1.5), atol=1e-5)
    _, high = corners(measure("Instance 0, Instance 1")[0])
    np.testing.assert_allclose(high, (3.5, 0.5, 1), atol=1e-5)


def test_objects_and_collections_by_name():
    group = bpy.data.collections.new("Group")
    bpy.context.scene.collection.children.link(group)
    for name in ("A", "B", "C, with comma"):
        item = box(name)
        if name != "A":
            group.objects.link(item)
    empty = bpy.data.objects.new("Empty", None)
    bpy.context.scene.collection.objects.link(empty)
    bpy.data.objects["A"].parent = empty
    everything = {"A", "B", "C, with comma"}
    expected = {"Group": {"B", "C, with comma"}, "A, B": {"A", "B"}, " B ,": {"B"}}
    expected |= {"C, with comma": {"C, with comma"}, "Empty": {"A"}, "": everything}
    for names, found in expected.items():
        assert {p.name for p in measure(names)[0]} == found, names


def test_animation_frame_and_scene_put_back():
    item = box()
    item.keyframe_insert("location", frame=1)
    item.location = (0, 0, 8)
    item.keyframe_insert("location", frame=20)
    bpy.context.scene.frame_set(1)
    assert corners(measure(frame=20)[0])[1][2] == pytest.approx(8.5, abs=1e-5)
    assert bpy.context.scene.frame_current == 1
    assert tuple(item.location) == (0, 0, 0) and item.matrix_world == Matrix.Identity(4)


def test_text_curves_and_metaballs_count():
    bpy.ops.object.text_add()
    bpy.ops.curve.primitive_bezier_circle_add(location=(10, 0, 0))
    bpy.context.object.data.bevel_depth = 0.25
    bpy.ops.object.metaball_add(location=(20, 0, 0))
    parts, _ = measure()
    assert len(parts) == 3 and all(len(p.triangles) for p in parts)
    assert corners(parts)[1][0] > 20.5


def test_same_curve_with_other_modifiers_is_another_part():
    """Two objects that share data but not its modifiers must not be taken for copies."""
    bpy.ops.curve.primitive_bezier_circle_add()
    first = bpy.context.object
    first.data.bevel_depth = 0.1
    second = first.copy()
    second.location = (10, 0, 0)
    bpy.context.scene.collection.objects.link(second)
    array = second.modifiers.new("Array", "ARRAY")
    array.count = 3
    low, high = corners(measure()[0])
    assert low[0] > -1.2 and high[0] > 14


def part(matrices, vertices=((0, 0, 0), (1, 0, 0), (0, 1, 0)), triangles=((0, 1, 2),)) -> Part:
    triangles = np.array(triangles, np.int32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (len(triangles), 3, 1))
    return Part("P", np.array(vertices, np.float32), triangles, normals, np.array(matrices, float))


def test_surface_is_seeded_and_weighted_by_world_area():
    big, small = np.diag([3.0, 1, 1, 1]), np.eye(4)
    small[:3, 3] = (0, 0, 5)
    points = sample_surface([part([big, small])], 4000, seed=3)
    again = sample_surface([part([big, small])], 4000, seed=3)
    other = sample_surface([part([big, small])], 4000, seed=4)
    np.testing.assert_array_equal(points.positions, again.positions)
    assert (points.positions != other.positions).any()
    assert abs((points.positions[:, 2] < 1).mean() - 0.75) < 0.001  # stratified
    x, y, z = points.positions.T
    assert (x >= 0).all() and (y >= 0).all() and (np.where(z < 1, x / 3, x) + y <= 1 + 1e-6).all()
    # Uniform inside the triangle: its centroid.
    low = points.positions[z < 1]
    np.testing.assert_allclose(low.mean(0)[:2], (1, 1 / 3), atol=0.03)
    assert points.positions.dtype == np.float32 and points.colors.dtype == np.uint8


@pytest.mark.parametrize("scale", [(1, 1, -1), (-1, 1, 1), (2, 0.5, 3), (-1, -2, -3)])
def test_normals_follow_any_scale(scale):
    """As Blender's own evaluated normals do: by the inverse transpose."""
    turn = np.array(Matrix.Rotation(0.7, 4, (1, 2, 3)))
    matrix = turn @ np.diag([*scale, 1.0])
    points = sample_surface([part([matrix])], 10, seed=0)
    expected = np.linalg.inv(matrix[:3, :3]).T @ (0, 0, 1)
    np.testing.assert_allclose(points.normals[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_no_area_gives_no_points():
    assert sample_surface([part([np.diag([1.0, 0, 1, 1])])], 10, seed=0) is None
    assert sample_surface([part([np.eye(4)], triangles=np.empty((0, 3)))], 10, seed=0) is None

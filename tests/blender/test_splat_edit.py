"""Splats there and back: round trips through Blender, applied transforms, filters, previews."""

from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from bpy_extras.io_utils import ImportHelper
from mathutils import Euler, Matrix

from gs_diffusion_addon.core.harmonics import basis
from gs_diffusion_addon.core.ply import Splats, read_splats, write_splats
from gs_diffusion_addon.declarations import Properties
from gs_diffusion_addon.scene import color_view
from gs_diffusion_addon.scene.modifier_inputs import set_input
from gs_diffusion_addon.scene.splat_display import show_splat
from gs_diffusion_addon.scene.splat_edit import FILTERS, apply_transform, export_splat, filtered
from gs_diffusion_addon.scene.splat_import import import_splat, splats_of
from gs_diffusion_addon.ui import live, operators, splat_panel
from tests.blender.splat_helpers import imported, make_ball, rotation_matrices
from tests.blender.ui_helpers import drawn


def covariances(splats: Splats) -> np.ndarray:
    axes = rotation_matrices(splats.quats.astype(np.float64))
    axes = axes * np.exp(splats.scales.astype(np.float64))[:, None]
    return axes @ axes.transpose(0, 2, 1)


@pytest.mark.parametrize("degree", range(5))
def test_import_export_import(tmp_path, degree):
    splats = make_ball(500, degree, seed=degree)
    splats.opacities[:3] = np.inf, -np.inf, 40
    splats.means[3] = 700, -900, 1e4  # a floater
    splats.scales[:] = np.random.default_rng(1).uniform(-14, 5, splats.scales.shape)
    splats.scales[4] = 0
    item = imported(tmp_path / "a.ply", splats)
    assert export_splat(item, tmp_path / "b.ply") == 500
    again = read_splats(tmp_path / "b.ply")
    np.testing.assert_array_equal(again.means, splats.means)
    np.testing.assert_array_equal(again.sh, splats.sh)
    np.testing.assert_array_equal(again.opacities, splats.opacities)
    np.testing.assert_allclose(
        np.exp(again.scales.astype(float)), np.exp(splats.scales.astype(float)), rtol=1e-6
    )
    unit = splats.quats / np.linalg.norm(splats.quats.astype(float), axis=1, keepdims=True)
    np.testing.assert_allclose(again.quats, unit, rtol=1e-6, atol=1e-7)
    twice = splats_of(import_splat(tmp_path / "b.ply"))
    for part in ("means", "sh", "opacities"):
        np.testing.assert_array_equal(getattr(twice, part), getattr(splats, part))


@pytest.mark.parametrize("degree", range(5))
def test_applied_transform_turns_axes_and_colors(tmp_path, degree):
    splats = make_ball(40, degree)
    item = imported(tmp_path / "a.ply", splats)
    turn = np.array(Euler((0.7, -1.1, 2.2)).to_matrix())
    item.matrix_world = Matrix.LocRotScale((1, 2, 3), Euler((0.7, -1.1, 2.2)), (2.5,) * 3)
    bpy.context.view_layer.update()
    apply_transform(item)
    now = splats_of(item)
    np.testing.assert_allclose(now.means, splats.means @ turn.T * 2.5 + [1, 2, 3], atol=1e-5)
    expected = turn @ covariances(splats) @ turn.T * 2.5**2
    np.testing.assert_allclose(covariances(now), expected, rtol=2e-4, atol=1e-6)
    spread = np.random.default_rng(0).normal(size=(50, 3))
    seen = spread / np.linalg.norm(spread, axis=1, keepdims=True)
    before = np.einsum("dk,nkc->dnc", basis(seen @ turn, degree), splats.sh)
    after = np.einsum("dk,nkc->dnc", basis(seen, degree), now.sh)
    np.testing.assert_allclose(after, before, atol=2e-5)


def shown(item: bpy.types.Object) -> np.ndarray:
    """Places of what the filter leaves over; the displays are off."""
    show_splat(item, viewport="none")
    bpy.context.view_layer.update()
    mesh = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    places = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", places)
    return places.reshape(-1, 3)


def test_filters_leave_out_faint_large_and_outer_splats(tmp_path):
    splats = make_ball(400, 1)
    splats.means[0] = 500, 0, 0
    item = imported(tmp_path / "a.ply", splats)
    modifier = filtered(item)
    assert filtered(item) == modifier and item.modifiers[0] == modifier
    assert len(shown(item)) == 400
    opacity = 1 / (1 + np.exp(-splats.opacities))
    longest = np.exp(splats.scales).max(1)
    set_input(modifier, FILTERS[0], 0.8)
    np.testing.assert_array_equal(shown(item), splats.means[opacity >= 0.8])
    set_input(modifier, FILTERS[1], 0.15)
    both = (opacity >= 0.8) & (longest <= 0.15)
    np.testing.assert_array_equal(shown(item), splats.means[both])
    for name in FILTERS[:2]:
        set_input(modifier, name, 0.0)
    box = bpy.data.objects.new("box", None)
    bpy.context.scene.collection.objects.link(box)
    box.matrix_world = Matrix.LocRotScale((0.3, 0, 0), Euler((0.2, 0.5, 1)), (0.9, 0.6, 0.8))
    set_input(modifier, FILTERS[2], box)
    bpy.context.view_layer.update()
    inverse = np.array(box.matrix_world.inverted())
    local = splats.means @ inverse[:3, :3].T + inverse[:3, 3]
    inside = np.abs(local).max(1) <= 1
    assert 10 < inside.sum() < 390
    np.testing.assert_array_equal(shown(item), splats.means[inside])
    assert len(item.data.vertices) == 400  # nothing is lost


def test_crop_box_follows_a_moved_splat(tmp_path):
    splats = make_ball(200, 0)
    item = imported(tmp_path / "a.ply", splats)
    item.matrix_world = Matrix.LocRotScale((5, 0, 0), Euler((0, 0, 1)), (2, 2, 2))
    box = bpy.data.objects.new("box", None)
    box.matrix_world = Matrix.LocRotScale((6, 0, 0), None, (1, 3, 3))
    bpy.context.scene.collection.objects.link(box)
    set_input(filtered(item), FILTERS[2], box)
    bpy.context.view_layer.update()
    world = splats.means @ np.array(item.matrix_world)[:3, :3].T + [5, 0, 0]
    inside = np.abs((world - [6, 0, 0]) / [1, 3, 3]).max(1) <= 1
    assert 10 < inside.sum() < 190
    np.testing.assert_array_equal(shown(item), splats.means[inside])


def test_preview_is_replaced_in_place(tmp_path):
    live.show(make_ball(30, 0))
    first = bpy.data.objects[live.NAME]
    first.location = 1, 2, 3
    live.show(make_ball(50, 0))
    assert [o.name for o in bpy.data.objects] == [live.NAME]
    assert first == bpy.data.objects[live.NAME] and len(first.data.vertices) == 50
    assert tuple(first.location) == (1, 2, 3) and len(bpy.data.meshes) == 1
    live.remove()
    assert not bpy.data.objects and not bpy.data.meshes


def test_preview_in_another_scene_moves_to_the_open_one():
    live.show(make_ball(30, 0))
    first = bpy.context.scene
    other = bpy.data.scenes.new("other")
    with bpy.context.temp_override(scene=other):
        for count in (40, 50):
            live.show(make_ball(count, 0))
            assert [o.name for o in bpy.data.objects] == [live.NAME]
    assert not first.objects and len(other.objects[live.NAME].data.vertices) == 50
    assert other.objects[live.NAME].show_in_front  # the model stands in the same place
    live.remove()
    assert not bpy.data.objects and not bpy.data.meshes


def test_operators_import_what_is_dropped_and_export_it(tmp_path, add_on):
    for name, degree in (("one", 0), ("two", 4)):
        write_splats(tmp_path / f"{name}.ply", make_ball(20, degree))
    handler = bpy.types.GS_DIFFUSION_FH_splat
    assert handler.bl_file_extensions == ".ply"
    operator = getattr(bpy.ops, handler.bl_import_operator.split(".")[0])
    done = getattr(operator, handler.bl_import_operator.split(".")[1])(
        directory=str(tmp_path), files=[{"name": "one.ply"}, {"name": "two.ply"}], colors="EXACT"
    )
    assert done == {"FINISHED"}
    assert sorted(o.name for o in bpy.context.selected_objects) == ["one", "two"]
    assert bpy.context.scene.view_settings.view_transform == "Raw"
    assert bpy.ops.gs_diffusion.match_colors(exact=False, centers=True) == {"FINISHED"}
    assert bpy.context.scene.view_settings.view_transform == "Standard"
    assert bpy.ops.gs_diffusion.export_splat(filepath=str(tmp_path / "out.ply")) == {"FINISHED"}
    assert read_splats(tmp_path / "out.ply").degree == 4
    with pytest.raises(RuntimeError, match="does not exist"):
        bpy.ops.gs_diffusion.import_splat(filepath=str(tmp_path / "none.ply"))


@pytest.mark.parametrize("dropped", [True, False])
def test_a_dropped_file_is_not_asked_for_again(add_on, dropped):
    """A drop invokes the operator with the path set; the menu invokes it without."""
    asked = []
    windows = SimpleNamespace(
        invoke_props_dialog=lambda *_words, title, **_more: asked.append(title),
        fileselect_add=lambda _operator: asked.append("browser"),
    )
    operator = SimpleNamespace(
        properties=SimpleNamespace(is_property_set=lambda name: dropped and name == "filepath"),
        filepath="a.ply",
        files=[],
        bl_label="Import Splat",
    )
    operator.invoke_popup = lambda context: ImportHelper.invoke_popup(operator, context)
    context = SimpleNamespace(window_manager=windows)
    operators.GS_DIFFUSION_OT_import_splat.invoke(operator, context, None)
    assert asked == (["a.ply"] if dropped else ["browser"])
    known = bpy.ops.gs_diffusion.import_splat.get_rna_type().properties
    shown = {p.identifier for p in known if not p.is_hidden}
    assert shown == {"colors"}  # what the dialog asks
    assert known["files"].is_skip_save and known["directory"].is_skip_save


@pytest.fixture
def add_on():
    import gs_diffusion_addon

    gs_diffusion_addon.register()
    yield
    gs_diffusion_addon.unregister()


def test_in_edit_mode_the_tools_that_read_the_splats_say_what_to_do(tmp_path, add_on):
    imported(tmp_path / "a.ply", make_ball(20, 0))
    bpy.context.view_layer.objects.active = bpy.data.objects["a"]
    bpy.ops.object.mode_set(mode="EDIT")
    assert "20 splats" in drawn(splat_panel.GS_DIFFUSION_PT_splat)
    with pytest.raises(RuntimeError, match="Object Mode"):
        bpy.ops.gs_diffusion.export_splat(filepath=str(tmp_path / "out.ply"))
    with pytest.raises(RuntimeError, match="Object Mode"):
        bpy.ops.gs_diffusion.apply_splat_transform()
    assert bpy.ops.gs_diffusion.filter_splat() == {"FINISHED"}
    bpy.ops.object.mode_set(mode="OBJECT")
    assert bpy.ops.gs_diffusion.export_splat(filepath=str(tmp_path / "out.ply")) == {"FINISHED"}


@pytest.mark.parametrize("how", ["point cloud", "applied"])
def test_what_became_of_a_splat_otherwise_is_none(tmp_path, add_on, how):
    item = imported(tmp_path / "a.ply", make_ball(20, 0))
    bpy.context.view_layer.objects.active = item
    item.select_set(True)
    show_splat(item)
    if how == "applied":
        bpy.ops.object.modifier_apply(modifier=item.modifiers["GS Diffusion Faithful"].name)
    else:
        for modifier in list(item.modifiers):
            item.modifiers.remove(modifier)
        bpy.ops.object.convert(target="POINTCLOUD")
    item = bpy.context.active_object
    assert Properties.SPLAT in item  # the mark stays
    assert "The active object is no splat" in drawn(splat_panel.GS_DIFFUSION_PT_splat)
    for operator in (bpy.ops.gs_diffusion.export_splat, bpy.ops.gs_diffusion.splat_display):
        assert not operator.poll()


@pytest.mark.parametrize("colors", ["STANDARD", "EXACT"])
def test_splats_come_even_if_no_view_can_show_them(tmp_path, add_on, monkeypatch, colors):
    monkeypatch.setattr(color_view, "PLAIN_VIEWS", ("Nothing",))
    monkeypatch.setattr(color_view, "RAW_VIEW", "Nothing")
    write_splats(tmp_path / "one.ply", make_ball(20, 0))
    done = bpy.ops.gs_diffusion.import_splat(filepath=str(tmp_path / "one.ply"), colors=colors)
    assert done == {"FINISHED"} and len(bpy.data.objects) == 1


def test_applying_a_transform_leaves_a_linked_duplicate_alone(tmp_path):
    item = imported(tmp_path / "a.ply", make_ball(20, 0))
    twin = item.copy()
    item.matrix_world = Matrix.Translation((5, 0, 0))
    apply_transform(item)
    assert twin.data != item.data
    first, second = (np.array(o.data.vertices[0].co) for o in (item, twin))
    np.testing.assert_allclose(first - second, (5, 0, 0), atol=1e-5)

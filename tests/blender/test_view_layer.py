"""A run shows what one view layer shows: the user's, the file's, or the one that was named."""

import bpy
import numpy as np
import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.ply import read_points, write_splats
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.scene import result
from gs_diffusion_addon.scene.model_file import open_source
from gs_diffusion_addon.scene.selection import chosen_objects
from gs_diffusion_addon.scene.snapshot import active_layer, chosen_layer, layer_noted
from gs_diffusion_addon.ui import origin
from tests.blender.splat_helpers import make_ball
from tests.blender.turntable_helpers import box, render, small


@pytest.fixture
def scene():
    """A file whose second scene is open, in its second view layer; that leaves out a collection
    with a big box.
    """
    scene = bpy.data.scenes.new("Shown")
    bpy.context.window.scene = scene
    box("Model")
    group = bpy.data.collections.new("Left Out")
    scene.collection.children.link(group)
    big = box("Big", (9, 9, 9))
    scene.collection.objects.unlink(big)
    group.objects.link(big)
    layer = scene.view_layers.new("Mine")
    layer.layer_collection.children["Left Out"].exclude = True
    bpy.context.window.view_layer = layer
    assert active_layer(scene) == layer
    return scene


@pytest.fixture
def copy(scene, tmp_path):
    """The copy that a panel's run works on."""
    result.save_copy(tmp_path / "scene.blend")
    assert "gs_diffusion_layer" not in scene
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return Settings(blend=str(tmp_path / "scene.blend"))


def seen(settings: Settings) -> list[str]:
    """What a worker goes around."""
    open_source(settings)
    scene = bpy.context.scene
    assert scene.name == "Shown"
    layer = chosen_layer(scene, settings.view_layer)
    return [o.name for o in chosen_objects("", scene, layer)]


def test_the_worker_goes_around_what_the_users_view_layer_shows(copy):
    assert seen(copy) == ["Model"]


def test_what_the_copy_notes_counts_before_what_its_first_window_shows(scene, tmp_path):
    """With several windows the user's need not be the first."""
    with layer_noted(scene):
        bpy.context.window.view_layer = scene.view_layers["ViewLayer"]
        result.save_scene(tmp_path / "scene.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert seen(Settings(blend=str(tmp_path / "scene.blend"))) == ["Model"]
    assert bpy.context.view_layer.name == "ViewLayer"


def test_the_scene_of_the_users_window_is_gone_around(scene, tmp_path):
    with layer_noted(scene):
        bpy.context.window.scene = bpy.data.scenes.new("Other")
        result.save_scene(tmp_path / "scene.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert seen(Settings(blend=str(tmp_path / "scene.blend"))) == ["Model"]


@pytest.mark.parametrize("layer", ["Mine", "ViewLayer"])
def test_a_file_that_a_user_saved_is_seen_as_it_was_saved(scene, tmp_path, layer):
    bpy.context.window.view_layer = scene.view_layers[layer]
    file = str(tmp_path / "mine.blend")
    bpy.ops.wm.save_as_mainfile(filepath=file)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    both = ["Big", "Model"]
    assert seen(Settings(blend=file)) == (["Model"] if layer == "Mine" else both)
    assert seen(Settings(blend=file, view_layer="Mine")) == ["Model"]
    assert seen(Settings(blend=file, view_layer="ViewLayer")) == both
    with pytest.raises(InputError, match=r"view layer called 'mine' .* are: ViewLayer, Mine\."):
        seen(Settings(blend=file, view_layer="mine"))


def test_the_stages_take_the_layer_that_was_named(tmp_path):
    box("Model")
    scene = bpy.context.scene
    lean = scene.view_layers.new("Lean")
    group = bpy.data.collections.new("Left Out")
    scene.collection.children.link(group)
    group.objects.link(box("Big", (9, 9, 9)))
    scene.collection.objects.unlink(bpy.data.objects["Big"])
    lean.layer_collection.children["Left Out"].exclude = True
    extents = {}
    for name in ("", "Lean"):
        run, _ = render(tmp_path / f"run {name}", small(views=8, view_layer=name))
        extents[name] = np.ptp(read_points(run.surface).positions, axis=0)
    assert (extents[""] > 8).all() and (extents["Lean"] < 4).all()
    write_splats(run.splat, make_ball(5))
    result.place_result(run, Settings(view_layer="Lean"))
    assert bpy.data.objects["Model"].hide_render and not bpy.data.objects["Big"].hide_render
    with pytest.raises(InputError, match="no view layer called 'Other'"):
        render(tmp_path / "other", small(view_layer="Other"))


def test_the_panel_notes_the_layer_that_it_names(registered, scene, tmp_path):
    scene.gs_diffusion.view_layer = "ViewLayer"
    origin.begin(tmp_path, scene)
    assert sorted(origin.model_of(tmp_path)) == ["Big", "Model"]
    scene.gs_diffusion.view_layer = ""
    origin.begin(tmp_path, scene)
    assert origin.model_of(tmp_path) == ("Model",)


def test_the_result_hides_what_was_seen_and_knows_no_layer_any_more(copy, tmp_path):
    run = Run(tmp_path / "run")
    write_splats(run.splat, make_ball(5))
    result.run_stage(run, copy, lambda event, **fields: None)
    bpy.ops.wm.open_mainfile(filepath=str(run.result))
    assert bpy.data.objects["Model"].hide_render and not bpy.data.objects["Big"].hide_render
    assert "gs_diffusion_layer" not in bpy.context.scene

"""The copy that a run works on shows what the user's view layer shows."""

import bpy
import pytest

from gs_diffusion_addon.core.ply import write_splats
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.scene import result
from gs_diffusion_addon.scene.model_file import open_source
from gs_diffusion_addon.scene.selection import chosen_objects
from gs_diffusion_addon.scene.snapshot import active_layer
from tests.blender.splat_helpers import make_ball
from tests.blender.turntable_helpers import box


@pytest.fixture
def copy(tmp_path):
    """The copy of a file whose second scene is open, in its second view layer; that leaves out a
    collection with a big box.
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
    result.save_copy(tmp_path / "scene.blend")
    assert "gs_diffusion_layer" not in scene
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return Settings(blend=str(tmp_path / "scene.blend"))


def test_the_worker_goes_around_what_the_users_view_layer_shows(copy):
    open_source(copy)
    scene = bpy.context.scene
    assert scene.name == "Shown" and bpy.context.view_layer.name != "Mine", "it knows by itself?"
    assert active_layer(scene).name == "Mine"
    assert [o.name for o in chosen_objects("", scene, active_layer(scene))] == ["Model"]


def test_the_result_hides_what_was_seen_and_knows_no_layer_any_more(copy, tmp_path):
    run = Run(tmp_path / "run")
    write_splats(run.splat, make_ball(5))
    result.run_stage(run, copy, lambda event, **fields: None)
    bpy.ops.wm.open_mainfile(filepath=str(run.result))
    assert bpy.data.objects["Model"].hide_render and not bpy.data.objects["Big"].hide_render
    assert "gs_diffusion_layer" not in bpy.context.scene

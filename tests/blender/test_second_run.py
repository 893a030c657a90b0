"""The main loop: run, change the prompt, run again in the same scene, where the first result is."""

from pathlib import Path

import bpy
import numpy as np
import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.ply import Splats, write_splats
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.scene.hiding import show_source
from gs_diffusion_addon.scene.result import place_result
from gs_diffusion_addon.scene.selection import chosen_objects
from tests.blender.turntable_helpers import box, read_png, render, small


def place(root: Path, settings: Settings) -> bpy.types.Object:
    """The result of a run: three splats at the origin's corner (1, 1, 1)."""
    splats = Splats(*(np.ones(s, np.float32) for s in ((3, 3), (3, 1, 3), (3,), (3, 3), (3, 4))))
    run = Run(root)
    root.mkdir(exist_ok=True)
    write_splats(run.splat, splats)
    return place_result(run, settings)[0]


def chosen(names: str = "") -> list[str]:
    scene = bpy.context.scene
    return [o.name for o in chosen_objects(names, scene, bpy.context.view_layer)]


@pytest.mark.parametrize("objects", ["", "Box"])
def test_the_second_run_photographs_the_model_and_its_splat_replaces_the_first(tmp_path, objects):
    settings = small(objects=objects, views=8, lighting="studio")
    model = box()
    first, _ = render(tmp_path / "first", settings)
    old = place(tmp_path / "first", settings)
    assert model.hide_render and not old.hide_render
    second, _ = render(tmp_path / "second", settings)
    for view in range(8):
        frames = [read_png(run.frame(view)) for run in (first, second)]
        assert frames[0].any() and (frames[0] == frames[1]).all(), view
    assert first.transforms_main.read_bytes() == second.transforms_main.read_bytes()
    assert model.hide_render and model.hide_viewport, "the user's scene has changed"
    new = place(tmp_path / "second", settings)
    assert model.hide_render and old.hide_render and old.hide_viewport
    assert not new.hide_render and not new.hide_viewport
    show_source(bpy.context.scene)
    assert not model.hide_render and old.hide_render, "Show Model brings the old splat, too"


def test_a_result_that_was_put_aside_or_is_of_another_model_stays(tmp_path):
    box("A")
    box("B", location=(3, 0, 0))
    aside = place(tmp_path / "1", small(objects="A"))
    aside.location.x = 5
    bpy.context.view_layer.update()
    a, b = place(tmp_path / "2", small(objects="A")), place(tmp_path / "3", small(objects="B"))
    assert not aside.hide_render and not a.hide_render and not b.hide_render
    posed = place(tmp_path / "posed", small(main_folder="posed"))
    whole = place(tmp_path / "4", small())
    assert not posed.hide_render, "what came from a folder is no object of this scene"
    assert a.hide_render and b.hide_render and not aside.hide_render and not whole.hide_render


def test_splats_are_the_model_only_where_they_are_named_or_nothing_else_is_there(tmp_path):
    model = box()
    splat = place(tmp_path / "1", small())
    show_source(bpy.context.scene)
    assert chosen() == ["Box"] and chosen(splat.name) == [splat.name]
    group = bpy.data.collections.new("Group")
    bpy.context.scene.collection.children.link(group)
    for item in (model, splat):
        group.objects.link(item)
    assert chosen("Group") == ["Box"]
    empty = bpy.data.objects.new("Empty", None)
    bpy.context.scene.collection.objects.link(empty)
    model.parent = splat.parent = empty
    assert chosen("Empty") == ["Box", "Empty"]
    bpy.data.objects.remove(model)
    assert chosen() == ["Empty", splat.name] and chosen("Group") == [splat.name]
    bpy.data.objects.remove(splat)
    with pytest.raises(InputError, match="no object with geometry"):
        chosen()

"""The main loop: run, change the prompt, run again in the same scene, where the first result is."""

from pathlib import Path

import bpy
import numpy as np
import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.ply import Splats, write_splats
from gs_diffusion_addon.core.run import Run
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.scene.hiding import remove_earlier, show_source
from gs_diffusion_addon.scene.result import place_result
from gs_diffusion_addon.scene.selection import chosen_objects
from gs_diffusion_addon.ui import arrival, run_panels
from gs_diffusion_addon.ui.job import Job
from tests.blender.turntable_helpers import box, read_png, render, small
from tests.blender.ui_helpers import drawn, finished_run


def place(root: Path, settings: Settings, count: int = 3) -> bpy.types.Object:
    """The result of a run: ``count`` splats in the unit cube's corner (1, 1, 1)."""
    shapes = ((count, 3), (count, 1, 3), (count,), (count, 3), (count, 4))
    fill = np.random.default_rng(0).random if count > 3 else np.ones
    splats = Splats(*(fill(shape).astype(np.float32) for shape in shapes))
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


def test_earlier_results_can_be_removed_and_the_file_is_small_again(registered, tmp_path):
    def saved() -> int:
        file = tmp_path / "a.blend"
        bpy.ops.wm.save_as_mainfile(filepath=str(file), copy=True)
        return file.stat().st_size

    box("A")
    place(tmp_path / "1", small(objects="A"), 5000)
    one = saved()
    shown = drawn(run_panels.GS_DIFFUSION_PT_result)
    assert "replace_earlier" in shown and not [s for s in shown if s.startswith("Remove")]
    place(tmp_path / "2", small(objects="A"), 5000)
    shown = place(tmp_path / "3", small(objects="A"), 5000)
    kept = [place(tmp_path / str(k), small(objects="A"), 5000) for k in (4, 5)]
    shown.hide_viewport = False  # brought back for a comparison
    kept[1].hide_viewport = kept[1].hide_render = True  # by hand: it is no earlier one
    more = saved() - one
    assert "Remove 3 Earlier Results" in drawn(run_panels.GS_DIFFUSION_PT_result)
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.gs_diffusion.remove_earlier_results() == {"FINISHED"}
    left = [shown.name, kept[1].name]
    assert [o.name for o in bpy.context.scene.objects if o.name != "A"] == left
    assert len(bpy.data.meshes) == 3 and saved() - one < 0.4 * more
    assert bpy.ops.gs_diffusion.remove_earlier_results() == {"CANCELLED"}
    assert (tmp_path / "1" / "splat_iter1.ply").is_file()
    bpy.ops.ed.undo_push(message="after")
    bpy.ops.ed.undo()
    assert len(bpy.context.scene.objects) == 6


def test_a_mesh_that_something_else_shows_stays(tmp_path):
    box("A")
    first = place(tmp_path / "1", small(objects="A"))
    twin = first.copy()
    del twin["gs_diffusion_result"]
    bpy.context.scene.collection.objects.link(twin)
    place(tmp_path / "2", small(objects="A"))
    assert remove_earlier(bpy.context.scene) == 1
    assert len(twin.data.vertices) == 3


@pytest.mark.parametrize("replace", [True, False])
def test_a_new_result_replaces_the_earlier_ones_where_that_is_wanted(registered, tmp_path, replace):
    box("A")
    place(tmp_path / "1", Settings())
    bpy.context.scene.gs_diffusion.replace_earlier = replace
    for k in (1, 2):
        run = finished_run(tmp_path / f"runs{k}")
        bpy.ops.gs_diffusion.import_result(folder=str(run))
    job = Job((), run, code=0, launched=True)
    arrival.show_result(job)
    splats = [o for o in bpy.context.scene.objects if o.name != "A"]
    assert len(splats) == (1 if replace else 4) and bpy.data.objects["A"].hide_render


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


def test_the_splat_is_active_in_place_of_what_it_hides_and_of_nothing_else(tmp_path):
    model, layer = box(), bpy.context.view_layer
    layer.objects.active = model
    first = place(tmp_path / "1", small())
    assert layer.objects.active == first
    assert not first.select_get(), "the outline of each splat would hide its colors"
    second = place(tmp_path / "2", small())
    assert layer.objects.active == second, "the first result is active, which is hidden"
    bpy.ops.object.empty_add()
    meanwhile = layer.objects.active
    place(tmp_path / "3", small())
    assert layer.objects.active == meanwhile, "the user works with it"

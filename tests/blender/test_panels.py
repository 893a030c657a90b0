"""What the panels show in which state."""

from types import SimpleNamespace

import bpy
import pytest

from gs_diffusion_addon.core.run import read_manifest, write_json
from gs_diffusion_addon.ui import drawing, panels, running, runs
from gs_diffusion_addon.ui.job import Job
from gs_diffusion_addon.ui.origin import Origin
from tests.blender.ui_helpers import Layout, drawn, finished_run

pytestmark = pytest.mark.usefixtures("registered")


def group():
    return bpy.context.scene.gs_diffusion


def test_panels_show_no_setting_that_the_chosen_backends_do_not_heed():
    group().stylizer, group().trainer = "preview", "builtin"
    shown = drawn(panels.GS_DIFFUSION_PT_stylize)
    assert "style" in shown and not {"server", "sampler", "negative_prompt"} & set(shown)
    group().stylizer = "a1111"
    shown = drawn(panels.GS_DIFFUSION_PT_stylize)
    assert "style" not in shown and {"server", "sampler", "negative_prompt"} <= set(shown)
    shown = drawn(panels.GS_DIFFUSION_PT_train)
    assert "train_steps" in shown and not {"graphdeco", "brush", "strategy"} & set(shown)
    assert "live_preview" in shown
    group().trainer = "brush"
    assert "live_preview" not in drawn(panels.GS_DIFFUSION_PT_train), "it makes no checkpoints"


def test_nothing_is_estimated_of_a_main_folder_that_nobody_has_looked_into():
    assert any(text.startswith(("About ", "Less ")) for text in drawn(panels.GS_DIFFUSION_PT_main))
    group().main_folder = "/frames"
    shown = drawn(panels.GS_DIFFUSION_PT_main)
    assert not any(text.startswith(("About ", "Less ")) for text in shown)


@pytest.mark.parametrize(("shading", "offered"), [("SOLID", True), ("MATERIAL", False)])
def test_a_viewport_that_shows_splats_in_gray_has_a_button_for_their_colors(shading, offered):
    layout, space = Layout(), SimpleNamespace(shading=SimpleNamespace(type=shading))
    drawing.draw_colorless(layout, SimpleNamespace(space_data=space))
    assert ("Show Colors" in layout.shown) == offered


def test_it_is_shown_once_the_splat_has_come(tmp_path, monkeypatch):
    shown: list[bool] = []
    monkeypatch.setattr(panels, "draw_colorless", lambda *_: shown.append(True))
    running.current = Job((), tmp_path, code=0, launched=True)
    drawn(panels.GS_DIFFUSION_PT_main)
    assert not shown
    running.current.placed = True
    drawn(panels.GS_DIFFUSION_PT_main)
    assert shown
    shown.clear()
    running.current.origin = Origin("/elsewhere.blend", "Scene")
    drawn(panels.GS_DIFFUSION_PT_main)
    assert not shown, "another file is open"


def test_tooltips_say_what_a_run_was_for_and_what_is_opened(tmp_path):
    run = finished_run(tmp_path)
    manifest = read_manifest(run)
    manifest["settings"]["prompt"] = "a jade dragon"
    write_json(run / "run.json", manifest)
    choose, open_file = runs.GS_DIFFUSION_OT_choose_run, runs.GS_DIFFUSION_OT_open_file
    said = choose.description(bpy.context, SimpleNamespace(name=run.name))
    assert said.startswith("a jade dragon. Let the stage buttons go on with this run")
    said = choose.description(bpy.context, SimpleNamespace(name="run-009"))
    assert said.startswith("Let the stage buttons")
    for name, words in (("keys00012.png", "then press Propagate"), ("train.log", "train.log with")):
        said = open_file.description(bpy.context, SimpleNamespace(path=str(run / name)))
        assert words in said

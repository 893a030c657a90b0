"""A run's splat arrives in the scene where the run began, and hides that run's model alone."""

import shutil

import bpy
import numpy as np
import pytest

from gs_diffusion_addon.core.lock import locked
from gs_diffusion_addon.core.ply import Splats, write_splats
from gs_diffusion_addon.core.run import Run, new_manifest, write_json
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.ui import origin, panels, running
from gs_diffusion_addon.ui.job import Job
from tests.blender.turntable_helpers import box
from tests.blender.ui_helpers import drawn

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def job(tmp_path) -> Job:
    """A run of the open scene and its box, which has just begun."""
    box("Model")
    bpy.context.scene.gs_diffusion.folder = str(tmp_path / "runs")
    return running.start_new(bpy.context.scene)


def finish(job: Job) -> str:
    """Let the run end with a splat; returns the outcome."""
    splats = Splats(*(np.ones(s, np.float32) for s in ((3, 3), (3, 1, 3), (3,), (3, 3), (3, 4))))
    write_splats(job.folder / "splat_iter1.ply", splats)
    write_json(Run(job.folder).manifest, new_manifest(Settings(blend="x"), "0"))
    job.code, job.launched = 0, True
    for _ in running.finish_run(job) or ():
        continue
    return job.message


def forget() -> None:
    """What another Blender knows: the run folder alone."""
    origin._known.clear()


def arrived() -> bool:
    return "splat_iter1" in bpy.context.scene.objects


def hidden() -> set[str]:
    return {o.name for o in bpy.data.objects if o.hide_render}


def save(path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(path))


def test_what_was_modeled_meanwhile_is_not_hidden(job):
    box("Table")
    assert finish(job).startswith("Done: ") and arrived() and hidden() == {"Model"}


def test_another_scene_of_the_file_is_left_alone(job):
    other = bpy.data.scenes.new("Other")
    bpy.context.window.scene = other
    box("Model of Other")
    assert "but the scene Scene is not open" in finish(job)
    assert not arrived() and not hidden()
    running.import_run(job.folder, 1)  # asked for by hand it comes, and hides what is its model
    assert arrived() and not bpy.data.objects["Model of Other"].hide_render


def test_a_new_unsaved_scene_is_not_the_old_unsaved_one(job):
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    assert bpy.data.filepath == "" and "but the unsaved scene is not open" in finish(job)
    assert not arrived() and not hidden()


def test_a_scene_keeps_its_run_under_a_new_name_and_after_loading_it_again(job, tmp_path):
    bpy.context.scene.name = "Renamed"
    save(tmp_path / "mine.blend")
    assert origin.origin_of(job.folder).is_open
    bpy.ops.wm.read_homefile(use_empty=True)
    assert "but mine.blend is not open" in finish(job)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "mine.blend"))
    assert finish(job).startswith("Done: ") and arrived() and hidden() == {"Model"}


def test_the_panel_of_another_scene_says_whose_run_it_shows(job):
    note = "This run is of the scene Scene, which is not open now."
    assert note not in " ".join(drawn(panels.GS_DIFFUSION_PT_main))
    bpy.context.window.scene = bpy.data.scenes.new("Other")
    assert note in " ".join(drawn(panels.GS_DIFFUSION_PT_main))
    job.code, job.launched, job.message = 2, True, "It failed."
    assert note in " ".join(drawn(panels.GS_DIFFUSION_PT_main))
    bpy.context.window.scene = bpy.data.scenes["Scene"]
    assert note not in " ".join(drawn(panels.GS_DIFFUSION_PT_main))


@pytest.mark.parametrize("how", ["resume", "follow"])
def test_another_blender_brings_it_into_that_file_alone(job, tmp_path, how):
    """Two files in one folder share the folder of runs; the projects may have been moved since."""
    project = tmp_path / "project"
    project.mkdir()
    bpy.data.objects["Model"].name = "Bust"
    save(project / "a.blend")
    bpy.context.scene.gs_diffusion.folder = str(project / "runs")
    job = running.start_new(bpy.context.scene)
    write_json(Run(job.folder).manifest, new_manifest(Settings(blend="x"), "0"))
    save(project / "b.blend")  # the scene that the run belongs to goes on under this name
    forget()
    shutil.move(project, tmp_path / "moved")
    folder = tmp_path / "moved" / "runs" / job.folder.name

    def again() -> Job:
        if how == "resume":
            return running.start_in(bpy.context.scene, folder)
        with locked(folder):
            found = running.adopt(bpy.context.scene, folder)
            found.end_now()
        return found

    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moved" / "a.blend"))
    assert "but b.blend is not open" in finish(again()) and not arrived() and not hidden()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moved" / "b.blend"))
    box("Table")
    assert finish(again()).startswith("Done: ") and arrived() and hidden() == {"Bust"}


@pytest.mark.parametrize("text", ["", "[]", '{"file": "", "scene": "Scene", "model": ["Model"]}'])
def test_a_run_that_nobody_noted_comes_here_and_hides_nothing(job, text):
    (job.folder / "scene.json").write_text(text)
    write_json(Run(job.folder).manifest, new_manifest(Settings(blend="x"), "0"))
    forget()
    again = running.start_in(bpy.context.scene, job.folder)
    assert finish(again).startswith("Done: ") and arrived() and not hidden()

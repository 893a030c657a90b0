"""What an artist does while a job works: undo, another scene, another file, Repeat Last."""

from types import SimpleNamespace

import bpy
import pytest

from gs_diffusion_addon.ui import arrival, run_operators, running
from gs_diffusion_addon.ui.job import Job

pytestmark = pytest.mark.usefixtures("registered")


def group():
    return bpy.context.scene.gs_diffusion


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """Presses Try on One View; what comes back plays the end of its job, which succeeded."""
    monkeypatch.setattr(running, "blender_command", lambda _settings: ["worker"])
    followed = []
    monkeypatch.setattr(running, "follow", lambda job, done: followed.append((job, done)))

    def end():
        job, done = followed.pop()
        job.launched, job.code = True, 0
        done(job)
        return job.message

    def press():
        group().folder, group().try_view = str(tmp_path), 2
        bpy.ops.gs_diffusion.try_view()
        return end

    return press


def test_a_try_survives_undo_a_new_name_and_another_scene(tried, tmp_path):
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    end = tried()
    bpy.ops.ed.undo_push(message="try")
    bpy.ops.ed.undo()
    bpy.ops.ed.undo()
    assert not bpy.data.objects  # Blender has read the scene anew, to another place
    bpy.context.scene.name = "Bust"
    mine = bpy.context.scene.name
    bpy.context.window.scene = bpy.data.scenes.new("Other")
    assert "Prompt & Stylize" in end()
    assert bpy.data.scenes[mine].gs_diffusion.tried == str(tmp_path / "try" / "view_2.png")
    assert group().tried == ""


def test_a_try_whose_file_was_closed_says_where_its_picture_is(tried, tmp_path):
    end = tried()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert str(tmp_path / "try" / "view_2.png") in end()
    assert group().tried == ""


STARTERS = [c for c in run_operators.CLASSES if issubclass(c, run_operators._Starts)]


@pytest.mark.parametrize("starter", STARTERS, ids=lambda c: c.bl_idname)
def test_repeat_last_starts_no_run(starter):
    """Blender repeats what is registered, by execute() and so without a timer."""
    operator = getattr(bpy.ops.gs_diffusion, starter.bl_idname.split(".")[1])
    assert not operator.bl_options & {"REGISTER", "UNDO"}


@pytest.mark.parametrize("how", ["EXEC_DEFAULT", "INVOKE_DEFAULT"])
def test_in_a_window_a_run_never_holds_it_unless_a_script_asks(how, tmp_path, monkeypatch):
    job = Job((), tmp_path)
    monkeypatch.setattr(job, "start", lambda: setattr(job, "code", 0))
    monkeypatch.setattr(running, "start_job", lambda *_words, **_how: job)
    monkeypatch.setattr(arrival, "show_result", lambda job: ["It was waited for."])
    followed = []
    monkeypatch.setattr(running, "follow", lambda job, done: followed.append(job))
    window = SimpleNamespace(app=SimpleNamespace(background=False))
    monkeypatch.setattr(run_operators, "bpy", window)
    assert bpy.ops.gs_diffusion.run_iteration(how) == {"FINISHED"}
    assert followed == [job] and not job.launched
    assert bpy.ops.gs_diffusion.run_iteration(how, wait=True) == {"FINISHED"}
    assert followed == [job] and job.launched

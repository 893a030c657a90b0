"""The end of a run while the user works on: in Edit Mode, amid undo, in another file, with errors
that nobody thought of. The timer's calls are made by hand.
"""

import sys
from types import SimpleNamespace

import bpy
import pytest

from gs_diffusion_addon.core.ply import write_splats
from gs_diffusion_addon.core.run import Run, new_manifest, write_json
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.scene.result import Placing
from gs_diffusion_addon.ui import live, running
from gs_diffusion_addon.ui.job import Job
from tests.blender.splat_helpers import make_ball
from tests.blender.turntable_helpers import box
from tests.processes import wait_for

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def job(tmp_path) -> Job:
    """A run of the open scene's box, which has just ended; the timer knows it."""
    box("Model")
    bpy.context.scene.gs_diffusion.folder = str(tmp_path / "runs")
    started = running.start_new(bpy.context.scene)
    write_splats(Run(started.folder).splat, make_ball(200))
    write_json(Run(started.folder).manifest, new_manifest(Settings(blend="x"), "0"))
    started.code, started.launched = 0, True
    running._followed.append((started, running.finish_run))
    return started


def tick(until=lambda: not running.is_running()) -> None:
    def one() -> bool:
        running._tick()
        return True

    wait_for(until, one)


def arrived() -> list[str]:
    return [o.name for o in bpy.context.scene.objects if "splat" in o.name]


def test_it_waits_until_nothing_is_edited(job):
    model = bpy.data.objects["Model"]
    bpy.context.view_layer.objects.active = model
    bpy.ops.object.mode_set(mode="EDIT")
    tick(lambda: job.detail == "waits for Object Mode")
    for _ in range(5):
        running._tick()
    assert running.is_running() and not arrived() and not model.hide_render
    bpy.ops.object.mode_set(mode="OBJECT")
    tick()
    assert arrived() == ["splat_iter1"] and model.hide_render and job.message.startswith("Done: ")
    assert job.placed and not job.missed


@pytest.mark.parametrize("when", ["waiting", "reading", "the next tick"])
def test_cancel_ends_the_wait_at_once_and_says_how_to_import_later(job, when):
    running.become_current(job)
    model = bpy.data.objects["Model"]
    bpy.context.view_layer.objects.active = model
    bpy.ops.object.mode_set(mode="EDIT")
    if when == "waiting":
        tick(lambda: job.detail == "waits for Object Mode")
    elif when == "reading":
        tick(lambda: bool(running._steps))
    assert bpy.ops.gs_diffusion.cancel() == {"FINISHED"}
    for _ in range(3):
        running._tick()
    assert not running.is_running() and not arrived() and bpy.context.mode == "EDIT_MESH"
    assert f"It stays in {Run(job.folder).splat}: Runs > Import" in job.message
    assert job.missed and not job.placed, "the panel would show a check mark"
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.gs_diffusion.import_result(folder=str(job.folder))
    assert arrived() == ["splat_iter1"] and model.hide_render


@pytest.mark.parametrize(("chosen", "after"), [("", "run-001"), ("run-007", "run-007")])
def test_an_undo_meanwhile_does_not_take_the_run_out_of_the_panel(job, chosen, after):
    job.until = "import"
    bpy.context.scene.gs_diffusion.run = chosen
    tick()
    assert arrived() == ["splat_iter1"] and bpy.context.scene.gs_diffusion.run == after


def test_it_does_not_wait_for_edits_in_another_file(job):
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    bpy.ops.object.mode_set(mode="EDIT")
    tick()
    assert job.message.startswith("Done, but the unsaved scene is not open") and not arrived()
    assert job.missed


def halfway(monkeypatch) -> None:
    """Go on to where the splat's mesh is there and its object is not."""
    monkeypatch.setattr("gs_diffusion_addon.ui.arrival.STEP", 0.0)
    tick(lambda: "splat_iter1" in bpy.data.meshes)
    assert running.is_running() and not arrived()


def test_undo_amid_an_import_begins_it_anew(job, monkeypatch):
    bpy.ops.ed.undo_push(message="before")
    box("Meanwhile")
    bpy.ops.ed.undo_push(message="modeled")
    halfway(monkeypatch)
    bpy.ops.ed.undo()
    assert "Meanwhile" not in bpy.data.objects
    tick()
    assert job.message.startswith("Done: ") and arrived() == ["splat_iter1"]
    assert len(bpy.data.objects["splat_iter1"].data.vertices) == 200
    assert bpy.data.objects["Model"].hide_render


def test_another_file_amid_an_import_gets_nothing(job, monkeypatch):
    halfway(monkeypatch)
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    tick()
    assert job.message.startswith("Done, but the unsaved scene is not open")
    assert not arrived() and not bpy.data.objects["Cube"].hide_render


@pytest.mark.parametrize("where", ["read", "steps"])
def test_an_error_that_nobody_thought_of_ends_the_import(job, monkeypatch, where, capsys):
    def fails(*_words):
        raise MemoryError("no more")

    monkeypatch.setattr(Placing, where, fails)
    tick()
    assert job.message.startswith("The run is done, but its splat could not be imported: MemoryE")
    assert "Traceback" in capsys.readouterr().err and bpy.ops.gs_diffusion.run_iteration.poll()


def test_an_error_that_nobody_thought_of_ends_the_job_and_not_the_timer(tmp_path):
    def fails(*_words):
        raise KeyError("left")

    broken = Job(["none"], tmp_path, prepare=fails)
    odd = Job([], tmp_path, code=0, launched=True)
    good = Job([sys.executable, "-c", "pass"], tmp_path)
    ended = []
    running.become_current(broken)
    running._followed += [(broken, ended.append), (odd, fails), (good, ended.append)]
    tick()
    tick(lambda: good in ended)
    assert broken.code and "KeyError: 'left'" in broken.message and ended == [broken, good]
    assert "KeyError: 'left'" in odd.message


def test_a_preview_that_fails_does_not_end_the_run(tmp_path, monkeypatch):
    def fails(_job):
        raise ValueError("no nodes")

    monkeypatch.setattr(live, "follow", fails)
    until = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.02)"
    working = Job([sys.executable, "-c", until], tmp_path)
    running.become_current(working)
    running._followed.append((working, lambda ended: None))
    tick(lambda: working.warnings)
    (tmp_path / "go").touch()
    tick()
    assert working.succeeded and "ValueError: no nodes" in working.warnings[0]


def test_a_job_that_is_ended_now_is_over(tmp_path):
    """Disabled and enabled again during a check, the add-on must not find it busy for ever."""
    for launched in (True, False):
        ended = Job([sys.executable, "-c", "import time; time.sleep(300)"], tmp_path)
        if launched:
            ended.launch()
        ended.end_now()
        assert ended.code is not None and not ended.poll()


@pytest.fixture
def working(job) -> Job:
    """The same run while it is trained; it has a checkpoint to show."""
    running._followed.clear()
    checkpoint = job.folder / "checkpoints" / "preview.ply"
    write_splats(checkpoint, make_ball(50))
    job.code, job.launched, job.preview = None, False, "checkpoints/preview.ply"
    return job


def show_preview(job: Job) -> None:
    def follow() -> bool:
        live.follow(job)
        return True

    wait_for(lambda: live.NAME in bpy.data.objects, follow)


def shows_none(job: Job, monkeypatch) -> None:
    """Nothing is even read, so nothing can come later."""

    def reads(**_thread):
        pytest.fail("a preview is read")

    with monkeypatch.context() as patch:
        patch.setattr(live, "threading", SimpleNamespace(Thread=reads))
        for _ in range(5):
            live.follow(job)
    assert live.NAME not in bpy.data.objects


def test_no_file_is_saved_with_a_preview_and_it_is_shown_again(working, tmp_path):
    show_preview(working)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    assert live.NAME not in bpy.data.objects
    show_preview(working)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    assert live.NAME not in bpy.data.objects


def test_a_preview_comes_into_no_other_scene(working, monkeypatch):
    show_preview(working)
    live.remove()
    bpy.context.window.scene = bpy.data.scenes.new("Other")
    shows_none(working, monkeypatch)
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    shows_none(working, monkeypatch)


def test_undo_does_not_bring_the_preview_back(working):
    bpy.ops.ed.undo_push(message="before")
    show_preview(working)
    bpy.ops.ed.undo_push(message="with preview")
    live.remove()
    bpy.ops.ed.undo_push(message="after")
    bpy.ops.ed.undo()
    assert live.NAME not in bpy.data.objects and "Model" in bpy.data.objects


def test_a_try_shows_no_preview(working, monkeypatch):
    working.origin = None
    shows_none(working, monkeypatch)

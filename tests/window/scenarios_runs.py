"""Runs from the button to the splat, and what happens meanwhile; played by driver.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

driver: Any = globals()["driver"]


def idle() -> Iterator[float]:
    """The panel in a factory scene."""
    yield from driver.show_tab()
    driver.shoot("idle", 380)


def run() -> Iterator[float]:
    """The button, progress while it works, and the splat in the scene at the end."""
    before = set(bpy.data.objects.keys())
    view = bpy.context.scene.view_settings
    toned, view.exposure = view.view_transform, 0.5
    yield from driver.press_run()
    yield from driver.wait_for(lambda: driver.job().image, 240)
    yield 3.0
    driver.shoot("running", 620)
    driver.shoot("running_window")
    yield from driver.until_over()
    driver.shoot("finished", 560)
    driver.shoot("finished_window")
    new = set(bpy.data.objects.keys()) - before
    assert any("splat" in name.lower() for name in new), new
    assert bpy.data.objects["Suzanne"].hide_render, "the model was not hidden behind its splat"
    assert bpy.context.view_layer.objects.active.name == "splat_iter1"
    assert view.view_transform == "Standard" and view.exposure == 0.5
    assert f"it was {toned}" in " ".join(driver.job().warnings), driver.job().warnings
    driver.in_viewport(bpy.ops.gs_diffusion.toggle_source)
    assert not bpy.data.objects["Suzanne"].hide_render and view.view_transform == toned


def run_again() -> Iterator[float]:
    """The main loop: the same scene, another prompt; the new splat takes the old one's place."""
    yield from driver.press_run()
    yield from driver.until_over()
    first = driver.job()
    assert first.succeeded, first.outcome
    driver.settings().prompt = "a marble bust"
    driver.in_viewport(bpy.ops.gs_diffusion.run_iteration)
    yield 0.5
    yield from driver.until_over()
    second = driver.job()
    assert second is not first and second.succeeded, second.outcome
    frames = [job.folder / "train_main" / "r_0.png" for job in (first, second)]
    assert frames[0].read_bytes() == frames[1].read_bytes(), "the second run saw something else"
    shown = {o.name for o in bpy.context.scene.objects if not o.hide_render}
    assert "splat_iter1.001" in shown and not shown & {"Suzanne", "splat_iter1"}, shown
    driver.in_viewport(bpy.ops.gs_diffusion.remove_earlier_results)
    assert "splat_iter1" not in bpy.data.objects and "splat_iter1.001" in bpy.data.objects


def cancel() -> Iterator[float]:
    """Cancel ends the run at once and leaves no process."""
    yield from driver.press_run()
    yield from driver.wait_for(lambda: driver.job().image, 240)
    folder = driver.job().folder
    assert driver.processes_in(folder)
    start = time.monotonic()
    driver.in_viewport(bpy.ops.gs_diffusion.cancel)
    yield from driver.wait_for(lambda: not driver.ui("running").is_running(), 10)
    print(f"CANCELLED in {time.monotonic() - start:.1f} s", flush=True)
    yield 1.0
    driver.shoot("cancelled", 560)
    left = driver.processes_in(folder)
    assert not left, left


def repeat_last() -> Iterator[float]:
    """Shift-R after a run repeats what came before the run and starts no other; needs
    --enable-event-simulate.
    """
    driver.make_scene()
    yield from driver.show_tab()
    driver.measure_ours()
    driver.in_viewport(bpy.ops.mesh.primitive_cube_add, True)
    driver.in_viewport(bpy.ops.gs_diffusion.run_iteration, True)
    yield from driver.wait_for(lambda: driver.job().launched, 60)
    driver.in_viewport(bpy.ops.gs_diffusion.cancel)
    yield from driver.wait_for(lambda: not driver.ui("running").is_running(), 10)
    job = driver.job()
    driver.press("R", shift=True)
    yield 2.0
    assert "Cube.001" in bpy.data.objects, "the cube was not repeated"
    assert driver.job() is job, "another run was started"


def fail() -> Iterator[float]:
    """A run that cannot work says why, and the buttons work again."""
    yield from driver.press_run(server="http://127.0.0.1:9", stylizer="a1111")
    yield from driver.until_over()
    driver.shoot("failed", 560)
    assert "127.0.0.1:9" in driver.job().outcome, driver.job().outcome
    assert bpy.ops.gs_diffusion.run_iteration.poll()


def live_preview() -> Iterator[float]:
    """While the splat is trained its newest state stands in the viewport."""
    yield from driver.press_run(train_steps=1500, checkpoint_seconds=1)
    name = driver.ui("live").NAME
    running = driver.ui("running").is_running
    yield from driver.wait_for(lambda: name in bpy.data.objects or not running(), 400)
    assert running(), "the run ended without a preview"
    yield 1.5
    driver.shoot("live_window")
    assert len(bpy.data.objects[name].data.vertices) > 0
    yield from driver.until_over()
    assert name not in bpy.data.objects, "the preview was left in the scene"
    assert "splat_iter1" in bpy.data.objects, driver.job().outcome


def skip_ebsynth() -> Iterator[float]:
    """While EbSynth's own program is awaited the panel says so; Skip lets the run go on."""
    yield from driver.press_run(propagator="ebsynth_folder")
    yield from driver.wait_for(lambda: driver.job().rows, 400)
    yield 1.5
    driver.shoot("awaited", 620)
    folder = driver.job().folder / "iter1" / "ebsynth"
    assert (folder / "README.txt").is_file()
    driver.in_viewport(bpy.ops.gs_diffusion.skip_ebsynth, folder=str(folder))
    yield from driver.until_over()
    assert driver.job().succeeded, driver.job().outcome
    assert "splat_iter1" in bpy.data.objects


def main_folder() -> Iterator[float]:
    """Frames of a folder with cameras and pictures; nothing in the scene is hidden."""
    source = driver.newest_run("splat_iter1.ply")
    driver.open_panels("model")
    yield from driver.press_run(main_folder=str(source), main_frames=10)
    yield from driver.wait_for(lambda: driver.job().image, 240)
    yield 3.0
    driver.shoot("main_folder", 1300)
    yield from driver.until_over()
    assert driver.job().succeeded, driver.job().outcome
    assert "splat_iter1" in bpy.data.objects
    assert not bpy.data.objects["Suzanne"].hide_render
    assert not (driver.job().folder / "scene.blend").exists()


def quit_and_stop() -> Iterator[float]:
    """Blender is closed in the middle of a run, which ends with it and can be resumed."""
    yield from _quit(outlive=False)


def quit_and_leave() -> Iterator[float]:
    """Blender is closed in the middle of a run, which works on."""
    yield from _quit(outlive=True)


def _quit(outlive: bool) -> Iterator[float]:
    yield from driver.press_run(outlive=outlive)
    yield from driver.wait_for(lambda: driver.job().image, 240)
    print("RUN", driver.job().folder, flush=True)
    driver.print_result("DRIVER OK")
    bpy.ops.wm.quit_blender()
    yield 60.0  # Blender quits when this call is over
    raise AssertionError("Blender did not quit")


def resume() -> Iterator[float]:
    """In a new Blender "Runs" offers the run that was stopped, and Resume finishes it."""
    yield from _offered("resume_run")


def adopt() -> Iterator[float]:
    """In a new Blender "Runs" offers the run that works on, and Follow brings its splat."""
    yield from _offered("adopt_run")


def _offered(operator: str) -> Iterator[float]:
    driver.open_panels("runs")
    driver.make_scene()
    yield from driver.show_tab()
    driver.measure_ours()
    folder = driver.ui("runs").runs(Path(driver.settings().folder))[-1]
    working = driver.ui("runs").is_working(folder)
    assert working == (operator == "adopt_run"), f"{folder}: working is {working}"
    driver.shoot(operator, 560)
    driver.in_viewport(getattr(bpy.ops.gs_diffusion, operator), folder=str(folder))
    yield from driver.until_over()
    assert "splat_iter1" in bpy.data.objects, driver.job().outcome


def ask_before_quitting() -> Iterator[float]:
    """Ctrl-Q during a run asks, and Escape goes back to it; needs --enable-event-simulate."""
    asked = driver.recorded(driver.ui("quitting").GS_DIFFUSION_OT_quit, "invoke")
    yield from driver.press_run()
    yield 2.0
    driver.press("Q", ctrl=True)
    yield 2.0
    driver.shoot("quit")
    assert asked == [{"RUNNING_MODAL"}], f"no dialog: {asked}"
    driver.press("ESC")
    yield 1.0
    assert driver.ui("running").is_running(), driver.job().outcome
    driver.job().end_now()

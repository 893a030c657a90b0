"""What the window test plays; see driver.py, which is handed in as ``driver``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

driver: Any = globals()["driver"]

TINY = {
    "views": 12,
    "rings": "40:4",
    "size": "64",
    "samples": 2,
    "keys": 6,
    "ring_keys": 1,
    "sides": 2,
    "page_size": 256,
    "style": "3",
    "stylizer": "preview",
    "propagator": "reproject",
    "trainer": "builtin",
    "train_steps": 60,
    "splats": 600,
    "max_splats": 900,
    "lighting": "studio",
}


def idle() -> Iterator[float]:
    """The panel in a factory scene."""
    yield from driver.show_tab()
    driver.shoot("idle", 380)


def run() -> Iterator[float]:
    """The button, progress while it works, and the splat in the scene at the end."""
    before = set(bpy.data.objects.keys())
    view = bpy.context.scene.view_settings
    toned, view.exposure = view.view_transform, 0.5
    yield from _press_run()
    yield from driver.wait_for(lambda: _job().image, 240)
    yield 3.0
    driver.shoot("running", 620)
    driver.shoot("running_window")
    yield from _until_over()
    driver.shoot("finished", 560)
    driver.shoot("finished_window")
    new = set(bpy.data.objects.keys()) - before
    assert any("splat" in name.lower() for name in new), new
    assert bpy.data.objects["Suzanne"].hide_render, "the model was not hidden behind its splat"
    assert view.view_transform == "Standard" and view.exposure == 0.5
    assert f"it was {toned}" in " ".join(_job().warnings), _job().warnings
    driver.in_viewport(bpy.ops.gs_diffusion.toggle_source)
    assert not bpy.data.objects["Suzanne"].hide_render and view.view_transform == toned


def run_again() -> Iterator[float]:
    """The main loop: the same scene, another prompt; the new splat takes the old one's place."""
    yield from _press_run()
    yield from _until_over()
    first = _job()
    assert first.succeeded, first.outcome
    driver.settings().prompt = "a marble bust"
    driver.in_viewport(bpy.ops.gs_diffusion.run_iteration)
    yield 0.5
    yield from _until_over()
    second = _job()
    assert second is not first and second.succeeded, second.outcome
    frames = [job.folder / "train_main" / "r_0.png" for job in (first, second)]
    assert frames[0].read_bytes() == frames[1].read_bytes(), "the second run saw something else"
    shown = {o.name for o in bpy.context.scene.objects if not o.hide_render}
    assert "splat_iter1.001" in shown and not shown & {"Suzanne", "splat_iter1"}, shown


def cancel() -> Iterator[float]:
    """Cancel ends the run at once and leaves no process."""
    yield from _press_run()
    yield from driver.wait_for(lambda: _job().image, 240)
    folder = _job().folder
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
    _scene()
    yield from driver.show_tab()
    driver.measure_ours()
    driver.in_viewport(bpy.ops.mesh.primitive_cube_add, True)
    driver.in_viewport(bpy.ops.gs_diffusion.run_iteration, True)
    yield from driver.wait_for(lambda: _job().launched, 60)
    driver.in_viewport(bpy.ops.gs_diffusion.cancel)
    yield from driver.wait_for(lambda: not driver.ui("running").is_running(), 10)
    job = _job()
    driver.press("R", shift=True)
    yield 2.0
    assert "Cube.001" in bpy.data.objects, "the cube was not repeated"
    assert _job() is job, "another run was started"


def fail() -> Iterator[float]:
    """A run that cannot work says why, and the buttons work again."""
    yield from _press_run(server="http://127.0.0.1:9", stylizer="a1111")
    yield from _until_over()
    driver.shoot("failed", 560)
    assert "127.0.0.1:9" in _job().outcome, _job().outcome
    assert bpy.ops.gs_diffusion.run_iteration.poll()


def quit_and_stop() -> Iterator[float]:
    """Blender is closed in the middle of a run, which ends with it and can be resumed."""
    yield from _quit(outlive=False)


def quit_and_leave() -> Iterator[float]:
    """Blender is closed in the middle of a run, which works on."""
    yield from _quit(outlive=True)


def _quit(outlive: bool) -> Iterator[float]:
    yield from _press_run(outlive=outlive)
    yield from driver.wait_for(lambda: _job().image, 240)
    print("RUN", _job().folder, flush=True)
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
    _scene()
    yield from driver.show_tab()
    driver.measure_ours()
    folder = driver.ui("runs").runs(Path(driver.settings().folder))[-1]
    working = driver.ui("runs").is_working(folder)
    assert working == (operator == "adopt_run"), f"{folder}: working is {working}"
    driver.shoot(operator, 560)
    driver.in_viewport(getattr(bpy.ops.gs_diffusion, operator), folder=str(folder))
    yield from _until_over()
    assert "splat_iter1" in bpy.data.objects, _job().outcome


def ask_before_quitting() -> Iterator[float]:
    """Ctrl-Q during a run asks, and Escape goes back to it; needs --enable-event-simulate."""
    asked = driver.recorded(driver.ui("quitting").GS_DIFFUSION_OT_quit, "invoke")
    yield from _press_run()
    yield 2.0
    driver.press("Q", ctrl=True)
    yield 2.0
    driver.shoot("quit")
    assert asked == [{"RUNNING_MODAL"}], f"no dialog: {asked}"
    driver.press("ESC")
    yield 1.0
    assert driver.ui("running").is_running(), _job().outcome
    _job().end_now()


def search() -> Iterator[float]:
    """F3 finds the button in a factory scene, and Return presses it; needs
    --enable-event-simulate.
    """
    driver.settings().folder = str(driver.OUT / "runs")
    yield from driver.show_tab()
    driver.press("F3")
    yield 1.5
    for letter in "run diff":
        driver.press("SPACE" if letter == " " else letter.upper(), letter)
        yield 0.3
    yield 1.5
    driver.shoot("search")
    assert _job() is None
    driver.press("RET")
    yield from driver.wait_for(lambda: _job() and _job().launched, 60)
    assert "--iterations=1" in _job().command, _job().command
    _job().end_now()


def one_panel() -> Iterator[float]:
    """A picture of the sub-panel that PANEL names, with the runs of earlier scenarios."""
    import os

    name = os.environ["PANEL"]
    driver.open_panels(name)
    _scene()
    found = driver.ui("runs").runs(Path(driver.settings().folder))
    whole = [p for p in found if (p / "splat_iter1.ply").exists()]
    driver.settings().run = whole[-1].name if whole else ""
    yield from driver.show_tab()
    yield 4.0
    driver.shoot(f"panel_{name}", 1300)


def try_view() -> Iterator[float]:
    """Try on One View shows before and after in the panel."""
    driver.open_panels("stylize")
    _scene()
    yield from driver.show_tab()
    driver.measure_ours()
    driver.in_viewport(bpy.ops.gs_diffusion.try_view)
    yield from _until_over()
    assert _job().succeeded, _job().outcome
    assert Path(driver.settings().tried).is_file()
    yield 2.0
    driver.shoot("tried", 1300)


def stages() -> Iterator[float]:
    """One button a stage: the turntable, then the keyframes of the same run, then all frames with
    one keyframe left out.
    """
    _scene()
    yield from driver.show_tab()
    driver.measure_ours()
    folder = None
    for stage, made in (
        ("turntable", "train_main/r_0.png"),
        ("stylize", "iter1/keys/keys00000.png"),
        ("propagate", "iter1/stylized/r_0.png"),
    ):
        if stage == "propagate":
            driver.in_viewport(bpy.ops.gs_diffusion.reject_key, key=2)
        driver.in_viewport(bpy.ops.gs_diffusion.run_stage, stage=stage)
        yield from _until_over()
        assert _job().succeeded, _job().outcome
        assert folder in (None, _job().folder), "a stage began a new run"
        folder = _job().folder
        assert (folder / made).is_file(), f"{made} is missing"
    assert not (folder / "iter1" / "gs").exists(), "more was done than was asked for"


def reroll() -> Iterator[float]:
    """One keyframe of the run before is restyled anew; the strip shows it."""
    driver.open_panels("stylize")
    _scene()
    run = _newest()
    key = next(run.glob("iter1/keys/keys*.png"))
    before = key.stat().st_mtime_ns
    driver.settings().run = run.name
    yield from driver.show_tab()
    driver.measure_ours()
    number = int(key.stem.removeprefix("keys"))
    driver.in_viewport(bpy.ops.gs_diffusion.reroll_key, folder=str(run), key=number)
    yield from _until_over()
    assert _job().succeeded, _job().outcome
    assert key.stat().st_mtime_ns > before and any((run / "superseded").rglob(key.name))
    yield 2.0
    driver.shoot("reroll", 1300)


def live_preview() -> Iterator[float]:
    """While the splat is trained its newest state stands in the viewport."""
    yield from _press_run(train_steps=1500, checkpoint_seconds=1)
    name = driver.ui("live").NAME
    running = driver.ui("running").is_running
    yield from driver.wait_for(lambda: name in bpy.data.objects or not running(), 400)
    assert running(), "the run ended without a preview"
    yield 1.5
    driver.shoot("live_window")
    assert len(bpy.data.objects[name].data.vertices) > 0
    yield from _until_over()
    assert name not in bpy.data.objects, "the preview was left in the scene"
    assert "splat_iter1" in bpy.data.objects, _job().outcome


def skip_ebsynth() -> Iterator[float]:
    """While EbSynth's own program is awaited the panel says so; Skip lets the run go on."""
    yield from _press_run(propagator="ebsynth_folder")
    yield from driver.wait_for(lambda: _job().rows, 400)
    yield 1.5
    driver.shoot("awaited", 620)
    folder = _job().folder / "iter1" / "ebsynth"
    assert (folder / "README.txt").is_file()
    driver.in_viewport(bpy.ops.gs_diffusion.skip_ebsynth, folder=str(folder))
    yield from _until_over()
    assert _job().succeeded, _job().outcome
    assert "splat_iter1" in bpy.data.objects


def splat_tools() -> Iterator[float]:
    """What is made of a finished run: facts, a pruned splat, videos; and the splat exported."""
    driver.open_panels("result")
    _scene()
    run = _newest("splat_iter1.ply")
    driver.settings().run = run.name
    yield from driver.show_tab()
    driver.measure_ours()
    for operator, options, made in (
        ("splat_info", {}, "splat_iter1.ply"),
        ("prune_splat", {}, "splat_iter1-pruned.ply"),
        ("export_video", {"kind": "gif"}, "iter1.gif"),
        ("export_video", {"kind": "side-by-side"}, "iter1-side-by-side.mp4"),
    ):
        driver.in_viewport(getattr(bpy.ops.gs_diffusion, operator), **options)
        yield from _until_over()
        assert _job().succeeded, f"{operator}: {_job().outcome}"
        assert (run / made).stat().st_size > 100, made
    yield 1.0
    driver.shoot("tools", 1300)
    driver.in_viewport(bpy.ops.gs_diffusion.import_result, folder=str(run))
    yield from _until_over()
    item = bpy.data.objects["splat_iter1"]
    bpy.context.view_layer.objects.active = item
    yield 0.5
    out = driver.OUT / "exported.ply"
    out.unlink(missing_ok=True)
    window, area, _ = driver.viewport()
    with bpy.context.temp_override(window=window, area=area):
        bpy.ops.gs_diffusion.export_splat("EXEC_DEFAULT", filepath=str(out))
    ply = driver.module("core.ply")
    ours, theirs = (ply.read_splats(p) for p in (out, run / "splat_iter1.ply"))
    assert (ours.means == theirs.means).all() and (ours.sh == theirs.sh).all()
    assert abs(ours.scales - theirs.scales).max() < 1e-5
    driver.open_panels("splat")
    yield 1.5
    driver.shoot("splat", 1300)


def drop() -> Iterator[float]:
    """A .ply dropped into the viewport is asked its colors only and comes; needs
    --enable-event-simulate.
    """
    path = driver.OUT / "dropped.ply"
    _write_splats(path, 100)
    driver.in_viewport(
        bpy.ops.gs_diffusion.import_splat,
        filepath=str(path),
        directory=str(driver.OUT),
        files=[{"name": path.name}],
    )
    yield 1.0
    driver.shoot("drop")
    areas = [area.type for w in bpy.context.window_manager.windows for area in w.screen.areas]
    assert "FILE_BROWSER" not in areas, "the dropped file was asked for again"
    driver.press("RET")
    yield from driver.wait_for(lambda: "dropped" in bpy.data.objects, 20)


def main_folder() -> Iterator[float]:
    """Frames of a folder with cameras and pictures; nothing in the scene is hidden."""
    source = _newest("splat_iter1.ply")
    driver.open_panels("model")
    yield from _press_run(main_folder=str(source), main_frames=10)
    yield from driver.wait_for(lambda: _job().image, 240)
    yield 3.0
    driver.shoot("main_folder", 1300)
    yield from _until_over()
    assert _job().succeeded, _job().outcome
    assert "splat_iter1" in bpy.data.objects
    assert not bpy.data.objects["Suzanne"].hide_render
    assert not (_job().folder / "scene.blend").exists()


def _preferences() -> Iterator[float]:
    """Our page of the preferences, in the whole place of the viewport."""
    window, area, _ = driver.viewport()
    area.ui_type = "PREFERENCES"
    yield 0.5
    with bpy.context.temp_override(window=window, area=area):
        bpy.context.preferences.active_section = "ADDONS"
        bpy.context.window_manager.addon_search = "GS Diffusion"
        bpy.ops.preferences.addon_expand(module=driver.ADDON)
    yield 1.0
    region = next(r for r in area.regions if r.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        for _ in range(3):  # past what Blender says of every add-on
            bpy.ops.view2d.scroll_down(deltay=100)
    yield 0.5


def preferences() -> Iterator[float]:
    """The preferences show a line for each thing that the check finds."""
    area = driver.viewport()[1]
    yield from _preferences()
    bpy.ops.gs_diffusion.check()
    findings = driver.ui("findings")
    environment = driver.ui("environment")
    yield from driver.wait_for(lambda: not environment.busy(environment.check_job), 240)
    yield 2.0
    driver.shoot("preferences")
    assert [item for item in findings.lines if item["name"] == "Torch" and item["ok"]]
    area.ui_type = "VIEW_3D"
    driver.open_panels("train")
    yield from driver.show_tab()
    yield 1.0
    driver.shoot("marked", 900)


def first_use() -> Iterator[float]:
    """Where no worker's environment is, the panel finds that out by itself and offers to make one;
    without a network it says so, and offers it again.
    """
    import os

    os.environ.pop("GSD_WORKER_PYTHON", None)
    os.environ["GSD_ENVIRONMENT"] = str(driver.OUT / "no worker")
    nowhere = "http://127.0.0.1:9"
    os.environ |= {"PIP_INDEX_URL": nowhere, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1"}
    os.environ |= {"HTTPS_PROXY": nowhere, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
    driver.ui("findings").forget()
    bpy.context.preferences.system.use_online_access = True
    yield from driver.show_tab()
    driver.measure_ours()
    environment, findings = driver.ui("environment"), driver.ui("findings")
    yield from driver.wait_for(lambda: findings.lines, 240)
    yield 2.0
    driver.shoot("create", 560)
    assert environment._is_missing(), findings.lines
    driver.in_viewport(bpy.ops.gs_diffusion.environment, action="create")
    job = environment.environment_job
    yield from driver.wait_for(lambda: job.detail or job.code is not None, 240)
    yield 1.0
    driver.shoot("creating", 560)
    yield from driver.wait_for(lambda: job.code is not None, 400)
    yield 2.0
    driver.shoot("create_failed", 560)
    assert "check the network" in job.message, (job.message, list(job.log))


def make_environment() -> Iterator[float]:
    """Create makes the worker's environment for real, in the folder GSD_ENVIRONMENT; slow and
    large.
    """
    yield from _preferences()
    bpy.context.preferences.system.use_online_access = True
    environment = driver.ui("environment")
    yield 1.0
    bpy.ops.gs_diffusion.environment("INVOKE_DEFAULT", action="create")
    job = environment.environment_job
    yield from driver.wait_for(lambda: "torch" in job.detail.lower() or job.code is not None, 120)
    yield 1.0
    driver.shoot("making")
    yield from driver.wait_for(lambda: job.code is not None, 900)
    yield 1.0
    driver.shoot("made")
    print("ENVIRONMENT", job.outcome, list(job.log)[-8:], flush=True)
    assert job.succeeded, job.outcome


def large_import() -> Iterator[float]:
    """How long the final import of 200,000 splats with harmonics of degree 3 holds the window."""
    run, settings = (driver.module(f"core.{name}") for name in ("run", "settings"))
    root = driver.OUT / "large"
    root.mkdir(exist_ok=True)
    _write_splats(root / "splat_iter1.ply", 200_000)
    run.write_json(root / "run.json", run.new_manifest(settings.Settings(blend="x"), "0"))
    yield from driver.show_tab()
    driver.measure_ours()
    running = driver.ui("running")
    job = driver.ui("job").Job((), root, code=0, launched=True, until="import")
    running.follow(job, running.finish_run)
    yield from driver.wait_for(lambda: job.message, 60)
    yield 1.0
    assert job.message.startswith("Done: "), job.message


def _write_splats(path: Path, count: int) -> None:
    """Random splats with harmonics of degree 3."""
    import numpy as np

    ply, generator = driver.module("core.ply"), np.random.default_rng(0)
    widths = {"means": (3,), "sh": (16, 3), "opacities": (), "scales": (3,), "quats": (4,)}
    values = {
        name: generator.normal(size=(count, *width)).astype(np.float32)
        for name, width in widths.items()
    }
    values["scales"] -= 6
    ply.write_splats(path, ply.Splats(**values))


def _newest(needed: str = "iter1/keys") -> Path:
    """The newest run of earlier scenarios that has a file."""
    found = driver.ui("runs").runs(driver.OUT / "runs")
    return [p for p in found if (p / needed).exists()][-1]


def _scene(**changes: Any) -> None:
    """A factory scene with a monkey and settings that take a minute."""
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    bpy.ops.mesh.primitive_monkey_add(size=2)
    bpy.ops.object.shade_smooth()
    values = {**TINY, "folder": str(driver.OUT / "runs"), "prompt": "a bronze bust", **changes}
    for name, value in values.items():
        setattr(driver.settings(), name, value)


def _press_run(**changes: Any) -> Iterator[float]:
    _scene(**changes)
    yield from driver.show_tab()
    driver.measure_ours()
    driver.in_viewport(bpy.ops.gs_diffusion.run_iteration)
    yield 0.5
    assert driver.ui("running").is_running() or _job().code, "the button started nothing"


def _job() -> Any:
    return driver.ui("running").current


def _until_over() -> Iterator[float]:
    yield from driver.wait_for(lambda: not driver.ui("running").is_running(), 700)
    yield 1.5

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
    yield from _press_run()
    yield from driver.wait_for(lambda: _job().image, 60)
    yield 3.0
    driver.shoot("running", 620)
    driver.shoot("running_window")
    yield from _until_over()
    driver.shoot("finished", 560)
    driver.shoot("finished_window")
    new = set(bpy.data.objects.keys()) - before
    assert any("splat" in name.lower() for name in new), new
    assert bpy.data.objects["Suzanne"].hide_render, "the model was not hidden behind its splat"


def cancel() -> Iterator[float]:
    """Cancel ends the run at once and leaves no process."""
    yield from _press_run()
    yield from driver.wait_for(lambda: _job().image, 60)
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
    yield from driver.wait_for(lambda: _job().image, 60)
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
    """Ctrl-Q during a run asks; needs --enable-event-simulate."""
    yield from _press_run()
    yield 2.0
    driver.press("Q", ctrl=True)
    yield 2.0
    driver.shoot("quit")
    _job().end_now()


def search() -> Iterator[float]:
    """F3 finds the button in a factory scene; needs --enable-event-simulate."""
    yield from driver.show_tab()
    driver.press("F3")
    yield 1.5
    for letter in "run diff":
        driver.press("SPACE" if letter == " " else letter.upper(), letter)
        yield 0.3
    yield 1.5
    driver.shoot("search")


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


def large_import() -> Iterator[float]:
    """How long the final import of 200,000 splats with harmonics of degree 3 holds the window."""
    import importlib

    import numpy as np

    ply = importlib.import_module(f"{driver.ADDON}.core.ply")
    run = importlib.import_module(f"{driver.ADDON}.core.run")
    settings = importlib.import_module(f"{driver.ADDON}.core.settings")
    generator = np.random.default_rng(0)
    count, widths = 200_000, {"means": (3,), "sh": (16, 3), "opacities": ()}
    widths |= {"scales": (3,), "quats": (4,)}
    values = {
        name: generator.normal(size=(count, *width)).astype(np.float32)
        for name, width in widths.items()
    }
    values["scales"] -= 6
    root = driver.OUT / "large"
    root.mkdir(exist_ok=True)
    ply.write_splats(root / "splat_iter1.ply", ply.Splats(**values))
    run.write_json(root / "run.json", run.new_manifest(settings.Settings(blend="x"), "0"))
    yield from driver.show_tab()
    driver.measure_ours()
    running = driver.ui("running")
    job = driver.ui("job").Job((), root, code=0, launched=True)
    running.follow(job, running.finish_run)
    yield from driver.wait_for(lambda: job.message, 60)
    yield 1.0
    assert job.message.startswith("Done: "), job.message


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
    yield from driver.wait_for(lambda: not driver.ui("running").is_running(), 280)
    yield 1.5

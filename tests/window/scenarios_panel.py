"""What stands beside the run: stages, keyframes, tools of splats, search; played by driver.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

driver: Any = globals()["driver"]


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
    assert driver.job() is None
    driver.press("RET")
    yield from driver.wait_for(lambda: driver.job() and driver.job().launched, 60)
    assert "--iterations=1" in driver.job().command, driver.job().command
    driver.job().end_now()


def one_panel() -> Iterator[float]:
    """A picture of the sub-panel that PANEL names, with the runs of earlier scenarios."""
    name = os.environ["PANEL"]
    driver.open_panels(name)
    driver.make_scene()
    found = driver.ui("runs").runs(Path(driver.settings().folder))
    whole = [p for p in found if (p / "splat_iter1.ply").exists()]
    driver.settings().run = whole[-1].name if whole else ""
    yield from driver.show_tab()
    yield 4.0
    driver.shoot(f"panel_{name}", 1300)


def try_view() -> Iterator[float]:
    """Try on One View shows before and after in the panel."""
    driver.open_panels("stylize")
    driver.make_scene()
    yield from driver.show_tab()
    driver.measure_ours()
    driver.in_viewport(bpy.ops.gs_diffusion.try_view)
    yield from driver.until_over()
    assert driver.job().succeeded, driver.job().outcome
    assert Path(driver.settings().tried).is_file()
    yield 2.0
    driver.shoot("tried", 1300)


def stages() -> Iterator[float]:
    """One button a stage: the turntable, then the keyframes of the same run, then all frames with
    one keyframe left out.
    """
    driver.make_scene()
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
        yield from driver.until_over()
        assert driver.job().succeeded, driver.job().outcome
        assert folder in (None, driver.job().folder), "a stage began a new run"
        folder = driver.job().folder
        assert (folder / made).is_file(), f"{made} is missing"
    assert not (folder / "iter1" / "gs").exists(), "more was done than was asked for"


def reroll() -> Iterator[float]:
    """One keyframe of the run before is restyled anew; the strip shows it."""
    driver.open_panels("stylize")
    driver.make_scene()
    run = driver.newest_run()
    key = next(run.glob("iter1/keys/keys*.png"))
    before = key.stat().st_mtime_ns
    driver.settings().run = run.name
    yield from driver.show_tab()
    driver.measure_ours()
    number = int(key.stem.removeprefix("keys"))
    driver.in_viewport(bpy.ops.gs_diffusion.reroll_key, folder=str(run), key=number)
    yield from driver.until_over()
    assert driver.job().succeeded, driver.job().outcome
    assert key.stat().st_mtime_ns > before and any((run / "superseded").rglob(key.name))
    yield 2.0
    driver.shoot("reroll", 1300)


def splat_tools() -> Iterator[float]:
    """What is made of a finished run: facts, a pruned splat, videos; and the splat exported."""
    driver.open_panels("result")
    driver.make_scene()
    run = driver.newest_run("splat_iter1.ply")
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
        yield from driver.until_over()
        assert driver.job().succeeded, f"{operator}: {driver.job().outcome}"
        assert (run / made).stat().st_size > 100, made
    yield 1.0
    driver.shoot("tools", 1300)
    driver.in_viewport(bpy.ops.gs_diffusion.import_result, folder=str(run))
    yield from driver.until_over()
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
    driver.write_splats(path, 100)
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


def _finished(name: str, count: int) -> Any:
    """A run that has just ended with so many splats; its import begins."""
    run, settings = (driver.module(f"core.{name}") for name in ("run", "settings"))
    root = driver.OUT / name
    root.mkdir(exist_ok=True)
    driver.write_splats(root / "splat_iter1.ply", count)
    run.write_json(root / "run.json", run.new_manifest(settings.Settings(blend="x"), "0"))
    running = driver.ui("running")
    job = driver.ui("job").Job((), root, code=0, launched=True, until="import")
    running.become_current(job)
    running.follow(job, running.finish_run)
    return job


def cancel_wait() -> Iterator[float]:
    """Cancel ends the wait of a splat for Object Mode."""
    yield from driver.show_tab()
    driver.measure_ours()
    driver.in_viewport(bpy.ops.object.mode_set, mode="EDIT")
    job = _finished("waiting", 1000)
    yield from driver.wait_for(lambda: job.detail == "waits for Object Mode", 60)
    yield 1.0
    driver.shoot("waiting", 560)
    driver.in_viewport(bpy.ops.gs_diffusion.cancel)
    yield from driver.wait_for(lambda: not driver.ui("running").is_running(), 10)
    yield 1.0
    driver.shoot("declined", 560)
    assert "was not imported" in job.message and "splat_iter1" not in bpy.data.objects
    assert bpy.context.mode == "EDIT_MESH"


def large_import() -> Iterator[float]:
    """How long the final import of 200,000 splats with harmonics of degree 3 holds the window."""
    yield from driver.show_tab()
    driver.measure_ours()
    job = _finished("large", 200_000)
    yield from driver.wait_for(lambda: job.message, 60)
    yield 1.0
    assert job.message.startswith("Done: "), job.message

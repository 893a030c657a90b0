"""What the window test plays; see driver.py, which is handed in as ``driver``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

driver: Any = globals()["driver"]


def idle() -> Iterator[float]:
    """The panel in a factory scene."""
    yield from driver.show_tab()
    driver.shoot("idle")


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


def _press_run() -> Iterator[float]:
    import bpy

    bpy.ops.mesh.primitive_monkey_add(size=2)
    for name, value in TINY.items():
        setattr(driver.settings(), name, value)
    yield from driver.show_tab()
    driver.measured(driver.ui("running"), "_tick")
    result = driver.in_viewport(bpy.ops.gs_diffusion.run_iteration)
    print("OPERATOR", result, flush=True)
    yield 0.5
    assert driver.ui("running").is_running(), "the button started nothing"


def run() -> Iterator[float]:
    """The button, progress while it works, and the splat in the scene at the end."""
    import bpy

    before = set(bpy.data.objects.keys())
    yield from _press_run()
    yield 6.0
    driver.shoot("running")
    yield from driver.wait_for(lambda: not driver.ui("running").is_running(), 120)
    yield 1.5
    driver.shoot("finished")
    new = set(bpy.data.objects.keys()) - before
    print("OBJECTS", sorted(new), flush=True)
    assert any("splat" in name.lower() for name in new), new


def cancel() -> Iterator[float]:
    """Cancel ends the run at once and leaves no process."""
    import time

    import bpy

    yield from _press_run()
    yield 4.0
    start = time.monotonic()
    driver.in_viewport(bpy.ops.gs_diffusion.cancel)
    yield from driver.wait_for(lambda: not driver.ui("running").is_running(), 10)
    print(f"CANCELLED in {time.monotonic() - start:.1f} s", flush=True)
    yield 1.0
    driver.shoot("cancelled")

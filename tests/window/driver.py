"""Runs inside the real Blender with its window and plays an artist: ``blender -P driver.py -- OUT
SCENARIO``.

The extension is installed already. A scenario is a generator: it yields the seconds to wait before
it goes on, so that Blender draws in between. Timings of our own timer callbacks are printed as
``TIMER name max ms`` and the last line is ``DRIVER OK`` or ``DRIVER FAILED reason``.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy

OUT = Path(sys.argv[sys.argv.index("--") + 1])
SCENARIO = sys.argv[sys.argv.index("--") + 2]
ADDON = os.environ.get("GSD_ADDON", "bl_ext.user_default.gs_diffusion_addon")
LIMIT = 0.05  # s, the longest that one of our callbacks may hold the window

timings: dict[str, list[float]] = {}


def ui(name: str) -> Any:
    """A module of the installed extension."""
    return importlib.import_module(f"{ADDON}.ui.{name}")


def settings() -> Any:
    """The settings of the open scene."""
    return bpy.context.scene.gs_diffusion


def viewport() -> tuple[Any, Any, Any]:
    """The window, its 3D viewport and that viewport's sidebar."""
    window = bpy.context.window_manager.windows[0]
    area = next(a for a in window.screen.areas if a.type == "VIEW_3D")
    return window, area, next(r for r in area.regions if r.type == "UI")


def show_tab() -> Iterator[float]:
    """Open the sidebar, wide enough to read, at our tab."""
    _, area, region = viewport()
    area.spaces.active.show_region_ui = True
    yield 1.0  # the tabs exist once they have been drawn
    region.active_panel_category = "GS Diffusion"
    area.tag_redraw()
    yield 1.0


def in_viewport(operator: Callable[..., set[str]], *words: Any, **options: Any) -> set[str]:
    """Call an operator as its button does."""
    window, area, _ = viewport()
    region = next(r for r in area.regions if r.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        start = time.perf_counter()
        result = operator("INVOKE_DEFAULT", *words, **options)
        timings.setdefault(f"operator {operator.idname_py()}", []).append(
            time.perf_counter() - start
        )
    return result


def shoot(name: str, crop: str = "") -> None:
    """A picture of the whole window, or of WxH+X+Y of it."""
    cut = ["-crop", crop, "+repage"] if crop else []
    subprocess.run(["import", "-window", "root", *cut, str(OUT / f"{name}.png")], check=True)


def measured(module: Any, name: str) -> None:
    """Note how long each call of ``module.name`` takes."""
    function = getattr(module, name)

    def timed(*words: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*words, **options)
        finally:
            timings.setdefault(name, []).append(time.perf_counter() - start)

    setattr(module, name, timed)


def wait_for(condition: Callable[[], Any], seconds: float) -> Iterator[float]:
    """Yield until ``condition()`` holds; raises AssertionError after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        yield 0.3


def play(scenario: Iterator[float]) -> None:
    """Let Blender's timer advance the scenario; print the figures and quit at its end."""

    def step() -> float | None:
        try:
            return next(scenario)
        except StopIteration:
            finish("DRIVER OK")
        except BaseException as error:  # noqa: BLE001 — whatever happens, the window must close
            traceback.print_exc()
            finish(f"DRIVER FAILED {error}")
        return None

    def finish(line: str) -> None:
        for name, seconds in timings.items():
            print(f"TIMER {name} {max(seconds) * 1000:.1f} ms of {len(seconds)} calls")
        print(line, flush=True)
        os._exit(0 if line == "DRIVER OK" else 1)

    bpy.context.preferences.view.show_splash = False
    bpy.app.timers.register(step, first_interval=1.5, persistent=True)


if __name__ == "__main__":
    import runpy

    scenarios = runpy.run_path(
        str(Path(__file__).with_name("scenarios.py")), {"driver": sys.modules["__main__"]}
    )
    play(scenarios[SCENARIO]())

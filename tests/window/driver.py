"""Runs inside the real Blender with its window and plays an artist: ``blender -P driver.py -- OUT
SCENARIO``.

The extension is installed already. A scenario is a generator: it yields the seconds to wait before
it goes on, so that Blender draws in between. How long what is ours held the window is printed as
``TIMER name: longest … ms`` and the last line is ``DRIVER OK`` or ``DRIVER FAILED reason``.
"""

from __future__ import annotations

import contextlib
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
IMPORT_LIMIT = 0.5  # s, the same for the final import of 200,000 splats
TOO_LONG = " OVER THE LIMIT"

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
"""Settings of a run that takes a minute."""

Seconds = tuple[float, float]  # by the clock, and of the processor
timings: dict[str, list[Seconds]] = {}
_inner: list[Seconds] = []  # what measured calls inside of the one under way took


def module(name: str) -> Any:
    """A module of the installed extension, such as core.ply."""
    return importlib.import_module(f"{ADDON}.{name}")


def ui(name: str) -> Any:
    """A module of its user interface."""
    return module(f"ui.{name}")


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
    here = bpy.context.temp_override(window=window, area=area, region=region)
    with here, clocked(f"operator {operator.idname_py()}"):
        return operator("INVOKE_DEFAULT", *words, **options)


def shoot(name: str, height: int = 0, width: int = 0) -> None:
    """A picture of the whole window, or of the sidebar's uppermost ``height`` pixels (and of
    ``width`` beside its right border); without ImageMagick none.
    """
    cut: list[str] = []
    if height:
        window, _, region = viewport()
        right, width = region.x + region.width, width or region.width
        top = window.height - region.y - region.height
        cut = ["-crop", f"{width}x{height}+{right - width}+{top}", "+repage"]
    command = ["import", "-window", "root", *cut, "-quality", "90", str(OUT / f"{name}.jpg")]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"PICTURE {name} could not be taken: {error}", flush=True)


def press(key: str, text: str = "", **modifiers: bool) -> None:
    """A key press over the viewport; needs ``--enable-event-simulate``."""
    window, area, _ = viewport()
    x, y = area.x + area.width // 3, area.y + area.height // 2
    window.event_simulate("MOUSEMOVE", "NOTHING", x=x, y=y)
    words = {"unicode": text} if text else {}
    window.event_simulate(key, "PRESS", x=x, y=y, **words, **modifiers)
    window.event_simulate(key, "RELEASE", x=x, y=y, **modifiers)


@contextlib.contextmanager
def clocked(name: str) -> Iterator[None]:
    """Note how long the block takes, less what was noted inside of it."""
    start = time.perf_counter(), time.thread_time()
    _inner.append((0.0, 0.0))
    try:
        yield
    finally:
        wall, cpu = time.perf_counter() - start[0], time.thread_time() - start[1]
        inner = _inner.pop()
        timings.setdefault(name, []).append((wall - inner[0], cpu - inner[1]))
        if _inner:
            _inner[-1] = _inner[-1][0] + wall, _inner[-1][1] + cpu


def measured(owner: Any, name: str, label: str = "") -> None:
    """Note how long each call of ``owner.name`` takes, less measured calls inside of it."""
    function = getattr(owner, name)

    def timed(*words: Any, **options: Any) -> Any:
        with clocked(label or name):
            return function(*words, **options)

    setattr(owner, name, timed)


def recorded(owner: Any, name: str) -> list[Any]:
    """What each call of ``owner.name`` from now on gives back."""
    function, found = getattr(owner, name), []

    def noted(self: Any, context: Any, event: Any) -> Any:  # Blender counts the arguments
        found.append(function(self, context, event))
        return found[-1]

    setattr(owner, name, noted)
    return found


def measure_ours() -> None:
    """Watch all that Blender calls of ours while a run works."""
    running, panels = ui("running"), ui("panels")
    measured(running, "_tick", "timer")
    measured(running, "save_copy", "Blender's save of the copy")
    function = running.finish_run

    def finish_run(job: Any) -> Any:
        with clocked("final import"):
            steps = function(job)
        while steps is not None:
            with clocked("final import"):
                if next(steps, steps) is steps:
                    return
            yield

    running.finish_run = finish_run
    for panel in panels.CLASSES:
        _measured_draw(panel)


def _measured_draw(panel: Any) -> None:
    function = panel.draw

    def draw(self: Any, context: Any) -> None:  # Blender counts the arguments
        with clocked(f"draw {panel.bl_label}"):
            function(self, context)

    panel.draw = draw


def open_panels(*names: str) -> None:
    """Let the sub-panels with these classes' names start open; before the tab is first drawn."""
    panels = (*ui("panels").CLASSES[1:], *ui("splat_panel").CLASSES)
    for panel in reversed(panels):
        bpy.utils.unregister_class(panel)
    for panel in panels:  # all of them, to keep their order
        if panel.__name__.rpartition("_PT_")[2] in names:
            panel.bl_options = set()
        bpy.utils.register_class(panel)


def wait_for(condition: Callable[[], Any], seconds: float) -> Iterator[float]:
    """Yield until ``condition()`` holds; raises AssertionError after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        yield 0.3


def held(name: str, seconds: list[Seconds]) -> str:
    """A line of figures; on a busy machine the clock counts what others do, the processor not."""
    wall, cpu = max(s[0] for s in seconds), max(s[1] for s in seconds)
    text = f"longest {wall * 1000:.1f} ms, of the processor {cpu * 1000:.1f} ms"
    limit = LIMIT
    if name == "final import":  # were it not taken in steps, it would hold the window so long
        wall, cpu, limit = sum(s[0] for s in seconds), sum(s[1] for s in seconds), IMPORT_LIMIT
        text += f", in all {wall * 1000:.0f} and {cpu * 1000:.0f} ms"
    verdict = "" if wall <= limit else TOO_LONG if cpu > limit else " (machine busy)"
    return f"TIMER {name}: {text}, {len(seconds)} calls{verdict}"


def print_result(line: str) -> bool:
    """The figures, then ``line`` unless something held the window too long; whether all is good."""
    lines = [held(name, seconds) for name, seconds in timings.items()]
    late = [found for found in lines if found.endswith(TOO_LONG)]
    if late and line == "DRIVER OK":
        line = f"DRIVER FAILED {late[0]}"
    print("\n".join([*lines, line]), flush=True)
    return line == "DRIVER OK"


def processes_in(folder: Path) -> list[str]:
    """The command lines of all processes that have to do with a run folder (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in line:
                found.append(line)
    return found


def make_scene(**changes: Any) -> None:
    """A factory scene with a monkey and settings that take a minute."""
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    bpy.ops.mesh.primitive_monkey_add(size=2)
    bpy.ops.object.shade_smooth()
    values = {**TINY, "folder": str(OUT / "runs"), "prompt": "a bronze bust", **changes}
    for name, value in values.items():
        setattr(settings(), name, value)


def press_run(**changes: Any) -> Iterator[float]:
    """The button in such a scene; what is ours is measured from here on."""
    make_scene(**changes)
    yield from show_tab()
    measure_ours()
    in_viewport(bpy.ops.gs_diffusion.run_iteration)
    yield 0.5
    assert ui("running").is_running() or job().code, "the button started nothing"


def job() -> Any:
    """The job that the panel shows."""
    return ui("running").current


def until_over() -> Iterator[float]:
    """Yield until no job is under way, its result's import included."""
    yield from wait_for(lambda: not ui("running").is_running(), 700)
    yield 1.5


def newest_run(needed: str = "iter1/keys") -> Path:
    """The newest run of earlier scenarios that has a file."""
    found = ui("runs").runs(OUT / "runs")
    return [p for p in found if (p / needed).exists()][-1]


def write_splats(path: Path, count: int) -> None:
    """Random splats with harmonics of degree 3."""
    import numpy as np

    ply, generator = module("core.ply"), np.random.default_rng(0)
    widths = {"means": (3,), "sh": (16, 3), "opacities": (), "scales": (3,), "quats": (4,)}
    values = {
        name: generator.normal(size=(count, *width)).astype(np.float32)
        for name, width in widths.items()
    }
    values["scales"] -= 6
    ply.write_splats(path, ply.Splats(**values))


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
        os._exit(0 if print_result(line) else 1)

    bpy.context.preferences.view.show_splash = False
    bpy.app.timers.register(step, first_interval=1.5, persistent=True)


if __name__ == "__main__":
    import runpy

    scenarios: dict[str, Any] = {}
    for file in sorted(Path(__file__).parent.glob("scenarios_*.py")):
        scenarios |= runpy.run_path(str(file), {"driver": sys.modules["__main__"]})
    play(scenarios[SCENARIO]())

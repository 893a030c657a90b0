"""The installed zip inside a Blender without a window: ``python behavior.py ZIP WORK``.

Run by a Python with the bpy wheel, or by ``blender -b -P behavior.py -- ZIP WORK``. Installs the
zip, enables and disables it ten times, and uses its operators as a script would, the worker for a
turntable of a monkey included. The last line is ``BEHAVIOR OK`` or ``BEHAVIOR FAILED reason``.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import bpy

NAME = "bl_ext.user_default.gs_diffusion_addon"
ZIP, WORK = (Path(word) for word in sys.argv[-2:])
TINY = {"views": 3, "rings": "", "size": "48", "samples": 1, "keys": 2, "ring_keys": 0}
TINY |= {"stylizer": "preview", "propagator": "reproject", "trainer": "builtin"}
TINY |= {"lighting": "studio", "denoise": False}


def main() -> None:
    """All checks in order; raises AssertionError."""
    bpy.ops.wm.read_factory_settings(use_empty=False)
    bpy.ops.extensions.package_install_files(
        filepath=str(ZIP), repo="user_default", enable_on_install=True
    )
    assert NAME in bpy.context.preferences.addons, "the zip was not installed"
    switch_on_and_off()
    splats()
    errors_are_sentences()
    turntable()
    bpy.ops.preferences.addon_disable(module=NAME)


def switch_on_and_off() -> None:
    """Registers and unregisters any number of times and leaves nothing behind."""
    for _ in range(10):
        bpy.ops.preferences.addon_disable(module=NAME)
        assert not hasattr(bpy.types.Scene, "gs_diffusion"), "the settings were left behind"
        assert not ours(), f"left behind: {ours()}"
        bpy.ops.preferences.addon_enable(module=NAME)
        assert "run_iteration" in dir(bpy.ops.gs_diffusion), "no operators after enabling"
    menus = [f for f in bpy.types.VIEW3D_MT_object.draw._draw_funcs if is_ours(f)]
    assert len(menus) == 1, f"{len(menus)} entries in the Object menu"


def is_ours(function: Any) -> bool:
    """Whether a callback belongs to the extension."""
    return "gs_diffusion_addon" in str(getattr(function, "__module__", ""))


def ours() -> list[str]:
    """What of ours Blender still calls, or knows as a class."""
    handlers = [getattr(bpy.app.handlers, n) for n in dir(bpy.app.handlers) if n[0] != "_"]
    found = [f.__name__ for h in handlers if isinstance(h, list) for f in h if is_ours(f)]
    found += [n for n in dir(bpy.types) if n.startswith("GS_DIFFUSION_")]
    return found


def splats() -> None:
    """Import, transform, display and export by the operators."""
    import numpy as np

    ply = importlib.import_module(f"{NAME}.core.ply")
    shapes = ((5, 3), (5, 4, 3), (5,), (5, 3), (5, 4))
    values = [np.linspace(-1, 1, np.prod(s), dtype=np.float32).reshape(s) for s in shapes]
    ply.write_splats(WORK / "five.ply", ply.Splats(*values))
    ops: Any = bpy.ops.gs_diffusion
    assert ops.import_splat(filepath=str(WORK / "five.ply")) == {"FINISHED"}
    splat = bpy.context.active_object
    splat.rotation_euler[2] = 1.0
    assert ops.apply_splat_transform() == {"FINISHED"}
    assert ops.splat_display(viewport="gaussians") == {"FINISHED"}
    assert ops.export_splat(filepath=str(WORK / "out.ply")) == {"FINISHED"}
    assert ply.read_splats(WORK / "out.ply").count == 5
    bpy.data.objects.remove(splat)


def errors_are_sentences() -> None:
    """What cannot work is refused in a sentence, not with a traceback."""
    settings = bpy.context.scene.gs_diffusion
    (WORK / "file").touch()
    settings.folder = str(WORK / "file")
    try:
        bpy.ops.gs_diffusion.run_iteration()
    except RuntimeError as error:
        assert "cannot be made" in str(error) and "Traceback" not in str(error), error
    else:
        raise AssertionError("a run in a file was not refused")


def turntable() -> None:
    """The door of a script: the operator waits for the worker, which renders in its own process."""
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    bpy.ops.mesh.primitive_monkey_add()
    settings = bpy.context.scene.gs_diffusion
    for name, value in {**TINY, "folder": str(WORK / "runs")}.items():
        setattr(settings, name, value)
    assert bpy.ops.gs_diffusion.use_selection() == {"FINISHED"}
    assert settings.objects == "Suzanne"
    assert bpy.ops.gs_diffusion.run_stage(stage="turntable") == {"FINISHED"}
    run = WORK / "runs" / settings.run
    for name in ("train_main/r_2.png", "guides/r_2.exr", "transforms_train_main.json"):
        assert (run / name).is_file(), f"{name} is missing"


if __name__ == "__main__":
    line = f"BEHAVIOR OK in Blender {bpy.app.version_string}"
    try:
        main()
    except BaseException as error:  # noqa: BLE001 — the process must end with the verdict
        traceback.print_exc()
        line = f"BEHAVIOR FAILED in Blender {bpy.app.version_string}: {error}"
    print(line, flush=True)
    os._exit(0 if "OK" in line else 1)

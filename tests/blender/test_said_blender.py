"""Sentences of scene/ and ui/ that stand for rare things: each is said when its reason is there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import addon_utils
import bpy
import numpy as np
import pytest
from mathutils import Matrix

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.scene import (
    beauty,
    color_view,
    evaluated,
    framing,
    lighting,
    model_file,
    result,
    snapshot,
    splat_edit,
    turntable,
)
from gs_diffusion_addon.ui import adopted, online, running, tools
from tests.blender.splat_helpers import imported, make_ball
from tests.blender.turntable_helpers import box
from tests.said import Table, raiser

TABLE = Table()
says = TABLE.says


@says("has no view without tone mapping for sRGB (looked for Nothing")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(color_view, "PLAIN_VIEWS", ("Nothing",))
    beauty.configure_scene(bpy.context.scene, Settings())


def fake_render(monkeypatch, module, render) -> None:
    """``bpy`` of a module with another render operator."""
    ops = SimpleNamespace(render=SimpleNamespace(render=render))
    stand_in = SimpleNamespace(
        ops=ops, app=bpy.app, context=bpy.context, data=bpy.data, types=bpy.types, utils=bpy.utils
    )
    monkeypatch.setattr(module, "bpy", stand_in)


def scratch():
    """A scratch scene with a box in it."""
    return snapshot.scratch_scene(bpy.context.scene, [box()], 1)


@says("Blender cannot evaluate the scene: it broke")
def _(tmp_path, monkeypatch):
    with scratch() as scene:
        fake_render(monkeypatch, evaluated, raiser(RuntimeError("Error: it broke.")))
        evaluated.evaluate(scene)


@says("Blender failed to render r_0.png: it broke")
def _(tmp_path, monkeypatch):
    with scratch() as scene:
        fake_render(monkeypatch, turntable, raiser(RuntimeError("Error: it broke.")))
        turntable.render_to(scene, tmp_path / "r_0.png")


@says("Blender wrote no file for r_0.png; is the disk full?")
def _(tmp_path, monkeypatch):
    with scratch() as scene:
        fake_render(monkeypatch, turntable, lambda **_: {"FINISHED"})
        turntable.render_to(scene, tmp_path / "r_0.png")


@says("The model has points at infinity")
def _(tmp_path, monkeypatch):
    corners = np.float32([[0, 0, 0], [np.inf, 0, 0]])
    none = np.empty((0, 3), np.int32)
    normals = np.empty((0, 3, 3), np.float32)
    framing.bounding_sphere([evaluated.Part("p", corners, none, normals, np.eye(4)[None])])


@says("comes without its studio lights")
def _(tmp_path, monkeypatch):
    utils = SimpleNamespace(system_resource=lambda *_, **__: "")
    monkeypatch.setattr(lighting, "bpy", SimpleNamespace(utils=utils))
    lighting._environment(Settings())


def importing(monkeypatch, importer) -> None:
    """Model files are read by ``importer``."""
    monkeypatch.setattr(model_file, "_importer", lambda path: importer)


@says("m.obj; is it a whole .obj file?")
def _(tmp_path, monkeypatch):
    importing(monkeypatch, lambda filepath: {"CANCELLED"})
    model_file._import_model(tmp_path / "m.obj")


@says("Blender's add-on io_scene_none is missing")
def _(tmp_path, monkeypatch):
    monkeypatch.setattr(addon_utils, "enable", lambda name: None)
    model_file._add_on_operator("io_scene_none", "none_at_all")


@says("This Blender was built without USD and cannot import m.usdc")
def _(tmp_path, monkeypatch):
    app = SimpleNamespace(build_options=SimpleNamespace(usd=False))
    monkeypatch.setattr(model_file, "bpy", SimpleNamespace(app=app, ops=bpy.ops))
    model_file._importer(Path("m.usdc"))


@says("result.blend could not be saved: Error: the disk is full")
def _(tmp_path, monkeypatch):
    save = SimpleNamespace(save_as_mainfile=raiser(RuntimeError("Error: the disk is full.")))
    stand_in = SimpleNamespace(ops=SimpleNamespace(wm=save), context=bpy.context)
    monkeypatch.setattr(result, "bpy", stand_in)
    result.save_scene(tmp_path / "result.blend")


@says("Splats can only be turned, moved and scaled evenly")
def _(tmp_path, monkeypatch):
    splat_edit.transformed(make_ball(10), Matrix.Diagonal((1, 2, 1, 1)))


@says("a is no whole splat any more: its attribute scale is missing")
def _(tmp_path, monkeypatch):
    item = imported(tmp_path / "a.ply", make_ball(10))
    item.data.attributes.remove(item.data.attributes["scale"])
    splat_edit.export_splat(item, tmp_path / "b.ply")


@says("cannot be started: ")
def _(tmp_path, monkeypatch):
    adopted.Adopted((str(tmp_path / "nowhere"),), tmp_path).start()


def offline(monkeypatch, **settings: str) -> None:
    """What a panel's run asks for without leave to go online."""
    monkeypatch.setattr(online, "allowed", lambda: False)
    online.require_allowed(Settings(**({"stylizer": "a1111"} | settings)), 1)


@says("The server gpu.example:7860 is another machine")
def _(tmp_path, monkeypatch):
    offline(monkeypatch, server="127.0.0.1:7860, gpu.example:7860")


@says("is no folder on this machine and would be downloaded")
def _(tmp_path, monkeypatch):
    offline(monkeypatch, stylizer="diffusers_local", checkpoint="owner/name")


@says("Nobody works in")
def _(tmp_path, monkeypatch):
    running.adopt(bpy.context.scene, tmp_path)


@says("No run with a result is chosen.")
def _(tmp_path, monkeypatch):
    for name, value in (("selected", None), ("worker_python", "")):
        monkeypatch.setattr(tools, name, lambda _, value=value: value)
    monkeypatch.setattr(running, "command_of", lambda settings: [])
    context = SimpleNamespace(scene=SimpleNamespace(**{tools.SCENE_SETTINGS: None}))

    def report(kinds: set[str], text: str) -> None:
        raise InputError(text)

    tools._Tool._begin(SimpleNamespace(report=report), context, [], "x", lambda job: None)


@says("cannot be made: ")
def _(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(running, "require_allowed", lambda settings, iterations: None)
    monkeypatch.setattr(running, "as_settings", lambda group: Settings())
    monkeypatch.setattr(running, "runs_folder", lambda scene: tmp_path / "file")
    monkeypatch.setattr(running, "next_run", lambda folder: folder / "run")
    scene = SimpleNamespace(**{running.SCENE_SETTINGS: Settings()})
    running.start_new(scene)


@pytest.mark.parametrize("words", TABLE)
def test_it_is_said(words, tmp_path, monkeypatch):
    TABLE.check(words, tmp_path, monkeypatch)

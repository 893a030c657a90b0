"""Draws panels without a window, and plays the worker."""

import sys
from types import SimpleNamespace

import bpy
import numpy as np

from gs_diffusion_addon.core.ply import Splats, write_splats
from gs_diffusion_addon.core.run import new_manifest, write_json
from gs_diffusion_addon.core.settings import Settings
from gs_diffusion_addon.ui import running


class Options:
    """Stands in for a drawn operator's properties: takes those that it has, with usable values."""

    def __init__(self, properties):
        object.__setattr__(self, "_properties", properties)

    def __setattr__(self, name, value):
        known = self._properties.get(name)
        assert known is not None, f"there is no property {name!r}"
        kinds = {"BOOLEAN": bool, "INT": int, "FLOAT": (int, float), "STRING": str, "ENUM": str}
        assert isinstance(value, kinds[known.type]), f"{name} cannot be {value!r}"
        if known.type == "ENUM":
            assert value in known.enum_items, f"{name} cannot be {value!r}"


class Layout:
    """Stands in for bpy's UILayout, which exists only in a window: checks what a panel asks for."""

    icons = frozenset(
        bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items.keys()
    )

    def __init__(self):
        self.shown: list[str] = []

    def _sub(self, **_options):
        return self

    row = column = box = grid_flow = _sub

    def panel(self, _name, default_closed=False):
        return self, self

    def template_icon(self, icon_value, scale):
        assert icon_value

    def prop(self, data, name, **_options):
        assert name in data.bl_rna.properties
        self.shown.append(name)

    def prop_search(self, data, name, search_data, search_property):
        assert search_data.bl_rna.properties[search_property].type == "COLLECTION"
        self.prop(data, name)
        self.shown.append(f"{name} of {search_property}")

    def label(self, text="", icon="NONE"):
        assert icon in self.icons
        self.shown.append(text)

    def progress(self, factor, text):
        assert 0 <= factor <= 1
        self.shown.append(text)

    def operator(self, name, text=None, icon="NONE", depress=False):
        module, operator = name.split(".")
        assert operator in dir(getattr(bpy.ops, module)) and icon in self.icons
        self.shown.append(text or name)
        return Options(getattr(getattr(bpy.ops, module), operator).get_rna_type().properties)

    def operator_menu_enum(self, name, prop, text="", icon="NONE"):
        assert self.operator(name, text, icon)._properties[prop].type == "ENUM"


def drawn(panel) -> list[str]:
    layout = Layout()
    stand_in = SimpleNamespace(layout=layout)
    for name in ("groups", "stage", "bl_idname"):
        setattr(stand_in, name, getattr(panel, name, ""))
    stand_in._draw_run = lambda *words: panel._draw_run(stand_in, *words)
    panel.draw(stand_in, bpy.context)
    return layout.shown


def stand_in_worker(tmp_path, monkeypatch, code: str) -> None:
    """Let the operator start a script that gets the worker's arguments instead of the worker."""
    script = tmp_path / "stand_in.py"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, str(script)]
    monkeypatch.setattr(running, "blender_command", lambda _settings: list(command))


def finished_run(folder):
    """A run folder with a splat, chosen in the panel."""
    run = folder / "run-001"
    run.mkdir(parents=True)
    write_json(run / "run.json", new_manifest(Settings(blend="x"), "0"))
    splats = Splats(*(np.ones(s, np.float32) for s in ((3, 3), (3, 1, 3), (3,), (3, 3), (3, 4))))
    write_splats(run / "splat_iter1.ply", splats)
    settings = bpy.context.scene.gs_diffusion
    settings.folder, settings.run = str(folder), run.name
    return run

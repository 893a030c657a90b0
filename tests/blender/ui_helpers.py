"""Draws panels without a window."""

from types import SimpleNamespace

import bpy


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
        return SimpleNamespace()

    def operator_menu_enum(self, name, prop, text="", icon="NONE"):
        self.operator(name, text, icon)


def drawn(panel) -> list[str]:
    layout = Layout()
    stand_in = SimpleNamespace(layout=layout)
    for name in ("groups", "stage", "bl_idname"):
        setattr(stand_in, name, getattr(panel, name, ""))
    stand_in._draw_run = lambda *words: panel._draw_run(stand_in, *words)
    panel.draw(stand_in, bpy.context)
    return layout.shown

"""Draws panels without a window."""

from types import SimpleNamespace

import bpy


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

"""The panel of splats: import, export, display, filters."""

from __future__ import annotations

import bpy

from ..declarations import Nodes, Operators, Panels
from ..scene.modifier_inputs import input_place
from ..scene.splat_display import shown_as
from ..scene.splat_edit import FILTERS
from .drawing import ViewPanel, draw_colorless
from .operators import NAMES, is_splat


class GS_DIFFUSION_PT_splat(ViewPanel, bpy.types.Panel):
    """Splats: import, export, display, and what is left out of them"""

    bl_idname = Panels.SPLAT
    bl_label = "Splat"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Import always; the rest for a splat."""
        layout = self.layout
        layout.operator(Operators.IMPORT_SPLAT, icon="IMPORT")
        item = context.active_object
        if not is_splat(item):
            layout.label(text="The active object is no splat", icon="INFO")
            return
        layout.label(text=f"{len(item.data.vertices):,} splats", icon="POINTCLOUD_DATA")
        draw_colorless(layout, context)
        layout.operator(Operators.EXPORT_SPLAT, icon="EXPORT")
        layout.operator(Operators.APPLY_SPLAT, icon="ORIENTATION_GLOBAL")
        viewport, render = (NAMES[mode] for mode in shown_as(item))
        for where, text in (
            ("viewport", f"In the Viewport: {viewport}"),
            ("render", f"In Renders: {render}"),
        ):
            layout.operator_menu_enum(Operators.SPLAT_DISPLAY, where, text=text)
        layout.operator(Operators.MATCH_COLORS, icon="COLOR")
        modifier = item.modifiers.get(Nodes.FILTER)
        if modifier is None or modifier.node_group is None:
            layout.operator(Operators.FILTER_SPLAT, icon="FILTER")
            return
        layout.use_property_split = True
        for name in FILTERS:
            place = input_place(modifier, name)
            if place is None:
                continue
            if name == FILTERS[2]:
                layout.prop_search(*place, bpy.data, "objects", text=name)
            else:
                layout.prop(*place, text=name)


CLASSES = (GS_DIFFUSION_PT_splat,)

"""What our panels are made of: where they stand, settings, a stage's button, thumbnails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.applying import applies
from ..core.settings import kind, knob, names
from ..declarations import CATEGORY, Operators
from . import findings, pictures
from .properties import BACKENDS, NOT_SHOWN
from .text import draw_text, label

ELSEWHERE = ("prompt", "objects", "iterations", *NOT_SHOWN)
"""Settings that the main panel shows in a way of its own, or not at all."""

SEARCHED = {"view_layer": "view_layers"}
"""Settings that name something of the scene, and where that is listed."""

LONGEST_LABEL = 12  # letters that fit beside a field in a sidebar of the usual width


class ViewPanel:
    """Where all our panels stand."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY


def draw_settings(layout: Any, settings: Any, groups: tuple[str, ...], key: str) -> None:
    """The settings of ``groups`` from core/settings.py that the chosen backends heed; advanced ones
    in a fold.
    """
    layout.use_property_split = True
    layout.use_property_decorate = False
    shown = [n for g in groups for n in names() if knob(n).group == g and n not in ELSEWHERE]
    shown = [n for n in shown if applies(settings, n)]
    for name in shown:
        if not knob(name).advanced:
            _draw_setting(layout, settings, name)
    advanced = [n for n in shown if knob(n).advanced]
    if advanced:
        header, body = layout.panel(f"{key}_advanced", default_closed=True)
        header.label(text="Advanced")
        if body is not None:
            for name in advanced:
                _draw_setting(body, settings, name)


def _draw_setting(layout: Any, settings: Any, name: str) -> None:
    """One setting; a name too long for the column of names gets the whole width."""
    text = label(name)
    if name in SEARCHED:
        layout.prop_search(settings, name, settings.id_data, SEARCHED[name])
        return
    if len(text) <= LONGEST_LABEL:
        layout.prop(settings, name)
        if name in BACKENDS and (text := findings.what_lacks(getattr(settings, name))):
            draw_text(layout, text, "ERROR")
        return
    column = layout.column(align=True)
    column.use_property_split = False
    if kind(name) is str:
        column.label(text=text)
        column.prop(settings, name, text="")
    else:
        column.prop(settings, name)


def draw_stage(layout: Any, stage: str) -> None:
    """The button that does a run up to ``stage``."""
    known = {"turntable": "Render Turntable", "report": "Make Report", "import": "Import Result"}
    text = known.get(stage, stage.title())
    layout.operator(Operators.RUN_STAGE, text=text, icon="PLAY").stage = stage


def draw_picture(layout: Any, path: Path | None, scale: float) -> None:
    """The picture at ``path`` as a thumbnail, if there is one."""
    found = pictures.icon(path) if path is not None else 0
    if found:
        layout.template_icon(icon_value=found, scale=scale)


def draw_colorless(layout: Any, context: Any) -> None:
    """Where the viewport shows splats without their colors: that, and the button for it."""
    shading = getattr(context.space_data, "shading", None)
    if shading is not None and shading.type in ("SOLID", "WIREFRAME"):
        draw_text(layout, "This viewport's shading shows splats in gray.", "INFO")
        button = layout.operator("view3d.toggle_shading", text="Show Colors", icon="MATERIAL")
        button.type = "MATERIAL"

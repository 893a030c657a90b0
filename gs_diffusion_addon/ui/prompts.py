"""Presets of prompts and model families, the program's own and the user's, and their operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..core import json_text
from ..core.presets import PRESETS
from ..core.run import write_json
from ..declarations import SCENE_SETTINGS, Operators
from .places import user_folder

FIELDS = ("prompt", "negative_prompt", "style")
_kept: list[tuple[str, str, str]] = []  # Blender wants the strings of a dynamic list kept alive


def own_file() -> Path:
    """Where the user's presets are kept."""
    return user_folder() / "prompts.json"


def own() -> dict[str, dict[str, str]]:
    """The user's presets by name; none if the file is missing or damaged."""
    try:
        found = json_text.loads(own_file().read_bytes())
    except (OSError, ValueError):
        return {}
    named = found.items() if isinstance(found, dict) else ()
    return {name: values for name, values in named if isinstance(values, dict)}


def every() -> dict[str, Any]:
    """All presets by name; the user's come last and win."""
    return {**PRESETS, **own()}


def _summary(values: dict[str, Any]) -> str:
    """What a preset without a prompt sets."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def _items(_self: Any, _context: Any) -> list[tuple[str, str, str]]:
    _kept[:] = [
        (name, name.replace("-", " ").title(), str(values.get("prompt") or _summary(values)))
        for name, values in every().items()
    ]
    return _kept


class GS_DIFFUSION_OT_prompt_preset(bpy.types.Operator):
    """Fill in a prompt, or the settings that a family of diffusion models wants"""

    bl_idname = Operators.PROMPT_PRESET
    bl_label = "Preset"
    bl_options = {"REGISTER", "UNDO"}

    name: bpy.props.EnumProperty(name="Preset", items=_items)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the preset's fields into the scene's settings."""
        settings = getattr(context.scene, SCENE_SETTINGS)
        for field, value in every()[self.name].items():
            if hasattr(settings, field):
                setattr(settings, field, value)
        return {"FINISHED"}


class GS_DIFFUSION_OT_save_prompt_preset(bpy.types.Operator):
    """Keep this prompt, negative prompt and style as a preset of your own"""

    bl_idname = Operators.SAVE_PRESET
    bl_label = "Save Prompt Preset"

    name: bpy.props.StringProperty(name="Name", default="My Prompt")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for a name."""
        return context.window_manager.invoke_props_dialog(self)

    def draw(self, context: bpy.types.Context) -> None:
        """The name, and whether a preset of that name is replaced."""
        self.layout.prop(self, "name")
        if self.name.strip() in every():
            self.layout.label(text="OK replaces the preset of this name", icon="ERROR")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add it to the user's file."""
        if not self.name.strip():
            self.report({"ERROR"}, "A preset needs a name.")
            return {"CANCELLED"}
        settings = getattr(context.scene, SCENE_SETTINGS)
        values = {field: getattr(settings, field) for field in FIELDS}
        write_json(own_file(), {**own(), self.name.strip(): values})
        return {"FINISHED"}


CLASSES = (GS_DIFFUSION_OT_prompt_preset, GS_DIFFUSION_OT_save_prompt_preset)

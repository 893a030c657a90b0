"""A scene's settings, one Blender property for each field of core.settings.Settings.

Name, default, range, choices and help text all come from there; nothing is declared twice.
"""

from __future__ import annotations

from typing import Any

import bpy

from ..core.settings import Settings, flag, from_json, kind, knob, names
from .text import label

NOT_SHOWN = ("blend", "model", "main_folder", "main_frames", "main_size", "preset")
"""Where the model comes from is given by the open scene; presets fill in the fields themselves, and
a name beside them would do nothing.
"""

INT_MAX = 2**31 - 1
"""Blender's integer properties have 32 bits."""


def _property(name: str) -> Any:
    """The bpy property that stands for the setting ``name``."""
    k, default, type_ = knob(name), getattr(Settings(), name), kind(name)
    common = {"name": label(name), "description": k.help, "default": default}
    if k.choices:
        items = [(c, label(c), f"{label(name)}: {c}") for c in k.choices]
        return bpy.props.EnumProperty(items=items, **common)
    if type_ is bool:
        return bpy.props.BoolProperty(**common)
    if type_ is str:
        subtype = "FILE_PATH" if k.path else "NONE"
        return bpy.props.StringProperty(subtype=subtype, **common)
    limits = {"min": k.low, "max": k.high}
    limits = {end: type_(value) for end, value in limits.items() if value is not None}
    if type_ is int:
        limits["max"] = min(limits.get("max", INT_MAX), INT_MAX)
        return bpy.props.IntProperty(**common, **limits)
    return bpy.props.FloatProperty(**common, **limits)


RunSettings = type(
    "GS_DIFFUSION_PG_settings",
    (bpy.types.PropertyGroup,),
    {
        "__doc__": "Settings of this scene's next run.",
        "__annotations__": {
            **{name: _property(name) for name in names()},
            "folder": bpy.props.StringProperty(
                name="Runs",
                description="folder for the runs; each gets a folder of its own in it",
                subtype="DIR_PATH",
                default="//gs_diffusion",
            ),
            "run": bpy.props.StringProperty(
                name="Run", description="the run that stage buttons go on with"
            ),
            "outlive": bpy.props.BoolProperty(
                name="Keep Running When Blender Closes",
                description="let the run work on when Blender is closed; Runs offers it again. "
                "Otherwise it is stopped then, and can be resumed",
            ),
            "hide_model": bpy.props.BoolProperty(
                name="Hide the Model",
                description="hide the original when its splat arrives; Show or Hide Model brings "
                "it back",
                default=True,
            ),
            "live_preview": bpy.props.BoolProperty(
                name="Live Preview",
                description="show the splat in the viewport while it is trained",
                default=True,
            ),
            "try_view": bpy.props.IntProperty(
                name="View", description="view of the turntable to try the prompt on", min=0
            ),
            "tried": bpy.props.StringProperty(
                name="Tried", description="the last picture of Try on One View"
            ),
        },
    },
)

CLASSES = (RunSettings,)


def options(group: Any, worker_python: str = "") -> list[str]:
    """The settings as command-line options, each a ``--name=value``.

    ``worker_python`` stands in for the scene's own.
    """
    found = []
    for name in names():
        value = getattr(group, name)
        if name == "worker_python":
            value = worker_python or value
        if name in NOT_SHOWN:
            continue
        if kind(name) is bool:
            found.append(flag(name) if value else flag(name).replace("--", "--no-", 1))
        elif kind(name) is float:
            # Blender keeps 32 bits: 0.1, not 0.10000000149
            found.append(f"{flag(name)}={value:.7g}")
        elif knob(name).path:
            if value:
                found.append(f"{flag(name)}={bpy.path.abspath(value)}")
        else:
            found.append(f"{flag(name)}={value}")
    return found


def as_settings(group: Any) -> Settings:
    """The scene's settings as the program's own, for estimates; raises InputError."""
    values = {n: getattr(group, n) for n in names() if n not in NOT_SHOWN}
    return from_json(values)

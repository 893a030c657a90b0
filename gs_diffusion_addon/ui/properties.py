"""A scene's settings, one Blender property for each field of core.settings.Settings.

Name, default, range, choices and help text all come from there; nothing is declared twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy

from ..core.settings import Settings, flag, from_json, kind, knob, names
from . import findings
from .places import USUAL_RUNS
from .text import label, spoken

NOT_SHOWN = ("blend", "model", "preset")
"""The model is the open scene's; presets fill in the fields themselves, and a name beside them
would do nothing.
"""

BACKENDS = ("stylizer", "propagator", "trainer")
"""Settings whose choices carry what the last check found about them."""

LONGEST_MARK = 28  # letters of why a choice is not there

FROM_FRAMES = ("views", "rings")
"""Settings that a main folder's frames answer."""

SHOWN_UNITS = {"mm": "DISTANCE_CAMERA", "s": "TIME_ABSOLUTE", "px": "PIXEL"}
"""Blender's names of the units that it shows beside a number."""

INT_MAX = 2**31 - 1
"""Blender's integer properties have 32 bits."""


def tooltip(name: str) -> str:
    """A setting's help, as Blender writes tooltips: a capital first, no point last."""
    k = knob(name)
    unit = {"px": "pixels", "s": "seconds", "mm": "millimeters"}.get(k.unit, k.unit)
    text = k.help if not unit or unit in k.help else f"{k.help}, in {unit}"
    return text[:1].upper() + text[1:]


def _property(name: str) -> Any:
    """The bpy property that stands for the setting ``name``."""
    k, default, type_ = knob(name), getattr(Settings(), name), kind(name)
    shown = f"{label(name)} (°)" if k.unit == "degrees" else label(name)  # Blender's are radians
    common = {"name": shown, "description": tooltip(name), "default": default}
    if name in BACKENDS:
        # Blender takes a number as default where the choices are made by a function.
        common["default"] = k.choices.index(str(default))
        return bpy.props.EnumProperty(items=_offered(name), **common)
    if k.choices:
        items = [(c, label(c), tooltip(name)) for c in k.choices]
        return bpy.props.EnumProperty(items=items, **common)
    if type_ is bool:
        return bpy.props.BoolProperty(**common)
    if type_ is str:
        subtype = "FILE_PATH" if k.path else "NONE"
        return bpy.props.StringProperty(subtype=subtype, **common)
    limits = {"min": k.low, "max": k.high}
    limits = {end: type_(value) for end, value in limits.items() if value is not None}
    if type_ is not str and k.unit in SHOWN_UNITS:
        common["subtype"] = SHOWN_UNITS[k.unit]
    if type_ is int:
        limits["max"] = min(limits.get("max", INT_MAX), INT_MAX)
        return bpy.props.IntProperty(**common, **limits)
    return bpy.props.FloatProperty(**common, **limits)


_kept: dict[str, list[tuple[str, str, str, str, int]]] = {}
"""Blender wants the strings of choices that a function makes kept alive."""


def _offered(name: str) -> Callable[[Any, Any], list[tuple[str, str, str, str, int]]]:
    """All choices of a backend, always in the same order and with the same numbers, so that files
    stay valid; one that the last check did not find says so, in the tooltip with what to do.
    """

    def items(_self: Any, _context: Any) -> list[tuple[str, str, str, str, int]]:
        found = []
        for number, choice in enumerate(knob(name).choices):
            lacking = findings.lacking(choice)
            text = label(choice) + (f" ({lacking['detail'][:LONGEST_MARK]})" if lacking else "")
            help_ = tooltip(name)
            if lacking:
                help_ += f". {spoken(findings.what_lacks(choice))}"
            found.append((choice, text, help_, "ERROR" if lacking else "NONE", number))
        if found != _kept.get(name):
            _kept[name] = found
        return _kept[name]

    return items


RunSettings = type(
    "GS_DIFFUSION_PG_settings",
    (bpy.types.PropertyGroup,),
    {
        "__doc__": "Settings of this scene's next run.",
        "__annotations__": {
            **{name: _property(name) for name in names()},
            "folder": bpy.props.StringProperty(
                name="Runs",
                description="Folder for the runs; each gets a folder of its own in it",
                subtype="DIR_PATH",
                default=USUAL_RUNS,
            ),
            "run": bpy.props.StringProperty(
                name="Run", description="The run that stage buttons go on with"
            ),
            "outlive": bpy.props.BoolProperty(
                name="Keep Running When Blender Closes",
                description="Let the run work on when Blender is closed; Runs offers it again. "
                "Otherwise it is stopped then, and can be resumed",
            ),
            "hide_model": bpy.props.BoolProperty(
                name="Hide the Model",
                description="Hide the original when its splat arrives; Show or Hide Model brings "
                "it back",
                default=True,
            ),
            "replace_earlier": bpy.props.BoolProperty(
                name="Replace Earlier Results",
                description="Remove the splats that a new one takes the place of from the file "
                "instead of hiding them; their .ply files stay in the run folders",
            ),
            "live_preview": bpy.props.BoolProperty(
                name="Live Preview",
                description="Show the splat in the viewport while it is trained",
                default=True,
            ),
            "try_view": bpy.props.IntProperty(
                name="View", description="View of the turntable to try the prompt on", min=0
            ),
            "tried": bpy.props.StringProperty(
                name="Tried", description="The last picture of Try on One View"
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
        if name in FROM_FRAMES and group.main_folder:
            continue
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

"""Blender's door: properties, operators and panels. Draws and starts things; decides nothing."""

from __future__ import annotations

import atexit

import bpy

from ..declarations import SCENE_SETTINGS
from . import (
    environment,
    keys,
    live,
    menus,
    operators,
    origin,
    panels,
    pictures,
    places,
    preferences,
    prompts,
    properties,
    quitting,
    run_operators,
    running,
    runs,
    splat_panel,
    tools,
)

CLASSES = (
    *properties.CLASSES,
    *operators.CLASSES,
    *prompts.CLASSES,
    *runs.CLASSES,
    *run_operators.CLASSES,
    *quitting.CLASSES,
    *keys.CLASSES,
    *tools.CLASSES,
    *environment.CLASSES,
    *preferences.CLASSES,
    *panels.CLASSES,
    *splat_panel.CLASSES,
)


def register() -> None:
    """Add everything to Blender; what an earlier call left is taken out first."""
    unregister()
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    setattr(bpy.types.Scene, SCENE_SETTINGS, bpy.props.PointerProperty(type=properties.RunSettings))
    menus.register()
    origin.register()
    running.register()
    live.register()
    quitting.register()
    places.name_environment()
    if getattr(bpy.app, "module", False):
        # The bpy wheel crashes or hangs at exit (4.2, 4.5) with classes still registered.
        atexit.register(unregister)


def unregister() -> None:
    """Take everything out of Blender again and stop a running job."""
    atexit.unregister(unregister)
    running.unregister()
    origin.unregister()
    live.unregister()
    quitting.unregister()
    menus.unregister()
    pictures.forget()
    if hasattr(bpy.types.Scene, SCENE_SETTINGS):
        delattr(bpy.types.Scene, SCENE_SETTINGS)
    for cls in reversed(CLASSES):
        if cls.is_registered:
            bpy.utils.unregister_class(cls)
